"""How narrow and how wide each group may become, and which of its units stay in any case."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.surgery import ChannelGraph, ChannelGroup

__all__ = [
    "Choices",
    "GroupBounds",
    "check_minimum",
    "enumerated",
    "every_width",
    "points_array",
    "refuse_nothing_to_decide",
    "resolve_bounds",
    "rounded_widths",
]

Unit: TypeAlias = Literal["units", "ratio"]


class Choices(Protocol):
    """What a user says about groups, alike in all spaces."""

    @property
    def bounds(self) -> Mapping[str, tuple[float, float]] | None:
        """Name or pattern of groups, and what they keep at least and at most (inclusive)."""
        ...

    @property
    def frozen(self) -> Sequence[str]:
        """Names or patterns of groups that are kept whole."""
        ...

    @property
    def minimum(self) -> int:
        """Units that every group keeps at least; a narrower group is kept whole."""
        ...

    @property
    def keep_first(self) -> Mapping[str, int] | None:
        """Name or pattern of groups, and how many of their first units always stay."""
        ...


@dataclass(frozen=True, eq=False)
class GroupBounds:
    """The bounds of every group of a graph.

    Parameters
    ----------
    low, high : ndarray of float64, shape (n_groups,)
        Least and greatest width, in units or as a ratio; groups without bounds go from one unit to
        all of them.
    first : ndarray of int64, shape (n_groups,)
        How many of the group's first units always stay; never more than the least width.
    """

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    first: npt.NDArray[np.int64]


def resolve_bounds(graph: ChannelGraph, choices: Choices, unit: Unit) -> GroupBounds:
    """Find the bounds of every group.

    Parameters
    ----------
    graph : ChannelGraph
        The groups of the network.
    choices : Choices
        The space: its `bounds`, `frozen`, `minimum` and `keep_first`.
    unit : {"units", "ratio"}
        Whether bounds are numbers of units or ratios of the group's width.

    Returns
    -------
    GroupBounds

    Raises
    ------
    UnknownGroupError
        If a name or pattern matches no group; it names the nearest.
    ArgumentTypeError
        If a bound is no pair of numbers, or an argument is of another type.
    ArgumentError
        If a bound is impossible, if two patterns of one argument match the same group, if a group
        is both bounded and frozen, or if `minimum` or `keep_first` asks for more units than a
        bound leaves or a group has.
    """
    if isinstance(choices.frozen, str):
        raise ArgumentTypeError(
            f"frozen must be a list of names or patterns: [{choices.frozen!r}]."
        )
    dense = graph.widths.astype(np.float64)
    scale = np.ones_like(dense) if unit == "units" else dense  # of one unit in `low` and `high`
    low, high = 1.0 / scale, dense / scale
    first = np.zeros(graph.n_groups, dtype=np.int64)
    whole = {group.index for pattern in choices.frozen for group in graph.match(pattern)}
    low[list(whole)] = high[list(whole)]
    bounded: dict[int, str] = {}
    for pattern, pair, group in _matched(graph, choices.bounds, "bounds", "(low, high)"):
        if group.index in whole:
            raise ArgumentError(
                f"bounds: {pattern!r} matches group {group.name!r} (width {group.width}), "
                "which is frozen too; leave it out of one of the two."
            )
        low[group.index], high[group.index] = _pair(pattern, pair, group, unit)
        bounded[group.index] = f"bounds[{pattern!r}] = {tuple(pair)!r}"
    words: dict[int, str] = {}
    for pattern, units, group in _matched(graph, choices.keep_first, "keep_first", "units"):
        first[group.index] = _leading(pattern, units, group)
        words[group.index] = f"keep_first[{pattern!r}] = {units}"
    widest = high.astype(np.int64) if unit == "units" else rounded_widths(high, graph)
    least = np.minimum(choices.minimum, graph.widths)
    for group in graph.groups:
        for asked, said in (
            (int(least[group.index]), f"minimum={choices.minimum}"),
            (int(first[group.index]), words.get(group.index, "")),
        ):
            if asked > widest[group.index]:
                raise ArgumentError(
                    f"{said} keeps {asked} units of group {group.name!r} (width {group.width}), "
                    f"but {bounded[group.index]} leaves it {widest[group.index]} at most; lower "
                    "the one or raise the other."
                )
    low = np.maximum(low, np.maximum(least, first) / scale)
    return GroupBounds(low, np.maximum(low, high), first)


def check_minimum(minimum: Any) -> None:
    """Raise `ArgumentError` unless a space's `minimum` is a positive int."""
    if isinstance(minimum, bool) or not isinstance(minimum, int) or minimum < 1:
        raise ArgumentError(f"minimum must be a positive int, got {minimum!r}.")


def rounded_widths(ratios: npt.NDArray[np.float64], graph: ChannelGraph) -> npt.NDArray[np.int64]:
    """Turn ratios, shape (…, n_groups), into widths: the nearest ones, at least one unit."""
    rounded = np.floor(ratios * graph.widths + 0.5).astype(np.int64)
    return np.clip(rounded, 1, graph.widths)


def every_width(
    low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], ...]:
    """Return all widths from `low` to `high`, inclusive, for every group."""
    return tuple(np.arange(a, b + 1, dtype=np.int64) for a, b in zip(low, high, strict=True))


def enumerated(widths: npt.NDArray[np.int64]) -> str:
    """Write widths in a line, the middle of a long list left out."""
    words = [str(width) for width in widths]
    return ", ".join(words if len(words) <= 6 else [*words[:4], "…", words[-1]])


def refuse_nothing_to_decide(graph: ChannelGraph, consequence: str, detail: str = "") -> NoReturn:
    """Raise because a space leaves every group a single choice.

    Parameters
    ----------
    graph : ChannelGraph
        The groups of the network.
    consequence : str
        What is true of each group: ``"is kept whole"``.
    detail : str
        What else made it so, beside the arguments that all spaces have.

    Raises
    ------
    ArgumentError
        Always.
    """
    raise ArgumentError(
        f"the space leaves nothing to decide: {detail}with these bounds, frozen groups, minimum "
        f"and first units, each of the {graph.n_groups} groups {consequence} (dense widths "
        f"{enumerated(graph.widths)})."
    )


def _matched(
    graph: ChannelGraph, mapping: Mapping[str, Any] | None, argument: str, values: str
) -> Iterator[tuple[str, Any, ChannelGroup]]:
    """Yield pattern, value and group of a mapping by patterns, which must not overlap."""
    if mapping is not None and not isinstance(mapping, Mapping):
        raise ArgumentTypeError(
            f"{argument} must be a dict of group name or pattern to {values}, got "
            f"{type(mapping).__name__}."
        )
    taken: dict[int, str] = {}
    for pattern, value in (mapping or {}).items():
        for group in graph.match(pattern):
            if group.index in taken:
                raise ArgumentError(
                    f"{argument}: {taken[group.index]!r} and {pattern!r} both match group "
                    f"{group.name!r} (width {group.width}); write patterns that do not overlap."
                )
            taken[group.index] = pattern
            yield pattern, value, group


def _leading(pattern: str, units: Any, group: ChannelGroup) -> int:
    """Check how many first units of one group stay."""
    if isinstance(units, bool) or not isinstance(units, numbers.Integral):
        raise ArgumentTypeError(
            f"keep_first[{pattern!r}] must be a whole number of units, got {units!r}."
        )
    if not 1 <= int(units) <= group.width:
        raise ArgumentError(
            f"keep_first[{pattern!r}] = {units} is impossible for group {group.name!r} (width "
            f"{group.width}): 1 to {group.width} units can stay; leave the group out to ask for "
            "none."
        )
    return int(units)


def _pair(pattern: str, pair: Any, group: ChannelGroup, unit: Unit) -> tuple[float, float]:
    """Check the two bounds of one group."""
    kind = numbers.Integral if unit == "units" else numbers.Real
    if (
        not isinstance(pair, tuple | list)
        or len(pair) != 2
        or any(isinstance(bound, bool) or not isinstance(bound, kind) for bound in pair)
    ):
        raise ArgumentTypeError(
            f"bounds[{pattern!r}] must be a pair (low, high) of "
            f"{'whole numbers of units' if unit == 'units' else 'ratios'}, got {pair!r}."
        )
    low, high = float(pair[0]), float(pair[1])
    least, most = (1.0, float(group.width)) if unit == "units" else (0.0, 1.0)
    if not least <= low <= high <= most:
        raise ArgumentError(
            f"bounds[{pattern!r}] = {tuple(pair)!r} is impossible for group {group.name!r} "
            f"(width {group.width}): {least:g} <= low <= high <= {most:g} is expected."
        )
    return low, high


def points_array(points: npt.ArrayLike, n_variables: int) -> npt.NDArray[np.float64]:
    """Check vectors that an optimizer proposes.

    Parameters
    ----------
    points : array_like, shape (n, n_variables)
        The vectors.
    n_variables : int
        Their length.

    Returns
    -------
    ndarray of float64, shape (n, n_variables)

    Raises
    ------
    ArgumentError
        If the shape is another, or a value is not finite.
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != n_variables:
        raise ArgumentError(
            f"points must have shape (n, {n_variables}), one row for each proposal; "
            f"got {array.shape}."
        )
    if not np.isfinite(array).all():
        raise ArgumentError("points must be finite numbers, got NaN or inf.")
    return array
