"""A space of widths: how many units each group keeps, in steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.formulation.bounds import (
    check_minimum,
    enumerated,
    points_array,
    refuse_nothing_to_decide,
    resolve_bounds,
)
from optprune.formulation.ranking import UnitRanking, ratio_array
from optprune.formulation.space import Importance
from optprune.scores import L1, Score
from optprune.surgery import ChannelGraph, Structure

__all__ = ["BoundWidths", "Widths"]


@dataclass(frozen=True)
class Widths:
    """Decide how many units each group keeps; the score decides which.

    A group of width W keeps ``step, 2 step, …`` units, or all W of them (also where W is no
    multiple of `step`); never none. A group narrower than `step` is kept whole.

    Parameters
    ----------
    step : int, default 1
        Units between two widths; see the notes for which suits which hardware.
    score : Score, default L1()
        Which units stay: those of the highest importance; among equals the lower index.
    bounds : mapping of str to (int, int), optional
        Name or pattern of groups, and how many units they keep at least and at most (inclusive).
    frozen : sequence of str, default ()
        Names or patterns of groups that are kept whole.
    minimum : int, default 1
        Units that every group keeps at least; a group that has fewer is kept whole.
    keep_first : mapping of str to int, optional
        Name or pattern of groups, and how many of their first units always stay, whatever the
        score says; the least width is the first allowed one that holds them.

    Raises
    ------
    ArgumentError
        If `step` or `minimum` is no positive int.

    Notes
    -----
    Hardware computes channels in blocks: a vector unit 8 or 16 at once (float32), a tensor core
    or matrix unit 8, 16 or 32, the more the shorter the format (float16, bfloat16, int8). A width
    between two multiples is padded to the next one, or goes through a slower kernel, so that it
    saves MACs but hardly any time. Every new shape also costs once: libraries create a primitive
    for it, or search an algorithm, when they first meet it; with few widths, shapes recur. A step
    of 8 suits most processors, 16 or 32 tensor cores; ``op.metrics.latency`` measures what it
    brings on a given machine.

    The rounding rule: a group of width W has the multiples of `step` up to W, and W itself;
    `bounds`, `minimum` and `keep_first` then take away those that are too narrow or too wide, and
    never add others. So a minimum of 6 at a step of 4 means 8. Where a width is asked for
    (`BoundWidths.uniform`, `BoundWidths.encode`) the nearest allowed one is taken, the narrower of
    two that are equally near.
    """

    step: int = 1
    score: Score = field(default_factory=L1)
    bounds: Mapping[str, tuple[int, int]] | None = None
    frozen: Sequence[str] = ()
    minimum: int = 1
    keep_first: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.step, bool) or not isinstance(self.step, int) or self.step < 1:
            raise ArgumentError(f"step must be a positive int, got {self.step!r}.")
        check_minimum(self.minimum)

    def bind(self, graph: ChannelGraph, importance: Importance) -> BoundWidths:
        """Bind the space to the groups of a network.

        Parameters
        ----------
        graph : ChannelGraph
            The groups of the network.
        importance : callable
            Returns the importance of every unit, shape (n_units,).

        Returns
        -------
        BoundWidths

        Raises
        ------
        UnknownGroupError
            If a name in `bounds`, `frozen` or `keep_first` matches no group.
        ArgumentError
            If bounds, `minimum` or `keep_first` are impossible, contradict each other, leave a
            group no width, or leave nothing to decide.
        """
        limits = resolve_bounds(graph, self, "units")
        options = []
        for group in graph.groups:
            low, high = int(limits.low[group.index]), int(limits.high[group.index])
            widths = np.arange(self.step, group.width + 1, self.step, dtype=np.int64)
            if group.width % self.step:
                widths = np.append(widths, group.width)
            allowed = widths[(widths >= low) & (widths <= high)]
            if not len(allowed):
                raise ArgumentError(
                    f"bounds, minimum and first units ({low} to {high}) leave group "
                    f"{group.name!r} (width {group.width}) no width at step={self.step}; it has "
                    f"{enumerated(widths)}. Widen the bounds, or lower one of the others."
                )
            options.append(allowed)
        if all(len(allowed) == 1 for allowed in options):
            refuse_nothing_to_decide(graph, "has one width only", f"at step={self.step}, and ")
        return BoundWidths(graph, UnitRanking(graph, importance, limits.first), tuple(options))


class BoundWidths:
    """Widths of the groups of one network, as whole numbers.

    A variable counts through the allowed widths of its group: 0 is the narrowest one.

    Parameters
    ----------
    graph : ChannelGraph
        The groups of the network.
    ranking : UnitRanking
        Which units stay.
    options : tuple of ndarray of int64
        The allowed widths of each group, ascending.
    """

    kind: Literal["integer"] = "integer"

    def __init__(
        self,
        graph: ChannelGraph,
        ranking: UnitRanking,
        options: tuple[npt.NDArray[np.int64], ...],
    ) -> None:
        self.graph = graph
        self.options = options
        self._ranking = ranking
        counts = np.array([len(allowed) for allowed in options])
        # Groups with more than one width, and a table of theirs, padded on the right.
        self._free = np.flatnonzero(counts > 1)
        self._last = counts[self._free] - 1
        self._table = np.full((len(self._free), counts.max()), -1, dtype=np.int64)
        for row, index in enumerate(self._free):
            self._table[row, : counts[index]] = options[index]
        self._fixed = np.array([allowed[-1] for allowed in options], dtype=np.int64)

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
        """Zeros, shape (n_variables,)."""
        return np.zeros(self.n_variables)

    @property
    def upper(self) -> npt.NDArray[np.float64]:
        """Number of allowed widths less one, shape (n_variables,)."""
        return self._last.astype(np.float64)

    @property
    def cardinality(self) -> float:
        """Product of the numbers of allowed widths."""
        with np.errstate(over="ignore"):
            return float(np.prod(self._last + 1.0))

    @property
    def narrowest(self) -> npt.NDArray[np.int64]:
        """Least width of each group, shape (n_groups,)."""
        return np.array([allowed[0] for allowed in self.options], dtype=np.int64)

    @property
    def widest(self) -> npt.NDArray[np.int64]:
        """Greatest width of each group, shape (n_groups,)."""
        return np.array([allowed[-1] for allowed in self.options], dtype=np.int64)

    def widths(self, points: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Turn vectors into widths.

        Parameters
        ----------
        points : array_like, shape (n, n_variables)
            Rounded and clipped to the box.

        Returns
        -------
        ndarray of int64, shape (n, n_groups)

        Raises
        ------
        ArgumentError
            If the shape is another, or a value is not finite.
        """
        array = points_array(points, self.n_variables)
        index = np.clip(np.rint(array), 0, self._last).astype(np.int64)
        widths = np.tile(self._fixed, (len(array), 1))
        widths[:, self._free] = self._table[np.arange(self.n_variables), index]
        return widths

    def decode(self, points: npt.ArrayLike) -> list[Structure]:
        """Turn vectors, shape (n, n_variables), into structures; see `widths`."""
        return self._ranking.structures(self.widths(points))

    def encode(self, structure: Structure) -> npt.NDArray[np.float64]:
        """Return the vector of the allowed widths that are nearest to a structure's.

        Among equally near ones, the narrower.

        Raises
        ------
        GraphMismatchError
            If the structure belongs to another graph.
        """
        self.graph.check(structure)
        widths = structure.widths[None, self._free].astype(np.float64)
        return np.asarray(self._nearest(widths)[0])

    def sample(self, generator: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
        """Draw vectors, shape (n, n_variables), with every allowed width equally likely."""
        drawn = generator.integers(0, self._last, size=(n, self.n_variables), endpoint=True)
        return drawn.astype(np.float64)

    def uniform(self, ratio: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the vectors at which every group keeps about the same ratio of its units.

        Parameters
        ----------
        ratio : float or array_like of shape (n,)
            Fractions in (0, 1].

        Returns
        -------
        ndarray of float64, shape (n, n_variables)
            The allowed widths that are nearest to ``ratio * W``.

        Raises
        ------
        ArgumentError
            If a ratio is outside (0, 1].
        """
        return self._nearest(ratio_array(ratio)[:, None] * self.graph.widths[self._free])

    def keeping(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the vectors of the allowed widths nearest to some, shape (n, n_variables)."""
        return self._nearest(np.asarray(widths, dtype=np.float64)[:, self._free])

    def smallest(self) -> npt.NDArray[np.float64]:
        """Return the vector of the narrowest widths, shape (n_variables,)."""
        return self.lower

    def full(self) -> npt.NDArray[np.float64]:
        """Return the vector of the widest widths, shape (n_variables,)."""
        return self.upper

    def _nearest(self, widths: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the vectors of the allowed widths nearest to some, shape (n, n_variables)."""
        distance = np.abs(self._table[None] - widths[:, :, None])
        distance[:, self._table < 0] = np.inf
        return np.asarray(distance.argmin(axis=2), dtype=np.float64)

    def __repr__(self) -> str:
        return f"BoundWidths({self.n_variables} variables, {self.cardinality:.3g} structures)"
