"""A space of ratios: which fraction of its units each group keeps, as real numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from optprune.formulation.bounds import (
    GroupBounds,
    check_minimum,
    every_width,
    points_array,
    refuse_nothing_to_decide,
    resolve_bounds,
    rounded_widths,
)
from optprune.formulation.ranking import UnitRanking, ratio_array
from optprune.formulation.space import Importance
from optprune.scores import L1, Score
from optprune.surgery import ChannelGraph, Structure

__all__ = ["BoundRatios", "Ratios"]


@dataclass(frozen=True)
class Ratios:
    """Decide which fraction of its units each group keeps; the score decides which units.

    A group of width W keeps ``round(ratio * W)`` units, at least one.

    Parameters
    ----------
    score : Score, default L1()
        Which units stay: those of the highest importance; among equals the lower index.
    bounds : mapping of str to (float, float), optional
        Name or pattern of groups, and which ratio they keep at least and at most (inclusive).
    frozen : sequence of str, default ()
        Names or patterns of groups that are kept whole.
    minimum : int, default 1
        Units that every group keeps at least; a group that has fewer is kept whole.
    keep_first : mapping of str to int, optional
        Name or pattern of groups, and how many of their first units always stay, whatever the
        score says; the least ratio is no less than theirs.

    Raises
    ------
    ArgumentError
        If `minimum` is no positive int.
    """

    score: Score = field(default_factory=L1)
    bounds: Mapping[str, tuple[float, float]] | None = None
    frozen: Sequence[str] = ()
    minimum: int = 1
    keep_first: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        check_minimum(self.minimum)

    def bind(self, graph: ChannelGraph, importance: Importance) -> BoundRatios:
        """Bind the space to the groups of a network.

        Parameters
        ----------
        graph : ChannelGraph
            The groups of the network.
        importance : callable
            Returns the importance of every unit, shape (n_units,).

        Returns
        -------
        BoundRatios

        Raises
        ------
        UnknownGroupError
            If a name in `bounds`, `frozen` or `keep_first` matches no group.
        ArgumentError
            If bounds, `minimum` or `keep_first` are impossible, contradict each other, or leave
            nothing to decide.
        """
        limits = resolve_bounds(graph, self, "ratio")
        # Where low is high there is nothing to decide: frozen, of width 1, or so bounded.
        if not (limits.low < limits.high).any():
            refuse_nothing_to_decide(graph, "has one ratio only")
        return BoundRatios(graph, UnitRanking(graph, importance, limits.first), limits)


class BoundRatios:
    """Keep-ratios of the groups of one network, as real numbers.

    Parameters
    ----------
    graph : ChannelGraph
        The groups of the network.
    ranking : UnitRanking
        Which units stay.
    limits : GroupBounds
        Least and greatest ratio of each group.
    """

    kind: Literal["continuous"] = "continuous"
    cardinality = float("inf")

    def __init__(self, graph: ChannelGraph, ranking: UnitRanking, limits: GroupBounds) -> None:
        self.graph = graph
        self._ranking = ranking
        self._low, self._high = limits.low, limits.high
        self._free = np.flatnonzero(limits.low < limits.high)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups that are decided, of length ``n_variables``."""
        return tuple(self.graph.groups[index].name for index in self._free)

    @property
    def n_variables(self) -> int:
        """Number of groups that are decided."""
        return len(self._free)

    @property
    def lower(self) -> npt.NDArray[np.float64]:
        """Least ratios, shape (n_variables,)."""
        return self._low[self._free]

    @property
    def upper(self) -> npt.NDArray[np.float64]:
        """Greatest ratios, shape (n_variables,)."""
        return self._high[self._free]

    @property
    def narrowest(self) -> npt.NDArray[np.int64]:
        """Least width of each group, shape (n_groups,)."""
        return rounded_widths(self._low, self.graph)

    @property
    def widest(self) -> npt.NDArray[np.int64]:
        """Greatest width of each group, shape (n_groups,)."""
        return rounded_widths(self._high, self.graph)

    @property
    def options(self) -> tuple[npt.NDArray[np.int64], ...]:
        """Every width between the narrowest and the widest, for each group."""
        return every_width(self.narrowest, self.widest)

    def widths(self, points: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Turn vectors into widths.

        Parameters
        ----------
        points : array_like, shape (n, n_variables)
            Clipped to the box.

        Returns
        -------
        ndarray of int64, shape (n, n_groups)
            ``round(ratio * W)``, halves upwards, at least 1.

        Raises
        ------
        ArgumentError
            If the shape is another, or a value is not finite.
        """
        array = points_array(points, self.n_variables)
        ratios = np.tile(self._high, (len(array), 1))
        ratios[:, self._free] = np.clip(array, self.lower, self.upper)
        return rounded_widths(ratios, self.graph)

    def decode(self, points: npt.ArrayLike) -> list[Structure]:
        """Turn vectors, shape (n, n_variables), into structures; see `widths`."""
        return self._ranking.structures(self.widths(points))

    def encode(self, structure: Structure) -> npt.NDArray[np.float64]:
        """Return the ratios of a structure, shape (n_variables,), clipped to the box.

        Raises
        ------
        GraphMismatchError
            If the structure belongs to another graph.
        """
        self.graph.check(structure)
        ratios = structure.widths[self._free] / self.graph.widths[self._free]
        return np.clip(ratios, self.lower, self.upper)

    def sample(self, generator: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
        """Draw vectors, shape (n, n_variables), uniformly from the box."""
        return generator.uniform(self.lower, self.upper, size=(n, self.n_variables))

    def uniform(self, ratio: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the vectors at which every group keeps the same ratio of its units.

        Parameters
        ----------
        ratio : float or array_like of shape (n,)
            Fractions in (0, 1].

        Returns
        -------
        ndarray of float64, shape (n, n_variables)
            Clipped to the box.

        Raises
        ------
        ArgumentError
            If a ratio is outside (0, 1].
        """
        return np.clip(ratio_array(ratio)[:, None], self.lower, self.upper)

    def keeping(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the ratios of some widths, shape (n, n_variables), clipped to the box."""
        ratios = np.asarray(widths, dtype=np.float64) / self.graph.widths
        return np.clip(ratios[:, self._free], self.lower, self.upper)

    def smallest(self) -> npt.NDArray[np.float64]:
        """Return the vector of the least ratios, shape (n_variables,)."""
        return self.lower

    def full(self) -> npt.NDArray[np.float64]:
        """Return the vector of the greatest ratios, shape (n_variables,)."""
        return self.upper

    def __repr__(self) -> str:
        return f"BoundRatios({self.n_variables} variables)"
