"""A space as the unit cube, for solvers that move through real numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from optprune.formulation import BoundSpace

__all__ = ["UnitBox"]

_Floats = npt.NDArray[np.float64]


class UnitBox:
    """The free variables of a space, each from 0 to 1.

    Whole numbers share the unit interval evenly: with k values, each has a cell of width 1 / k, the
    ends no less than those in the middle. Variables that cannot change are left out.

    Parameters
    ----------
    space : BoundSpace
        The space.
    """

    def __init__(self, space: BoundSpace) -> None:
        self._space = space
        self._free = np.flatnonzero(space.upper > space.lower)
        self._low = space.lower[self._free]
        self._range = space.upper[self._free] - self._low
        self._whole = space.kind != "continuous"

    @property
    def n(self) -> int:
        """Number of free variables."""
        return len(self._free)

    @property
    def finest(self) -> float:
        """Width of the narrowest cell: the smallest move along a variable that always counts.

        In a continuous space a cell is a width of the group that has the most.
        """
        if self._whole:
            return float(1 / (self._range.max() + 1))
        return 1 / max(len(options) for options in self._space.options)

    def points(self, units: _Floats) -> _Floats:
        """Return the points of the space, shape (n, n_variables).

        Parameters
        ----------
        units : ndarray of float64, shape (n, n_free)
            Cut off at 0 and 1.
        """
        shares = np.clip(units, 0.0, 1.0)
        if self._whole:
            steps = np.minimum(np.floor(shares * (self._range + 1)), self._range)
        else:
            steps = shares * self._range
        points = np.tile(self._space.lower.astype(np.float64), (len(units), 1))
        points[:, self._free] = self._low + steps
        return points

    def units(self, points: _Floats) -> _Floats:
        """Return where points lie in the cube, shape (n, n_free): whole numbers in mid-cell."""
        steps = points[:, self._free] - self._low
        if self._whole:
            return np.asarray((steps + 0.5) / (self._range + 1))
        return np.asarray(steps / self._range)
