"""The front: what two objectives cost each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["front"]

Direction = Literal["minimize", "maximize"]


def front(
    frame: pd.DataFrame,
    x: str,
    y: str,
    *,
    evaluated: pd.DataFrame | None = None,
    dense: Sequence[float] | None = None,
    chosen: Sequence[float] | None = None,
    directions: tuple[Direction, Direction] = ("minimize", "minimize"),
    bounds: Sequence[tuple[str, str, float]] = (),
    marks: Sequence[object] | None = None,
    stairs: bool = True,
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
    name: str = "front",
    color: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw two objectives of a front, with what else was evaluated behind it.

    Parameters
    ----------
    frame : pandas.DataFrame
        The points of the front, one a row.
    x, y : str
        The columns to draw on the two axes.
    evaluated : pandas.DataFrame, optional
        All points evaluated; those with finite values in both columns are drawn small and grey.
    dense : (x, y), optional
        Where the dense network stands; drawn as a star.
    chosen : (x, y), optional
        A point of the front to circle, for instance the network that was taken.
    directions : (str, str)
        ``"minimize"`` or ``"maximize"`` for the two columns; decides the side of the staircase.
    bounds : sequence of (str, str, float)
        Constraints: a column, ``"<="`` or ``">="``, and the bound. A dashed line stands at each,
        and what it forbids is shaded; those on other columns are left out.
    marks : sequence (n_rows,), optional
        A text for each row of `frame`, written beside its point where there is room.
    stairs : bool
        Whether to draw the border of what the points dominate, which only objectives have.
    labels : mapping, optional
        Text with unit for a column, such as ``{"macs": "MACs (fraction of dense)"}``.
    title : str, optional
        The title; by default how many points the front has.
    name : str
        The name of the front in the legend.
    color : str, optional
        A matplotlib color for the front, to draw several on one axes.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on; ``.figure.savefig(...)`` writes the picture.

    Raises
    ------
    ArgumentError
        If a column is missing, `directions`, `dense` or `chosen` is not a pair, `marks` has
        another length, or a bound is none.
    """
    from optprune.plots.bounds import draw_bounds
    from optprune.plots.marks import draw_marks
    from optprune.plots.picture import ACCENT, COLORS, DARK, MUTED, axes_or_new, label_of, tidy

    for column in (x, y):
        for which, table in (("frame", frame), ("evaluated", evaluated)):
            if table is not None and column not in table.columns:
                raise ArgumentError(
                    f"front: `{which}` has no column {column!r}; "
                    f"it has {', '.join(map(repr, table.columns))}."
                )
    if len(directions) != 2 or any(d not in ("minimize", "maximize") for d in directions):
        raise ArgumentError(
            "front: `directions` must be two of 'minimize' and 'maximize', "
            f"one for x and one for y, not {directions!r}."
        )
    for which, pair in (("dense", dense), ("chosen", chosen)):
        if pair is not None and len(pair) != 2:
            raise ArgumentError(
                f"front: `{which}` must be a pair ({x}, {y}), not {len(pair)} values."
            )

    if marks is not None and len(marks) != len(frame):
        raise ArgumentError(
            f"front: `marks` must have one text a row of `frame`, {len(frame)}; got {len(marks)}."
        )

    ax = axes_or_new(ax, 6.4, 4.4)
    color = color or COLORS[0]
    if evaluated is not None:
        other = evaluated[[x, y]].to_numpy(dtype=np.float64)
        other = other[np.isfinite(other).all(axis=1)]
        ax.scatter(
            other[:, 0],
            other[:, 1],
            s=9,
            color=MUTED,
            alpha=0.45,
            linewidths=0,
            label=f"evaluated ({len(other)})",
            zorder=2,
        )
    points = frame[[x, y]].to_numpy(dtype=np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    if stairs:
        border = _staircase(points, directions)
        ax.plot(border[:, 0], border[:, 1], color=color, linewidth=1.2, alpha=0.8, zorder=3)
    ax.scatter(
        points[:, 0],
        points[:, 1],
        s=30,
        color=color,
        edgecolors="white",
        linewidths=0.7,
        label=f"{name} ({len(points)})",
        zorder=4,
    )
    if dense is not None:
        ax.scatter(
            dense[0],
            dense[1],
            marker="*",
            s=170,
            color=DARK,
            edgecolors="white",
            label="dense",
            zorder=5,
        )
    if chosen is not None:
        ax.scatter(
            chosen[0],
            chosen[1],
            s=130,
            facecolors="none",
            edgecolors=ACCENT,
            linewidths=1.8,
            label="chosen",
            zorder=6,
        )
    ax.set_xlabel(label_of(x, labels))
    ax.set_ylabel(label_of(y, labels))
    ax.set_title(title if title is not None else f"Front of {len(points)} networks", loc="left")
    tidy(ax)
    draw_bounds(ax, x, y, bounds)
    ax.legend(frameon=True, framealpha=0.9, edgecolor="none", fontsize="small")
    if marks is not None:
        draw_marks(ax, frame[[x, y]].to_numpy(dtype=np.float64), [str(mark) for mark in marks])
    return ax


def _staircase(
    points: npt.NDArray[np.float64], directions: tuple[Direction, Direction]
) -> npt.NDArray[np.float64]:
    """Return the corners of the border of what the non-dominated points dominate, (n, 2)."""
    signs = np.array([1.0 if d == "minimize" else -1.0 for d in directions])
    ordered: npt.NDArray[np.float64] = (points * signs)[
        np.lexsort((points[:, 1] * signs[1], points[:, 0] * signs[0]))
    ]
    if not len(ordered):
        return ordered
    lowest = np.minimum.accumulate(ordered[:, 1])
    better = np.r_[True, lowest[1:] < lowest[:-1]]
    steps: npt.NDArray[np.float64] = ordered[better]
    # Between two neighbors the border keeps the y of the first until the x of the second.
    corners = np.column_stack([steps[1:, 0], steps[:-1, 1]])
    border = np.empty((len(steps) + len(corners), 2))
    border[0::2] = steps
    border[1::2] = corners
    border *= signs
    return border
