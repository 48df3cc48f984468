"""How narrow and how wide each group may become: bounds and frozen groups by name or pattern."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.surgery import ChannelGraph, ChannelGroup

__all__ = ["GroupBounds", "points_array", "resolve_bounds"]


@dataclass(frozen=True, eq=False)
class GroupBounds:
    """The bounds of every group of a graph.

    Parameters
    ----------
    low, high : ndarray of float64, shape (n_groups,)
        Least and greatest width, in units or as a ratio; groups without bounds go from one unit to
        all of them.
    frozen : ndarray of bool, shape (n_groups,)
        Groups that are kept whole.
    """

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    frozen: npt.NDArray[np.bool_]


def resolve_bounds(
    graph: ChannelGraph,
    bounds: Mapping[str, tuple[float, float]] | None,
    frozen: Sequence[str],
    unit: Literal["units", "ratio"],
) -> GroupBounds:
    """Find the bounds of every group.

    Parameters
    ----------
    graph : ChannelGraph
        The groups of the network.
    bounds : mapping of str to (low, high), optional
        Name or pattern of groups, and what they may keep at least and at most (inclusive).
    frozen : sequence of str
        Names or patterns of groups that are kept whole.
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
        If a bound is no pair of numbers.
    ArgumentError
        If a bound is impossible, if two patterns bound the same group, or if a group is both
        bounded and frozen.
    """
    if isinstance(frozen, str):
        raise ArgumentTypeError(f"frozen must be a list of names or patterns: [{frozen!r}].")
    if bounds is not None and not isinstance(bounds, Mapping):
        raise ArgumentTypeError(
            "bounds must be a dict of group name or pattern to (low, high), got "
            f"{type(bounds).__name__}."
        )
    dense = graph.widths.astype(np.float64)
    high = dense.copy() if unit == "units" else np.ones_like(dense)
    low = np.ones_like(dense) if unit == "units" else 1.0 / dense
    whole = np.zeros(graph.n_groups, dtype=np.bool_)
    for pattern in frozen:
        for group in graph.match(pattern):
            whole[group.index] = True
    low[whole] = high[whole]
    bounded_by: dict[int, str] = {}
    for pattern, pair in (bounds or {}).items():
        for group in graph.match(pattern):
            if group.index in bounded_by:
                raise ArgumentError(
                    f"bounds: {bounded_by[group.index]!r} and {pattern!r} both match group "
                    f"{group.name!r} (width {group.width}); write patterns that do not overlap."
                )
            if whole[group.index]:
                raise ArgumentError(
                    f"bounds: {pattern!r} matches group {group.name!r} (width {group.width}), "
                    "which is frozen too; leave it out of one of the two."
                )
            bounded_by[group.index] = pattern
            low[group.index], high[group.index] = _pair(pattern, pair, group, unit)
    return GroupBounds(low, high, whole)


def _pair(
    pattern: str, pair: Any, group: ChannelGroup, unit: Literal["units", "ratio"]
) -> tuple[float, float]:
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
