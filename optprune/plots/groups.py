"""The groups: what belongs together in a network, as a picture of a table."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["groups"]

# Inches: an average character of the small font, a line of it, the space around a cell's text, and
# the height of a bar.
CHARACTER, LINE, MARGIN, BAR = 0.078, 0.165, 0.12, 0.18


def groups(
    table: pd.DataFrame,
    *,
    columns: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
    wrap: int = 60,
    lines: int = 3,
    ax: Axes | None = None,
) -> Axes:
    """Draw a table of groups, such as `ChannelGraph.explain` gives it.

    Parameters
    ----------
    table : pandas.DataFrame
        A row a group. Columns whose name ends in ``_share`` are drawn as bars with percent.
    columns : sequence of str, optional
        The columns to draw; all those that have any content by default.
    labels : mapping, optional
        Headings for columns; their names in plain words by default.
    title : str, optional
        The title; by default the number of rows.
    wrap : int
        The number of characters after which a text continues on the next line.
    lines : int
        The number of lines after which a text is cut off, with an ellipsis.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default, as large as the table needs.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on, without frame and ticks.

    Raises
    ------
    ArgumentError
        If the table is empty or a column is missing.
    """
    from matplotlib.patches import Rectangle

    from optprune.plots.picture import COLORS, DARK, LIGHT, MUTED, axes_or_new, label_of

    if columns is not None:
        missing = [column for column in columns if column not in table.columns]
        if missing:
            raise ArgumentError(
                f"groups: `table` has no column {missing[0]!r}; "
                f"it has {', '.join(map(repr, table.columns))}."
            )
    if not len(table):
        raise ArgumentError("groups: `table` has no row; there is nothing to draw.")
    shown = list(columns) if columns is not None else [c for c in table if _has_content(table[c])]

    heads = [label_of(str(column), labels) for column in shown]
    cells = [
        [_text(value, str(c), wrap, lines) for c, value in zip(shown, row, strict=True)]
        for row in table[shown].itertuples(index=False)
    ]
    lengths = [
        max(max(len(line) for line in text.split("\n")) for text in [head, *column])
        for head, column in zip(heads, zip(*cells, strict=True), strict=True)
    ]
    widths = [length * CHARACTER + 2 * MARGIN for length in lengths]
    heights = [max(text.count("\n") + 1 for text in row) * LINE + MARGIN for row in cells]
    head_height = LINE + 1.6 * MARGIN
    width, height = sum(widths), head_height + sum(heights)
    ax = axes_or_new(ax, width + 0.2, height + 0.5)
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.axis("off")
    ax.set_title(title if title is not None else f"{len(table)} groups", loc="left")

    lefts = [sum(widths[:index]) for index in range(len(widths))]
    for left, head in zip(lefts, heads, strict=True):
        ax.text(
            left + MARGIN, head_height / 2, head, va="center", fontsize=9, weight="bold", color=DARK
        )
    ax.axhline(head_height, color=DARK, linewidth=1.0)
    top = head_height
    for number, (texts, row_height) in enumerate(zip(cells, heights, strict=True)):
        if number % 2:
            ax.add_patch(Rectangle((0, top), width, row_height, color="#F5F5F5", linewidth=0))
        for column, left, cell_width, text in zip(shown, lefts, widths, texts, strict=True):
            if str(column).endswith("_share") and text:
                share = min(max(float(table[column].iloc[number]), 0.0), 1.0)
                ax.add_patch(
                    Rectangle(
                        (left + 0.5 * MARGIN, top + (row_height - BAR) / 2),
                        share * (cell_width - MARGIN),
                        BAR,
                        color=COLORS[5],
                        alpha=0.45,
                        linewidth=0,
                    )
                )
            ax.text(left + MARGIN, top + row_height / 2, text, va="center", fontsize=9, color=DARK)
        top += row_height
    ax.axhline(height, color=MUTED, linewidth=0.8)
    ax.axhline(0, color=LIGHT, linewidth=0.8)
    return ax


def _has_content(column: pd.Series) -> bool:
    """Say whether a column holds anything but gaps and empty texts."""
    return bool((column.notna() & (column.astype(str) != "")).any())


def _text(value: object, column: str, wrap: int, lines: int) -> str:
    """Write a cell: shares as percent, floats short, lists with commas, long texts in lines."""
    if isinstance(value, float):
        if value != value:
            return ""
        return f"{value:.1%}" if column.endswith("_share") else f"{value:.4g}"
    if value is None:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    parts = textwrap.wrap(text, wrap, break_on_hyphens=False)
    if len(parts) > lines:
        parts = [*parts[: lines - 1], parts[lines - 1].rstrip(" ,") + ", …"]
    return "\n".join(parts)
