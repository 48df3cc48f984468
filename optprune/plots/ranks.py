"""The critical-difference picture: average ranks, and who was not shown to differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ranks"]

# Heights in inches: a line of names, a bar with its space, what stands above the axis.
_LINE, _BAR, _ABOVE = 0.25, 0.13, 0.42


def ranks(
    mean_ranks: Mapping[str, float],
    *,
    groups: Sequence[Sequence[str]] = (),
    critical_difference: float | None = None,
    note: str = "",
    optimizers: Sequence[str] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw optimizers on the axis of their average ranks, the best on the left.

    Parameters
    ----------
    mean_ranks : mapping of str to float
        Average rank of each optimizer, between 1 and their number.
    groups : sequence of sequence of str
        Optimizers that were not shown to differ; a bar connects each group.
    critical_difference : float, optional
        Drawn as a length above the axis.
    note : str
        A sentence below, such as the ``note`` of `optprune.compare.ranks.Ranks`.
    optimizers : sequence of str, optional
        All optimizers of the comparison, for the same colors in all pictures of it.
    title : str, optional
        The title.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default, as high as the names and groups need.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Raises
    ------
    ArgumentError
        If there are fewer than two optimizers, a rank lies outside, or a group or `optimizers` does
        not fit.

    References
    ----------
    J. Demšar, 2006, J. Mach. Learn. Res. 7:1-30.
    """
    from optprune.plots.optimizers import looks
    from optprune.plots.picture import DARK, MUTED, axes_or_new

    _check(mean_ranks, groups)
    ordered = sorted(mean_ranks, key=lambda name: mean_ranks[name])
    drawn = looks(ordered, optimizers)
    k = len(ordered)
    left = ordered[: (k + 1) // 2]
    right = ordered[len(left) :][::-1]
    bars = 0.1 + _BAR * len(groups)
    depth = bars + 0.1 + _LINE * len(left)
    ax = axes_or_new(ax, 7.6, 0.75 + _ABOVE + depth + 0.3 * bool(note))
    ax.set_axis_off()
    side = 0.12 * (k - 1)
    last = float(k)
    ax.set_xlim(1 - 1.2 * side, last + 1.2 * side)
    ax.set_ylim(-depth, _ABOVE)
    ax.plot([1, k], [0, 0], color=DARK, linewidth=1.2, solid_capstyle="butt")
    for tick in range(1, k + 1):
        ax.plot([tick, tick], [0, 0.06], color=DARK, linewidth=1.0)
        ax.text(tick, 0.09, str(tick), ha="center", va="bottom", fontsize=8, color=DARK)
    if critical_difference is not None and math.isfinite(critical_difference):
        _draw_difference(ax, critical_difference, k)
    for names, edge, align in ((left, 1 - side, "right"), (right, last + side, "left")):
        for line, name in enumerate(names):
            rank, look = mean_ranks[name], drawn[name]
            height = -(bars + 0.1 + _LINE * (line + 0.3))
            ax.plot(
                [rank, rank, edge],
                [0, height, height],
                color=look.color,
                linewidth=1.2,
                linestyle=look.line,
            )
            ax.plot(
                rank,
                0,
                marker=look.marker,
                markersize=6,
                color=look.color,
                markeredgecolor="white",
                markeredgewidth=0.7,
                zorder=4,
            )
            text = f"{name}  {rank:.2f}" if align == "right" else f"{rank:.2f}  {name}"
            outwards = -0.1 * side if align == "right" else 0.1 * side
            ax.text(
                edge + outwards, height, text, ha=align, va="center", fontsize=9, color=look.color
            )
    for line, group in enumerate(groups):
        level = -(0.1 + _BAR * line)
        ends = sorted(mean_ranks[name] for name in group)
        reach = 0.012 * (k - 1)
        ax.plot(
            [ends[0] - reach, ends[-1] + reach],
            [level] * 2,
            color=DARK,
            linewidth=3.4,
            solid_capstyle="butt",
            zorder=3,
        )
    if note:
        ax.text(
            0.0, -0.02, note, transform=ax.transAxes, va="top", fontsize=8, color=MUTED, wrap=True
        )
    bar = "; a bar joins those not shown to differ" if groups else ""
    ax.set_title(f"Average rank, 1 is best{bar}" if title is None else title, loc="left")
    return ax


def _draw_difference(ax: Axes, difference: float, k: int) -> None:
    """Draw the critical difference as a length at the left end, cut off at the axis' right end."""
    from optprune.plots.picture import DARK

    height, stop = 0.3, min(1 + difference, float(k))
    ax.plot([1, stop], [height] * 2, color=DARK, linewidth=1.0)
    for end in (1.0, stop)[: 1 if 1 + difference > k else 2]:
        ax.plot([end] * 2, [height - 0.04, height + 0.04], color=DARK, linewidth=1.0)
    more = " (more than the axis)" if 1 + difference > k else ""
    ax.text(
        1 + (stop - 1) / 2,
        height + 0.03,
        f"critical difference {difference:.2f}{more}",
        ha="center",
        va="bottom",
        fontsize=8,
        color=DARK,
    )


def _check(mean_ranks: Mapping[str, float], groups: Sequence[Sequence[str]]) -> None:
    """Raise unless the picture can be drawn."""
    k = len(mean_ranks)
    if k < 2:
        raise ArgumentError(f"ranks: ranks are those of two optimizers or more; got {k}.")
    for name, rank in mean_ranks.items():
        if not 1 <= rank <= k:
            raise ArgumentError(
                f"ranks: {name!r} has the rank {rank}; with {k} optimizers ranks lie between 1 "
                f"and {k}."
            )
    strange = [name for group in groups for name in group if name not in mean_ranks]
    if strange:
        raise ArgumentError(f"ranks: {strange[0]!r} is in a group, but has no rank.")
