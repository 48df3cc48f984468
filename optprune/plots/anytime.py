"""Anytime curves: how good optimizers had become at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["anytime"]

_COLUMNS = ("optimizer", "cost", "lower", "median", "upper", "runs", "running")
_MOST_BANDS = 5


def anytime(
    table: pd.DataFrame,
    *,
    optimizers: Sequence[str] | None = None,
    direction: str | None = None,
    log_x: bool | None = None,
    log_y: bool = False,
    bands: bool | None = None,
    x_label: str | None = None,
    y_label: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the median over runs against cost, with the quartiles as a band.

    Parameters
    ----------
    table : pandas.DataFrame
        ``optimizer``, ``cost``, ``lower``, ``median``, ``upper``, ``runs``, ``running``, such as
        `optprune.compare.anytime.anytime` gives it; costs increase for each optimizer. Where the
        worse quartile is NaN, since runs have found nothing, the band goes on to the frame.
    optimizers : sequence of str, optional
        All optimizers of the comparison, for the same colors in all pictures of it.
    direction : {"minimize", "maximize"}, optional
        Which way is better; what ``table.attrs`` says by default, else ``"minimize"``.
    log_x : bool, optional
        Whether costs are on a logarithmic axis; by default where they span more than a factor 30.
    log_y : bool
        Whether values are.
    bands : bool, optional
        Whether to draw the quartiles all along, or only as a bar where the runs end; by default
        for up to five optimizers.
    x_label, y_label, title : str, optional
        Texts, with units; by default what ``table.attrs`` says.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on. A marker stands where the last run of an optimizer ended; the thin line
        behind it is what it had found by then.

    Raises
    ------
    ArgumentError
        If a column is missing, there is no row, `direction` is unknown, or `optimizers` lacks one.
    """
    from optprune.plots.optimizers import changes, cost_axis, draw_until, legend_beside, looks
    from optprune.plots.picture import MUTED, axes_or_new, label_of, tidy

    missing = [column for column in _COLUMNS if column not in table.columns]
    if missing or not len(table):
        raise ArgumentError(
            f"anytime: `table` must have rows and the columns {', '.join(_COLUMNS)}; it has "
            f"{len(table)} rows and the columns {', '.join(map(str, table.columns))}."
        )
    direction = str(table.attrs.get("direction", "minimize")) if direction is None else direction
    if direction not in ("minimize", "maximize"):
        raise ArgumentError(
            f"anytime: `direction` must be 'minimize' or 'maximize', not {direction!r}."
        )
    own = ax is None
    ax = axes_or_new(ax, 7.6, 4.0)
    drawn = looks(table["optimizer"], optimizers)
    bands = len(drawn) <= _MOST_BANDS if bands is None else bands
    values = table[["lower", "median", "upper"]].to_numpy(dtype=np.float64)
    finite = values[np.isfinite(values) & ((values > 0) | (not log_y))]
    if log_y:
        ax.set_yscale("log")
    if not len(finite):
        ax.text(0.5, 0.5, "no run found a value", transform=ax.transAxes, ha="center", color=MUTED)
    elif own:
        ax.set_ylim(*_limits(float(finite.min()), float(finite.max()), log_y))
    ended = False
    for name, look in drawn.items():
        rows = table[table["optimizer"] == name]
        costs, lower, median, upper, running = (
            rows[column].to_numpy(dtype=np.float64)
            for column in ("cost", "lower", "median", "upper", "running")
        )
        ended |= draw_until(ax, costs, median, running, name, look)
        if int(rows["runs"].iloc[0]) == 1:
            continue
        bottom, top = ax.get_ylim()
        known = np.isfinite(lower if direction == "minimize" else upper)
        lower = np.where(np.isfinite(lower), lower, bottom)
        upper = np.where(np.isfinite(upper), upper, top)
        ends = np.flatnonzero(running == 0)
        stop = int(ends[0]) if len(ends) else len(costs) - 1
        if bands:
            kept = changes(lower[: stop + 1], upper[: stop + 1], known[: stop + 1].astype(float))
            ax.fill_between(
                costs[kept],
                lower[kept],
                upper[kept],
                where=known[kept].tolist(),
                step="post",
                color=look.color,
                alpha=0.15,
                linewidth=0,
            )
        if len(ends) and known[stop]:
            ax.plot(
                [costs[stop]] * 2,
                [lower[stop], upper[stop]],
                color=look.color,
                linewidth=1.2,
                alpha=0.7,
                zorder=4,
            )
    cost = table.attrs.get("cost")
    cost_axis(
        ax,
        table["cost"].to_numpy(dtype=np.float64),
        log_x,
        str(cost or "cost") if x_label is None else x_label,
    )
    measure = str(table.attrs.get("measure", "best so far"))
    ax.set_ylabel(label_of(measure, None) if y_label is None else y_label)
    ax.set_title(_title(table, bands) if title is None else title, loc="left")
    tidy(ax)
    legend_beside(ax, drawn, ended=ended)
    return ax


def _limits(low: float, high: float, log_y: bool) -> tuple[float, float]:
    """Leave a margin on either side."""
    if log_y:
        margin = (high / low) ** 0.05 if high > low else 1.1
        return low / margin, high * margin
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _title(table: pd.DataFrame, bands: bool) -> str:
    """Say on what, and over how many runs."""
    runs = sorted({int(count) for count in table["runs"]})
    count = f"{runs[0]} to {runs[-1]}" if len(runs) > 1 else str(runs[0])
    what = "median and quartiles" if bands else "median (at the end quartiles)"
    over = "one run each" if runs == [1] else f"{what} of {count} runs"
    problem = table.attrs.get("problem")
    return f"{problem}: {over}" if problem else over[0].upper() + over[1:]
