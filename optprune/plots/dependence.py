"""The dependence between representations, as a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["dependence"]

MOST_NAMED, MOST_WRITTEN = 40, 14

# Inches: a cell that holds a number, the least and the largest side of the map, the space above it
# for the title and beside it for the color scale, the width of that, the space around names.
CELL, LEAST, SIDE, TITLE, BESIDE, SCALE, MARGIN = 0.4, 2.8, 6.5, 0.35, 0.9, 0.2, 0.2


def dependence(table: pd.DataFrame, *, title: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw how much representations tell of each other.

    Parameters
    ----------
    table : pandas.DataFrame
        Square and symmetric, with the same names as rows and columns; as `DependenceMap.frame`
        gives it. Values below 0 are drawn as 0.
    title : str, optional
        Text above the picture.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on. Up to 14 rows have their numbers written; of more than 40 only every
        second, third, … is named.

    Raises
    ------
    ArgumentError
        If the table is empty, not square, has other rows than columns, or a value that is not a
        finite number.
    """
    from optprune.plots.picture import DARK, axes_or_new

    values = _values(table)
    names = [str(name) for name in table.columns]
    count = len(names)
    step = -(-count // MOST_NAMED)
    font = 8 if count <= MOST_NAMED // 2 else 7
    side = min(max(CELL * count, LEAST), SIDE)
    # the names below stand upright and take as much room as those beside
    room = max(_inches(name, font) for name in names[::step]) + MARGIN
    width, height = room + side + BESIDE, room + side + TITLE
    own = ax is None
    ax = axes_or_new(ax, width, height)
    picture = ax.get_figure(root=True)
    if own and picture is not None:
        # A layout that is computed does not know that the cells are square.
        picture.set_layout_engine("none")
        ax.set_position((room / width, room / height, side / width, side / height))
    image = ax.imshow(values, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    ticks = range(0, count, step)
    ax.set_xticks(ticks, labels=names[::step], rotation=90, fontsize=font)
    ax.set_yticks(ticks, labels=names[::step], fontsize=font)
    ax.tick_params(length=0 if step == 1 else 2, colors=DARK)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if count <= MOST_WRITTEN:
        for (row, column), value in np.ndenumerate(values):
            ax.text(
                column,
                row,
                f"{max(value, 0):.2f}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if value > 0.7 else "black",
            )
    beside = ax.inset_axes((1.03, 0, SCALE / side, 1))
    scale = ax.figure.colorbar(image, cax=beside)
    scale.outline.set_visible(False)
    scale.ax.tick_params(colors=DARK, labelsize=8)
    scale.set_label("normalized HSIC", color=DARK)
    ax.set_title("Dependence between representations" if title is None else title, loc="left")
    return ax


def _inches(name: str, size: float) -> float:
    """Return the width of a name in the font of the ticks."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), name, size=size).get_extents().width) / 72


def _values(table: pd.DataFrame) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the numbers of a table that can be drawn."""
    if table.empty or list(table.index) != list(table.columns):
        raise ArgumentError(
            "dependence: `table` must have the same names as rows and columns, at least one; it "
            f"has {len(table.index)} rows and {len(table.columns)} columns. Hand over "
            "DependenceMap.frame."
        )
    try:
        values = table.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"dependence: `table` must hold numbers: {error}") from error
    if not np.isfinite(values).all():
        raise ArgumentError("dependence: `table` must hold finite numbers.")
    return values
