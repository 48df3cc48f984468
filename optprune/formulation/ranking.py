"""Which units of a group stay at a given width: those that the score ranks highest."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.formulation.space import Importance
from optprune.surgery import ChannelGraph, Structure

__all__ = ["UnitRanking", "ratio_array"]


class UnitRanking:
    """The order in which the units of every group leave, for whole populations.

    Parameters
    ----------
    graph : ChannelGraph
        The groups of the network.
    importance : callable
        Returns the importance of every unit, shape (n_units,); called once, when it is needed.
    first : ndarray of int64, shape (n_groups,)
        How many of each group's first units rank before all others.
    """

    def __init__(
        self, graph: ChannelGraph, importance: Importance, first: npt.NDArray[np.int64]
    ) -> None:
        self.graph = graph
        self.importance = importance
        self.first = first

    @cached_property
    def group_of(self) -> npt.NDArray[np.int64]:
        """Group of every unit, shape (n_units,)."""
        return np.repeat(np.arange(self.graph.n_groups), self.graph.widths)

    @cached_property
    def leading(self) -> npt.NDArray[np.bool_]:
        """Units that rank before all others of their group, shape (n_units,)."""
        position = np.arange(self.graph.n_units) - self.graph.offsets[self.group_of]
        return np.asarray(position < self.first[self.group_of])

    @cached_property
    def ranks(self) -> npt.NDArray[np.int64]:
        """Rank of every unit in its group, shape (n_units,): 0 is the last one to leave.

        The group's leading units come first, then the others by importance; among equals the
        lower index.
        """
        # lexsort is stable, and its last key is the first to sort by.
        order = np.lexsort((-self.importance(), ~self.leading, self.group_of))
        ranks = np.empty(self.graph.n_units, dtype=np.int64)
        ranks[order] = np.arange(self.graph.n_units) - self.graph.offsets[self.group_of]
        return ranks

    def structures(self, widths: npt.NDArray[np.int64]) -> list[Structure]:
        """Return the structures that keep the most important units of every group.

        Parameters
        ----------
        widths : ndarray of int64, shape (n, n_groups)
            Units to keep in each group.

        Returns
        -------
        list of Structure, of length n
        """
        return self.graph.structures(self.ranks < widths[:, self.group_of])

    def count(self, kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Count the kept units, shape (n, n_units), of every group: shape (n, n_groups)."""
        return np.asarray(
            np.add.reduceat(kept, self.graph.offsets[:-1], axis=1, dtype=np.int64), dtype=np.int64
        )


def ratio_array(ratio: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Check ratios.

    Parameters
    ----------
    ratio : float or array_like of shape (n,)
        Fractions in (0, 1].

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    ArgumentError
        If the shape is another, or a ratio is outside.
    """
    array = np.atleast_1d(np.asarray(ratio, dtype=np.float64))
    if array.ndim != 1 or not ((array > 0) & (array <= 1)).all():
        raise ArgumentError(f"ratio must be one or more fractions in (0, 1], got {ratio!r}.")
    return array
