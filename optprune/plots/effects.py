"""Effects: how a metric goes with the width of each group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["effects"]

_COLUMNS = ("group", "width", "rows", "mean", "adjusted", "error")
_MOST = 12


def effects(
    table: pd.DataFrame,
    *,
    y_label: str | None = None,
    title: str | None = None,
) -> Axes:
    """Draw a metric against the width of each group, a panel a group.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``group``, ``width``, ``rows``, ``mean``, ``adjusted`` and ``error``, as
        `Result.effects` gives them.
    y_label : str, optional
        The metric with its unit; what ``table.attrs["metric"]`` says by default.
    title : str, optional
        Text above the picture.

    Returns
    -------
    matplotlib.axes.Axes
        The first of the panels; ``.figure`` has all of them, on one scale. Points are the adjusted
        means, the larger the more candidates are behind them, with a bar of two standard errors on
        either side; the thin line is the plain mean. Of more than twelve groups those are drawn
        whose adjusted means differ most, weighted by their rows.

    Raises
    ------
    ArgumentError
        If a column is missing, or there is no row.

    Notes
    -----
    All of it is correlation in what a search has looked at; see `Result.effects`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from optprune.plots.picture import COLORS, DARK, MUTED, Picture, label_of, tidy

    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing or table.empty:
        raise ArgumentError(
            f"effects: `table` must have rows and the columns {', '.join(_COLUMNS)}; it has "
            f"{len(table)} rows and the columns {', '.join(map(str, table.columns))}. Hand over "
            "result.effects()."
        )
    names = list(dict.fromkeys(table["group"]))
    shown = names
    if len(names) > _MOST:
        spreads = {name: _spread(table[table["group"] == name]) for name in names}
        largest = sorted(names, key=lambda name: -spreads[name])[:_MOST]
        shown = [name for name in names if name in largest]
    across = min(len(shown), 3)
    down = -(-len(shown) // across)
    picture = Picture(figsize=(8.2 if across == 3 else 3.0 * across + 0.8, 0.9 + 1.9 * down))
    picture.set_layout_engine("constrained")
    FigureCanvasAgg(picture)
    grid = picture.subplots(down, across, sharey=True, squeeze=False)
    most = int(table["rows"].max())
    for panel, name in zip(grid.flat, shown, strict=False):
        rows = table[table["group"] == name]
        width, rows_behind, mean, adjusted, error = (
            rows[column].to_numpy(dtype=np.float64)
            for column in ("width", "rows", "mean", "adjusted", "error")
        )
        panel.plot(width, mean, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)), label="mean")
        panel.errorbar(
            width,
            adjusted,
            yerr=2 * np.where(np.isfinite(error), error, 0.0),
            fmt="none",
            ecolor=COLORS[0],
            elinewidth=1.0,
            alpha=0.7,
        )
        panel.scatter(
            width,
            adjusted,
            s=10 + 50 * rows_behind / most,
            color=COLORS[0],
            edgecolors="white",
            linewidths=0.6,
            label="adjusted for the other groups",
            zorder=3,
        )
        panel.set_title(str(name), loc="left", fontsize="medium")
        panel.set_xlim(left=0)
        tidy(panel)
    for panel in grid.flat[len(shown) :]:
        panel.set_visible(False)
    metric = str(table.attrs.get("metric", "metric"))
    picture.supylabel(
        label_of(metric, None) if y_label is None else y_label, fontsize="medium", color=DARK
    )
    picture.supxlabel(
        "units kept (larger points: more candidates; bars: two standard errors)",
        fontsize="medium",
        color=DARK,
    )
    left_out = f", {len(shown)} of {len(names)} groups" if len(shown) < len(names) else ""
    default = (
        f"How {label_of(metric, None)} went with the width of each group (correlation){left_out}"
    )
    picture.suptitle(
        default if title is None else title, x=0.01, ha="left", fontsize="large", color=DARK
    )
    grid[0, 0].legend(frameon=True, framealpha=0.85, edgecolor="none", fontsize="x-small")
    first: Axes = grid[0, 0]
    return first


def _spread(rows: pd.DataFrame) -> float:
    """Return the deviation of the adjusted means, weighted by the rows behind them."""
    adjusted = rows["adjusted"].to_numpy(dtype=np.float64)
    weights = rows["rows"].to_numpy(dtype=np.float64)
    middle = np.average(adjusted, weights=weights)
    return float(np.sqrt(np.average((adjusted - middle) ** 2, weights=weights)))
