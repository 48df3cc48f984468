"""Sensitivity: what a metric loses when one group alone is narrowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["sensitivity"]

_MOST_NAMED = 12


def sensitivity(
    table: pd.DataFrame,
    *,
    y_label: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a curve for each group: the metric against the fraction of its units that stays.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``group``, ``kept`` (fraction of dense) and a metric, the last column; as
        `Result.sensitivity` gives it.
    y_label : str, optional
        The metric with its unit; its name by default.
    title : str, optional
        Text above the picture.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on. Early groups are dark and late ones light; up to twelve are named in a
        legend, of more only the ends of the color scale.

    Raises
    ------
    ArgumentError
        If a column is missing, or there is no row.
    """
    from matplotlib import colormaps

    from optprune.plots.picture import axes_or_new, label_of, tidy

    missing = [name for name in ("group", "kept") if name not in table.columns]
    if missing or len(table.columns) < 3 or table.empty:
        raise ArgumentError(
            "sensitivity: `table` must have rows, the columns 'group' and 'kept', and a metric as "
            f"its last column; it has {len(table)} rows and the columns {list(table.columns)}. "
            "Run a SensitivityScan and hand over result.sensitivity()."
        )
    metric = str(table.columns[-1])
    ax = axes_or_new(ax, 6.4, 4.0)
    names = list(dict.fromkeys(table["group"]))
    scale = colormaps["viridis"]
    for position, name in enumerate(names):
        curve = table[table["group"] == name].sort_values("kept")
        named = len(names) <= _MOST_NAMED or position in (0, len(names) - 1)
        ax.plot(
            curve["kept"],
            curve[metric],
            marker="o",
            markersize=3,
            linewidth=1.4,
            color=scale(0.9 * position / max(len(names) - 1, 1)),
            label=name if named else None,
        )
    ax.set_xlabel("units kept in the group (fraction of dense)")
    ax.set_ylabel(label_of(metric, None) if y_label is None else y_label)
    ax.set_title("One group narrowed, all others whole" if title is None else title, loc="left")
    ax.set_xlim(0, 1.02)
    tidy(ax)
    ax.legend(frameon=True, framealpha=0.9, edgecolor="none", fontsize="small")
    return ax
