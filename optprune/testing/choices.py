"""What a space says about groups - bounds, frozen, minimum, first units - must be kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optprune.formulation import Space
from optprune.formulation.bounds import rounded_widths
from optprune.surgery import ChannelGraph, Structure
from optprune.testing.conformance import require

__all__ = ["check_choices"]


def check_choices(
    who: str,
    space: Space,
    graph: ChannelGraph,
    structures: Sequence[Structure],
    *,
    ratios: bool,
) -> None:
    """Check that structures keep what a space says about groups, where it says it.

    Parameters
    ----------
    who : str
        The space, for messages.
    space : Space
        With any of `minimum`, `frozen`, `keep_first` and `bounds`, which mean in all spaces what
        they mean in `optprune.Widths`.
    graph : ChannelGraph
        The groups of the network.
    structures : sequence of Structure
        What vectors of the space decode to.
    ratios : bool
        Whether bounds are ratios of the group's width; else they are numbers of units.

    Raises
    ------
    ConformanceError
        If one does not.
    """
    widths = np.array([structure.widths for structure in structures])
    kept = np.array([structure.kept for structure in structures])
    minimum = getattr(space, "minimum", 1)
    for group in graph.groups:
        least = int(widths[:, group.index].min())
        require(
            least >= min(minimum, group.width),
            f"{who} says minimum={minimum} and decodes to {least} units of group {group.name!r}.",
        )
    for pattern in getattr(space, "frozen", ()):
        for group in graph.match(pattern):
            require(
                bool((widths[:, group.index] == group.width).all()),
                f"{who} says that group {group.name!r} is frozen and decodes to fewer units.",
            )
    for pattern, units in (getattr(space, "keep_first", None) or {}).items():
        for group in graph.match(pattern):
            require(
                bool(kept[:, group.slice][:, :units].all()),
                f"{who} says keep_first={{{pattern!r}: {units}}} and removes one of these units of "
                f"group {group.name!r}.",
            )
    for pattern, pair in (getattr(space, "bounds", None) or {}).items():
        for group in graph.match(pattern):
            low, high = _in_units(graph, group.index, pair) if ratios else pair
            found = widths[:, group.index]
            require(
                bool(((found >= low) & (found <= high)).all()),
                f"{who} says bounds={{{pattern!r}: {tuple(pair)!r}}} and decodes to {found.min()} "
                f"to {found.max()} units of group {group.name!r}.",
            )


def _in_units(
    graph: ChannelGraph, index: int, pair: tuple[float, float]
) -> tuple[np.int64, np.int64]:
    """Return the widths to which two ratios of a group are rounded."""
    ratios = np.ones((2, graph.n_groups))
    ratios[:, index] = pair
    low, high = rounded_widths(ratios, graph)[:, index]
    return low, high
