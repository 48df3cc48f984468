"""Targets reached: the share of targets that optimizers had reached at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["targets"]

_COLUMNS = ("optimizer", "cost", "share", "runs", "running")


def targets(
    table: pd.DataFrame,
    *,
    optimizers: Sequence[str] | None = None,
    log_x: bool | None = None,
    x_label: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of targets reached against cost.

    Parameters
    ----------
    table : pandas.DataFrame
        ``optimizer``, ``cost``, ``share``, ``runs``, ``running``, such as
        `optprune.compare.attainment.targets` gives it; costs increase for each optimizer.
    optimizers : sequence of str, optional
        All optimizers of the comparison, for the same colors in all pictures of it.
    log_x : bool, optional
        Whether costs are on a logarithmic axis; by default where they span more than a factor 30.
    x_label, title : str, optional
        Texts, with units; by default what ``table.attrs`` says.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on; of two curves the higher reached more for the same cost. A marker stands
        where the last run of an optimizer ended.

    Raises
    ------
    ArgumentError
        If a column is missing, there is no row, or `optimizers` lacks one.
    """
    from matplotlib.ticker import PercentFormatter

    from optprune.plots.optimizers import cost_axis, draw_until, legend_beside, looks
    from optprune.plots.picture import axes_or_new, tidy

    missing = [column for column in _COLUMNS if column not in table.columns]
    if missing or not len(table):
        raise ArgumentError(
            f"targets: `table` must have rows and the columns {', '.join(_COLUMNS)}; it has "
            f"{len(table)} rows and the columns {', '.join(map(str, table.columns))}."
        )
    ax = axes_or_new(ax, 7.6, 4.0)
    drawn = looks(table["optimizer"], optimizers)
    ended = False
    for name, look in drawn.items():
        rows = table[table["optimizer"] == name]
        costs, share, running = (
            rows[column].to_numpy(dtype=np.float64) for column in ("cost", "share", "running")
        )
        ended |= draw_until(ax, costs, share, running, name, look)
    cost = str(table.attrs.get("cost", "cost")) if x_label is None else x_label
    cost_axis(ax, table["cost"].to_numpy(dtype=np.float64), log_x, cost)
    ax.set_ylim(-0.02, 1.02)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_ylabel("targets reached")
    ax.set_title("Targets reached" if title is None else title, loc="left")
    tidy(ax)
    legend_beside(ax, drawn, ended=ended)
    return ax
