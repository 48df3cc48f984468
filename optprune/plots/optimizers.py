"""How an optimizer looks, the same in every picture, and the axis of what it cost.

Imports matplotlib: imported by the plots when they are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from optprune.errors import ArgumentError
from optprune.plots.picture import COLORS, DARK

__all__ = [
    "WIDEST_LINEAR",
    "Look",
    "changes",
    "cost_axis",
    "draw_until",
    "legend_beside",
    "looks",
]

WIDEST_LINEAR = 30.0
"""Costs that span a larger ratio are drawn on a logarithmic axis."""

_Line: TypeAlias = Literal["-"] | tuple[float, tuple[float, ...]]

_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_LINES: tuple[_Line, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))


class Look(NamedTuple):
    """Color, line style and marker of an optimizer."""

    color: str
    line: _Line
    marker: str


def looks(names: Iterable[str], optimizers: Sequence[str] | None) -> dict[str, Look]:
    """Return the look of every optimizer in a picture.

    Parameters
    ----------
    names : iterable of str
        Those in the picture.
    optimizers : sequence of str, optional
        All of the comparison; each keeps its look whoever else is in the picture. By default those
        in the picture in the order of the alphabet.

    Returns
    -------
    dict of str to Look
        Of those in the picture, in the order of `optimizers`. Seven colors; from the eighth on
        they come again with another line.

    Raises
    ------
    ArgumentError
        If one in the picture is not among `optimizers`.
    """
    present = list(dict.fromkeys(map(str, names)))
    order = sorted(present) if optimizers is None else list(dict.fromkeys(optimizers))
    missing = [name for name in present if name not in order]
    if missing:
        raise ArgumentError(
            f"`optimizers` must name all that are drawn; it lacks {', '.join(map(repr, missing))}."
        )
    found = {}
    for place, name in enumerate(order):
        turn, color = divmod(place, len(COLORS))
        if name in present:
            # Another marker in every turn too, for those that are drawn as points.
            marker = _MARKERS[(color + turn) % len(_MARKERS)]
            found[name] = Look(COLORS[color], _LINES[turn % len(_LINES)], marker)
    return found


def cost_axis(ax: Axes, costs: npt.NDArray[np.float64], log_x: bool | None, label: str) -> None:
    """Set the horizontal axis: logarithmic where costs span much, with a place for 0."""
    positive = costs[costs > 0]
    wide = bool(len(positive)) and float(positive.max() / positive.min()) > WIDEST_LINEAR
    if (wide if log_x is None else log_x) and len(positive):
        least = float(positive.min())
        if (costs == 0).any():
            ax.set_xscale("symlog", linthresh=least, linscale=0.5)
            ax.set_xlim(0, 1.15 * float(positive.max()))
        else:
            ax.set_xscale("log")
            ax.set_xlim(least / 1.15, 1.15 * float(positive.max()))
    else:
        reach = float(costs.max()) or 1.0
        ax.set_xlim(0, 1.03 * reach)
    ax.set_xlabel(label)


def draw_until(
    ax: Axes,
    costs: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    running: npt.NDArray[np.float64],
    name: str,
    look: Look,
) -> bool:
    """Draw a step function: as a line while runs go on, a marker at their end, then a thin line.

    Returns
    -------
    bool
        Whether the marker is drawn with a thin line behind it.
    """
    ended = np.flatnonzero(running == 0)
    stop = int(ended[0]) if len(ended) else len(costs) - 1
    kept = changes(values[: stop + 1])
    ax.step(
        costs[kept],
        values[kept],
        where="post",
        color=look.color,
        linestyle=look.line,
        linewidth=1.7,
        label=name,
        zorder=3,
    )
    if not len(ended):
        return False
    ax.plot(
        costs[stop],
        values[stop],
        marker=look.marker,
        markersize=6,
        color=look.color,
        markeredgecolor="white",
        markeredgewidth=0.8,
        linestyle="",
        clip_on=False,
        zorder=5,
    )
    if stop == len(costs) - 1:
        return False
    # Nothing changes once all runs have ended.
    ax.plot(
        [costs[stop], costs[-1]],
        [values[stop]] * 2,
        color=look.color,
        linewidth=0.9,
        alpha=0.65,
        zorder=2.5,
    )
    return bool(np.isfinite(values[stop]))


def changes(*columns: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the rows at which a column changes, with the first and the last."""
    differs = np.zeros(len(columns[0]), dtype=np.bool_)
    differs[[0, -1]] = True
    for column in columns:
        before, after = column[:-1], column[1:]
        differs[1:] |= (before != after) & ~(np.isnan(before) & np.isnan(after))
    return np.flatnonzero(differs)


def legend_beside(ax: Axes, optimizers: dict[str, Look], *, ended: bool = False) -> None:
    """Name the optimizers right of the picture, where they hide nothing."""
    handles = [
        Line2D([], [], color=look.color, linestyle=look.line, linewidth=1.7, label=name)
        for name, look in optimizers.items()
    ]
    if ended:
        handles.append(
            Line2D(
                [],
                [],
                color=DARK,
                marker="o",
                markersize=6,
                markeredgecolor="white",
                linewidth=0.9,
                alpha=0.65,
                label="all its runs have ended",
            )
        )
    ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        frameon=False,
        fontsize="small",
        handlelength=2.6,
    )
