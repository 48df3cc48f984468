"""A space of masks: a bit for every unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, logsumexp

from optprune.formulation.bounds import (
    GroupBounds,
    check_minimum,
    every_width,
    points_array,
    refuse_nothing_to_decide,
    resolve_bounds,
)
from optprune.formulation.ranking import UnitRanking, ratio_array
from optprune.formulation.space import Importance
from optprune.scores import L1, Score
from optprune.surgery import ChannelGraph, Structure

__all__ = ["BoundMasks", "Masks"]


@dataclass(frozen=True)
class Masks:
    """Decide for every single unit whether it stays.

    A mask that leaves a group fewer units than its bound (one, by default) is repaired: the most
    important of its removed units stay. One that leaves a group more than its bound loses the
    least important of its kept units.

    Parameters
    ----------
    score : Score, default L1()
        Which units a repair keeps, and which stay at a uniform ratio.
    bounds : mapping of str to (int, int), optional
        Name or pattern of groups, and how many units they keep at least and at most (inclusive).
    frozen : sequence of str, default ()
        Names or patterns of groups that are kept whole.
    minimum : int, default 1
        Units that every group keeps at least; a group that has fewer is kept whole.
    keep_first : mapping of str to int, optional
        Name or pattern of groups, and how many of their first units always stay, whatever the
        score says; their bits are not decided.

    Raises
    ------
    ArgumentError
        If `minimum` is no positive int.
    """

    score: Score = field(default_factory=L1)
    bounds: Mapping[str, tuple[int, int]] | None = None
    frozen: Sequence[str] = ()
    minimum: int = 1
    keep_first: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        check_minimum(self.minimum)

    def bind(self, graph: ChannelGraph, importance: Importance) -> BoundMasks:
        """Bind the space to the groups of a network.

        Parameters
        ----------
        graph : ChannelGraph
            The groups of the network.
        importance : callable
            Returns the importance of every unit, shape (n_units,); called at the first repair.

        Returns
        -------
        BoundMasks

        Raises
        ------
        UnknownGroupError
            If a name in `bounds`, `frozen` or `keep_first` matches no group.
        ArgumentError
            If bounds, `minimum` or `keep_first` are impossible, contradict each other, or leave
            nothing to decide.
        """
        limits = resolve_bounds(graph, self, "units")
        bound = BoundMasks(graph, UnitRanking(graph, importance, limits.first), limits)
        if not bound.n_variables:
            refuse_nothing_to_decide(graph, "has one mask only")
        return bound


class BoundMasks:
    """A bit for every unit of one network that may leave.

    Parameters
    ----------
    graph : ChannelGraph
        The groups of the network.
    ranking : UnitRanking
        Which units a repair keeps.
    limits : GroupBounds
        How many units each group keeps at least and at most, and how many first ones always.
    """

    kind: Literal["binary"] = "binary"

    def __init__(self, graph: ChannelGraph, ranking: UnitRanking, limits: GroupBounds) -> None:
        self.graph = graph
        self._ranking = ranking
        self._low = limits.low.astype(np.int64)
        self._high = limits.high.astype(np.int64)
        self._first = limits.first
        # A group has a choice if it may lose units, and may keep some beside the first ones.
        choice = (self._low < graph.widths) & (limits.first < self._high)
        decided = choice[ranking.group_of] & ~ranking.leading
        self._free = np.flatnonzero(decided)
        # Of the undecided units, those stay that lead or whose group is whole.
        self._fixed = ranking.leading | (self._low == graph.widths)[ranking.group_of]

    @property
    def names(self) -> tuple[str, ...]:
        """Group and index of every unit that is decided, of length ``n_variables``."""
        groups = self._ranking.group_of[self._free]
        return tuple(
            f"{self.graph.groups[group].name}[{unit - self.graph.offsets[group]}]"
            for group, unit in zip(groups, self._free, strict=True)
        )

    @property
    def n_variables(self) -> int:
        """Number of units that are decided."""
        return len(self._free)

    @property
    def lower(self) -> npt.NDArray[np.float64]:
        """Zeros, shape (n_variables,)."""
        return np.zeros(self.n_variables)

    @property
    def upper(self) -> npt.NDArray[np.float64]:
        """Ones, shape (n_variables,)."""
        return np.ones(self.n_variables)

    @property
    def cardinality(self) -> float:
        """Number of different structures, ``prod_g sum_{low <= k <= high} binomial(W_g, k)``.

        Units that always stay count neither in W nor in k.
        """
        logarithm = 0.0
        for width, low, high in zip(
            self.graph.widths - self._first,
            self._low - self._first,
            self._high - self._first,
            strict=True,
        ):
            if low < width:
                k = np.arange(low, high + 1)
                terms = gammaln(width + 1) - gammaln(k + 1) - gammaln(width - k + 1)
                logarithm += float(logsumexp(terms))
        return float(np.rint(np.exp(logarithm))) if logarithm < 700 else float("inf")

    @property
    def narrowest(self) -> npt.NDArray[np.int64]:
        """Least width of each group, shape (n_groups,)."""
        return self._low.copy()

    @property
    def widest(self) -> npt.NDArray[np.int64]:
        """Greatest width of each group, shape (n_groups,)."""
        return self._high.copy()

    @property
    def options(self) -> tuple[npt.NDArray[np.int64], ...]:
        """Every width within its bounds, for each group."""
        return every_width(self._low, self._high)

    def kept(self, points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Turn vectors into repaired masks.

        Parameters
        ----------
        points : array_like, shape (n, n_variables)
            A unit stays where the value is at least 0.5.

        Returns
        -------
        ndarray of bool, shape (n, n_units)

        Raises
        ------
        ArgumentError
            If the shape is another, or a value is not finite.
        """
        array = points_array(points, self.n_variables)
        kept = np.tile(self._fixed, (len(array), 1))
        kept[:, self._free] = array >= 0.5
        return self._repair(kept)

    def widths(self, points: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Turn vectors into the widths of their repaired masks, shape (n, n_groups)."""
        return self._ranking.count(self.kept(points))

    def decode(self, points: npt.ArrayLike) -> list[Structure]:
        """Turn vectors, shape (n, n_variables), into structures; see `kept`."""
        return self.graph.structures(self.kept(points))

    def encode(self, structure: Structure) -> npt.NDArray[np.float64]:
        """Return the bits of a structure, shape (n_variables,), repaired to the bounds.

        Raises
        ------
        GraphMismatchError
            If the structure belongs to another graph.
        """
        self.graph.check(structure)
        bits = structure.kept[None, self._free].astype(np.float64)
        return np.asarray(self.kept(bits)[0, self._free], dtype=np.float64)

    def sample(self, generator: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
        """Draw repaired random masks, shape (n, n_variables).

        Every group first draws its width, each allowed one equally likely, and then which units
        stay beside those that always do. With fair coins instead, every group would keep about
        half of its units.
        """
        low, high = self._low[None], self._high[None]
        widths = generator.integers(low, high, size=(n, self.graph.n_groups), endpoint=True)
        group_of = self._ranking.group_of
        # Ranks of random keys within each group: the first `width` of a random order stay.
        keys = generator.random((n, self.graph.n_units))
        keys[:, self._ranking.leading] = -1.0
        order = np.lexsort((keys, np.broadcast_to(group_of, keys.shape)))
        ranks = np.empty((n, self.graph.n_units), dtype=np.int64)
        position = np.arange(self.graph.n_units) - self.graph.offsets[group_of]
        np.put_along_axis(ranks, order, np.broadcast_to(position, ranks.shape), axis=1)
        return (ranks < widths[:, group_of])[:, self._free].astype(np.float64)

    def uniform(self, ratio: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the masks at which every group keeps about the same ratio of its units.

        Parameters
        ----------
        ratio : float or array_like of shape (n,)
            Fractions in (0, 1].

        Returns
        -------
        ndarray of float64, shape (n, n_variables)
            The ``round(ratio * W)`` most important units of each group stay, within its bounds.

        Raises
        ------
        ArgumentError
            If a ratio is outside (0, 1].
        """
        widths = np.floor(ratio_array(ratio)[:, None] * self.graph.widths + 0.5).astype(np.int64)
        return self.keeping(widths)

    def keeping(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the masks that keep the most important units, shape (n, n_variables).

        Parameters
        ----------
        widths : array_like of int, shape (n, n_groups)
            Clipped to the bounds.
        """
        clipped = np.clip(np.asarray(widths, dtype=np.int64), self._low, self._high)
        kept = self._ranking.ranks < clipped[:, self._ranking.group_of]
        return kept[:, self._free].astype(np.float64)

    def smallest(self) -> npt.NDArray[np.float64]:
        """Return the mask that keeps the least, shape (n_variables,)."""
        return np.asarray(self.keeping(self._low[None])[0])

    def full(self) -> npt.NDArray[np.float64]:
        """Return the mask that keeps the most, shape (n_variables,)."""
        return np.asarray(self.keeping(self._high[None])[0])

    def _repair(self, kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Bring the width of every group into its bounds; changes and returns `kept`."""
        widths = self._ranking.count(kept)
        rows, groups = np.nonzero((widths < self._low) | (widths > self._high))
        for row, index in zip(rows, groups, strict=True):
            group = self.graph.groups[index]
            bits = kept[row, group.slice]
            ranks = self._ranking.ranks[group.slice]
            missing = self._low[index] - widths[row, index]
            # In the order of rank: of the removed units the first, of the kept ones the last.
            if missing > 0:
                changed = sorted(np.flatnonzero(~bits), key=ranks.__getitem__)[:missing]
            else:
                surplus = widths[row, index] - self._high[index]
                changed = sorted(np.flatnonzero(bits), key=ranks.__getitem__)[-surplus:]
            bits[changed] = ~bits[changed]
        return kept

    def __repr__(self) -> str:
        return f"BoundMasks({self.n_variables} variables, {self.cardinality:.3g} structures)"
