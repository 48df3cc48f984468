"""Parallel coordinates: what several columns have to do with each other, a line a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["parallel"]


def parallel(
    frame: pd.DataFrame,
    columns: Sequence[str],
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    directions: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    color_by: str | None = None,
    chosen: int | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw every row as a line across one axis a column.

    Parameters
    ----------
    frame : pandas.DataFrame
        One network a row; rows with a value that is not finite in one of the columns are left out.
    columns : sequence of str
        The columns to draw, from left to right; two or more.
    ranges : mapping of str to (float, float), optional
        What the bottom and the top of a column's axis stand for; by default its least and its
        largest value.
    directions : mapping of str to {"minimize", "maximize"}, optional
        Columns that are objectives; an arrow under the axis points to where they are better.
    labels : mapping of str to str, optional
        Text with unit for a column.
    color_by : str, optional
        The column that gives the colors; the first of `columns` by default.
    chosen : int, optional
        Position of a row to draw on top of all others, in the accent color.
    title : str, optional
        The title; by default how many lines there are.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default, as wide as the columns need.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on. Every vertical axis has a scale of its own; its ends are written at it.

    Raises
    ------
    ArgumentError
        If a column is missing or there twice, there are fewer than two, a range is none, or
        `chosen` is no row that is drawn.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize

    from optprune.plots.picture import ACCENT, DARK, LIGHT, MUTED, axes_or_new, label_of

    columns = list(columns)
    color_by = columns[0] if color_by is None and columns else color_by
    _check(frame, columns, color_by, ranges or {}, directions or {})
    values = frame[columns].to_numpy(dtype=np.float64)
    colored = frame[str(color_by)].to_numpy(dtype=np.float64)
    drawn = np.isfinite(values).all(axis=1) & np.isfinite(colored)
    if chosen is not None and not (0 <= chosen < len(frame) and drawn[chosen]):
        raise ArgumentError(
            f"parallel: `chosen` must be the position of a row that is drawn, 0 to "
            f"{len(frame) - 1}; got {chosen!r}."
        )
    ends = [_range(column, values[drawn, i], ranges) for i, column in enumerate(columns)]
    low, high = np.array(ends, dtype=np.float64).reshape(-1, 2).T
    heights = (values - low) / np.where(high > low, high - low, 1.0)
    heights[:, high <= low] = 0.5
    places = np.arange(len(columns), dtype=np.float64)

    ax = axes_or_new(ax, min(max(6.4, 1.05 * len(columns)), 9.6), 4.2)
    for place in places:
        ax.plot([place, place], [0, 1], color=LIGHT, linewidth=1.2, zorder=1, gid="axis")
    scale = Normalize(*(_ends(colored[drawn])))
    order = np.flatnonzero(drawn)[np.argsort(-colored[drawn], kind="stable")]
    lines = LineCollection(
        [np.column_stack([places, heights[row]]) for row in order],
        colors=colormaps["cividis"](scale(colored[order])),
        linewidths=1.4 if len(order) <= 60 else 0.8,
        alpha=0.85 if chosen is None else 0.45,
        zorder=2,
    )
    ax.add_collection(lines)
    if chosen is not None:
        ax.plot(
            places,
            heights[chosen],
            "o-",
            color=ACCENT,
            linewidth=2.2,
            markersize=4,
            label="chosen",
            zorder=3,
        )
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
    for place, column, (bottom, top) in zip(places, columns, ends, strict=True):
        for height, end, side in ((1.0, top, "bottom"), (0.0, bottom, "top")):
            if np.isfinite(end):
                ax.annotate(
                    f"{end:.4g}",
                    (place, height),
                    (0, 3 if side == "bottom" else -3),
                    textcoords="offset points",
                    ha="center",
                    va=side,
                    fontsize="x-small",
                    color=DARK,
                )
        if column in (directions or {}):
            down = (directions or {})[column] == "minimize"
            ax.annotate(
                "",
                (place, -0.19 if down else -0.08),
                (place, -0.08 if down else -0.19),
                annotation_clip=False,
                arrowprops={"arrowstyle": "->", "color": MUTED},
            )
    ax.set_xlim(-0.4, len(columns) - 0.6)
    ax.set_ylim(-0.2, 1.08)
    ax.set_yticks([])
    turned = len(columns) > 6 or any(len(label_of(c, labels)) > 16 for c in columns)
    ax.set_xticks(
        places,
        labels=[label_of(column, labels) for column in columns],
        rotation=30 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor" if turned else "default",
    )
    ax.tick_params(axis="x", length=0, colors=DARK, labelsize="small")
    for spine in ax.spines.values():
        spine.set_visible(False)
    default = f"{len(order)} networks, a line each"
    if directions:
        default += " (an arrow points to where an objective is better)"
    ax.set_title(title if title is not None else default, loc="left", fontsize="medium")
    figure = ax.get_figure(root=True)
    if figure is not None and len(order):
        bar = figure.colorbar(
            ScalarMappable(scale, colormaps["cividis"]), ax=ax, fraction=0.04, pad=0.02
        )
        bar.set_label(label_of(str(color_by), labels), fontsize="small")
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize="small", colors=DARK)
    return ax


def _check(
    frame: pd.DataFrame,
    columns: Sequence[str],
    color_by: str | None,
    ranges: Mapping[str, tuple[float, float]],
    directions: Mapping[str, str],
) -> None:
    """Refuse what cannot be drawn."""
    if len(columns) < 2 or len(set(columns)) < len(columns):
        raise ArgumentError(
            f"parallel: `columns` must name two or more columns, each once; got {columns}."
        )
    for column in (*columns, *([] if color_by is None else [color_by])):
        if column not in frame.columns:
            raise ArgumentError(
                f"parallel: `frame` has no column {column!r}; it has "
                f"{', '.join(map(repr, frame.columns))}."
            )
    for column, pair in ranges.items():
        if len(pair) != 2 or not np.isfinite(pair).all() or pair[0] > pair[1]:
            raise ArgumentError(
                f"parallel: the range of {column!r} must be two numbers, the lower first; "
                f"got {pair!r}."
            )
    for column, direction in directions.items():
        if direction not in ("minimize", "maximize"):
            raise ArgumentError(
                f"parallel: the direction of {column!r} must be 'minimize' or 'maximize', "
                f"not {direction!r}."
            )


def _range(
    column: str, values: np.ndarray, ranges: Mapping[str, tuple[float, float]] | None
) -> tuple[float, float]:
    """Return what the ends of a column's axis stand for."""
    if ranges and column in ranges:
        return ranges[column]
    return _ends(values)


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Return the least and the largest value; NaN without one."""
    if not len(values):
        return float("nan"), float("nan")
    return float(values.min()), float(values.max())
