"""The protocols of a space: what is decided, and how a vector becomes a structure.

A `Space` is what the user writes (``op.Widths(step=4)``): a frozen dataclass without any network.
Bound to a graph it gives a `BoundSpace`, which optimizers see as a box of vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from optprune.scores import Score
from optprune.surgery import ChannelGraph, Structure

__all__ = ["BoundSpace", "Importance", "Kind", "Space"]

Importance: TypeAlias = Callable[[], npt.NDArray[np.float64]]
"""Gives the importance of every unit, shape (n_units,), higher = kept longer, when asked."""

Kind: TypeAlias = Literal["integer", "binary", "continuous"]


class Space(Protocol):
    """What is decided: written by the user, without any network."""

    @property
    def score(self) -> Score:
        """Which units of a group go first."""
        ...

    def bind(self, graph: ChannelGraph, importance: Importance) -> BoundSpace:
        """Bind the space to the groups of a network.

        Parameters
        ----------
        graph : ChannelGraph
            The groups of the network.
        importance : callable
            Returns the importance of every unit, shape (n_units,); called only when it is needed.

        Returns
        -------
        BoundSpace
            The box of vectors that an optimizer sees.
        """
        ...


class BoundSpace(Protocol):
    """A box of vectors, each of which decodes to a structure.

    Every vector of the box is valid: `decode` rounds, clips and repairs, so an optimizer never has
    to. Groups that have nothing to decide (frozen, or of width 1) are no variables.
    """

    @property
    def kind(self) -> Kind:
        """Whether variables are whole numbers, bits or real numbers."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each variable, of length ``n_variables``."""
        ...

    @property
    def n_variables(self) -> int:
        """Length of a vector."""
        ...

    @property
    def lower(self) -> npt.NDArray[np.float64]:
        """Smallest value of each variable, inclusive, shape (n_variables,)."""
        ...

    @property
    def upper(self) -> npt.NDArray[np.float64]:
        """Largest value of each variable, inclusive, shape (n_variables,)."""
        ...

    @property
    def cardinality(self) -> float:
        """Number of different structures; inf if continuous or beyond what a float holds."""
        ...

    @property
    def narrowest(self) -> npt.NDArray[np.int64]:
        """Least width of each group, shape (n_groups,)."""
        ...

    @property
    def widest(self) -> npt.NDArray[np.int64]:
        """Greatest width of each group, shape (n_groups,)."""
        ...

    @property
    def options(self) -> tuple[npt.NDArray[np.int64], ...]:
        """The widths that each group may have, ascending, of length ``n_groups``."""
        ...

    def decode(self, points: npt.ArrayLike) -> list[Structure]:
        """Turn vectors, shape (n, n_variables), into structures."""
        ...

    def widths(self, points: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Turn vectors into the widths of their structures, shape (n, n_groups)."""
        ...

    def encode(self, structure: Structure) -> npt.NDArray[np.float64]:
        """Return the vector, shape (n_variables,), that decodes nearest to a structure."""
        ...

    def sample(self, generator: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
        """Draw random vectors, shape (n, n_variables)."""
        ...

    def uniform(self, ratio: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return vectors, shape (n, n_variables): every group keeps about this ratio of its units.

        Parameters
        ----------
        ratio : float or array_like of shape (n,)
            Fraction of its units that each group keeps, in (0, 1]; one vector for each.
        """
        ...

    def keeping(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return vectors, shape (n, n_variables), at which the groups keep so many units.

        Parameters
        ----------
        widths : array_like of int, shape (n, n_groups)
            Those that are not in `options` are replaced by the nearest that are.
        """
        ...

    def smallest(self) -> npt.NDArray[np.float64]:
        """Return the vector that keeps the least, shape (n_variables,)."""
        ...

    def full(self) -> npt.NDArray[np.float64]:
        """Return the vector that keeps the most, shape (n_variables,)."""
        ...
