"""Attainment surfaces: the fronts that all, half or one of the runs attained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["attainment"]


def attainment(
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    directions: tuple[str, str] = ("minimize", "minimize"),
    optimizers: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the median attainment surface of every optimizer, between its best and its worst.

    Parameters
    ----------
    table : pandas.DataFrame
        The corners of the surfaces: ``optimizer``, ``surface`` (``"best"``, ``"median"`` or
        ``"worst"``), ``runs`` and the two objectives, such as
        `optprune.compare.attainment.attainment` gives it. One that is not there is not drawn: an
        optimizer without a worst surface had runs that found nothing, and its band goes on to the
        frame; without a median surface it had half or more of them.
    x, y : str
        The columns to draw on the two axes.
    directions : (str, str)
        ``"minimize"`` or ``"maximize"`` for the two columns.
    optimizers : sequence of str, optional
        All optimizers of the comparison, for the same colors in all pictures of it.
    labels : mapping, optional
        Text with unit for a column.
    title : str, optional
        The title.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Raises
    ------
    ArgumentError
        If a column is missing, `directions` is not a pair of directions, or `optimizers` lacks one.
    """
    from matplotlib.patches import Polygon

    from optprune.plots.optimizers import legend_beside, looks
    from optprune.plots.picture import axes_or_new, label_of, tidy

    missing = [c for c in ("optimizer", "surface", "runs", x, y) if c not in table.columns]
    if missing:
        raise ArgumentError(
            f"attainment: `table` has no column {missing[0]!r}; "
            f"it has {', '.join(map(repr, table.columns))}."
        )
    if len(directions) != 2 or any(d not in ("minimize", "maximize") for d in directions):
        raise ArgumentError(
            "attainment: `directions` must be two of 'minimize' and 'maximize', one for x and one "
            f"for y, not {directions!r}."
        )
    ax = axes_or_new(ax, 7.6, 4.4)
    drawn = looks(table["optimizer"], optimizers)
    signs = np.array([1.0 if d == "minimize" else -1.0 for d in directions])
    everything = table[[x, y]].to_numpy(dtype=np.float64) * signs
    if len(everything):
        low, high = everything.min(axis=0), everything.max(axis=0)
        margin = np.where(high > low, 0.06 * (high - low), 0.05 * np.abs(high) + 1e-12)
        low, high = low - margin, high + margin
        ax.set_xlim(*sorted((low[0] * signs[0], high[0] * signs[0])))
        ax.set_ylim(*sorted((low[1] * signs[1], high[1] * signs[1])))
    for name, look in drawn.items():
        rows = table[table["optimizer"] == name]
        borders = {}
        for surface in ("best", "median", "worst"):
            points = rows.loc[rows["surface"] == surface, [x, y]].to_numpy(dtype=np.float64)
            if len(points):
                borders[surface] = _border(points * signs, high) * signs
        if int(rows["runs"].iloc[0]) > 1:
            # Without a worst surface all up to the frame may be left unattained.
            worst = borders.get("worst", (high * signs)[None])
            ax.add_patch(
                Polygon(
                    np.vstack([borders["best"], worst[::-1]]),
                    facecolor=look.color,
                    alpha=0.13,
                    linewidth=0,
                )
            )
            for surface in ("best", "worst"):
                if surface in borders:
                    ax.plot(*borders[surface].T, color=look.color, linewidth=0.6, alpha=0.7)
        if "median" in borders:
            ax.plot(
                *borders["median"].T,
                color=look.color,
                linestyle=look.line,
                linewidth=1.8,
                label=name,
                zorder=3,
            )
    ax.set_xlabel(label_of(x, labels))
    ax.set_ylabel(label_of(y, labels))
    ax.set_title(_title(table) if title is None else title, loc="left")
    tidy(ax)
    legend_beside(ax, drawn)
    return ax


def _border(
    points: npt.NDArray[np.float64], frame: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the corners of the border of what points attain, from the frame to the frame."""
    ordered = points[np.lexsort(points.T[::-1])]
    # From each point the border goes on at its height until below the next.
    corners = np.column_stack([np.r_[ordered[1:, 0], frame[0]], ordered[:, 1]])
    border = np.empty((2 * len(ordered) + 1, 2))
    border[0] = ordered[0, 0], frame[1]
    border[1::2] = ordered
    border[2::2] = corners
    return border


def _title(table: pd.DataFrame) -> str:
    """Say what the line and the band are."""
    runs = sorted({int(count) for count in table["runs"]})
    if runs == [1]:
        return "Front of one run each"
    count = f"{runs[0]} to {runs[-1]}" if len(runs) > 1 else str(runs[0] if runs else 0)
    return f"Attained by half of {count} runs; by one and by all"
