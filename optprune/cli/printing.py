"""Problems and results on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from optprune.formulation import Problem, metrics
from optprune.search import Result, Row

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["make_console", "print_front", "print_problem", "print_search", "value_text"]

_MOST_ROWS = 20
_MOST_GROUPS = 8


def make_console() -> Console:
    """Return the terminal, which prints texts as they are."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False, soft_wrap=True)


def print_problem(console: Console, problem: Problem) -> None:
    """Say what is searched: the network, what is decided, and what is wanted."""
    task, graph = problem.task, problem.graph
    wanted = ", ".join(f"{metric.direction} {metric.name}" for metric in problem.objectives)
    bounds = ", ".join(map(str, problem.constraints)) or "nothing"
    console.print(
        f"Task        {task.name}: {type(task.network).__name__} with "
        f"{graph.costs.parameters.dense:,.0f} parameters and {graph.costs.macs.dense:,.0f} MACs "
        f"on {task.device}\n"
        f"Decided     widths of {graph.n_groups} groups, {graph.n_units} units in all: "
        f"{problem.space!r}\n"
        f"Recovery    {problem.recovery!r}\n"
        f"Objectives  {wanted}; subject to {bounds}"
    )


def print_search(console: Console, result: Result) -> None:
    """Say how a search went and why it ended."""
    summary = result.summary
    feasible = int(np.isfinite(result.values).all(axis=1).sum())
    bounds = f", subject to {', '.join(summary.constraints)}" if summary.constraints else ""
    hypervolume = f", hypervolume {result.hypervolume():.4g}" if feasible else ""
    console.print(
        f"{result.optimizer} on {summary.task}, seed {result.seed}: "
        f"{' and '.join(summary.objectives)}{bounds}\n"
        f"{len(result.rows)} evaluated in {result.seconds:.1f} s, {feasible} feasible, "
        f"{len(result.front_indices)} on the front{hypervolume}\n"
        f"Ended: {result.reason}"
    )


def print_front(console: Console, result: Result, taken: int | None = None) -> None:
    """Print the front beside the dense network.

    Parameters
    ----------
    console : rich.console.Console
        Where to.
    result : Result
        What was found.
    taken : int, optional
        Index of a row to mark.

    Notes
    -----
    A long front is thinned evenly. Where the result knows its problem, MACs and parameters are
    shown also when they were not measured: they follow from the widths.
    """
    rows = [result.rows[i] for i in result.front_indices]
    positions = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_ROWS)).round().astype(int)
    shown = [
        row for i, row in enumerate(rows) if i in set(positions.tolist()) or row.index == taken
    ]
    costs = _costs(result, [result.dense, *shown])
    console.print(_table(result, shown, costs, taken), soft_wrap=False)
    groups = result.summary.groups
    if len(groups) <= _MOST_GROUPS:
        console.print(f"widths of: {', '.join(groups)}", style="dim")
    if len(shown) < len(rows):
        console.print(f"{len(rows) - len(shown)} more on the front", style="dim")


def value_text(value: float, name: str, unit: str) -> str:
    """Write a value: fractions as percent, all else with four significant digits."""
    if not math.isfinite(value):
        return "–"
    if name == "error":
        return f"{value:.2%}".replace("%", " %")
    if unit == "of dense":
        return f"{value:.1%}".replace("%", " %")
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _table(
    result: Result, shown: list[Row], costs: Mapping[str, list[float]], taken: int | None
) -> Table:
    """Lay the rows out, the dense network first."""
    from rich.table import Table

    summary = result.summary
    few = len(summary.groups) <= _MOST_GROUPS
    count = len(result.front_indices)
    table = Table(title=f"Front of {count} network{'s' * (count != 1)}")
    table.add_column("network", justify="right", no_wrap=True)
    units = dict(summary.units) | dict.fromkeys(costs, "of dense")
    for name, unit in units.items():
        apart = unit if unit and unit != "of dense" else ""
        table.add_column(f"{_title(name)} ({apart})" if apart else _title(name), justify="right")
    table.add_column("widths" if few else "units kept", justify="left" if few else "right")
    for position, row in enumerate([result.dense, *shown]):
        dense, mine = position == 0, taken is not None and row.index == taken
        label = "dense" if dense else f"→ {row.index}" if mine else str(row.index)
        values = [value_text(row.metrics[name], name, unit) for name, unit in summary.units.items()]
        values += [value_text(costs[name][position], name, "of dense") for name in costs]
        widths = (
            " ".join(f"{width:>{len(str(most))}}" for width, most in _widths(row, result))
            if few
            else f"{sum(row.widths)} of {sum(summary.widths)}"
        )
        style = "bold" if dense else "green" if mine else None
        table.add_row(label, *values, widths, style=style, end_section=dense)
    return table


def _widths(row: Row, result: Result) -> list[tuple[int, int]]:
    """Return the widths of a row, each with the dense width."""
    return list(zip(row.widths, result.summary.widths, strict=True))


def _costs(result: Result, rows: list[Row]) -> dict[str, list[float]]:
    """Return MACs and parameters (fractions of dense) as far as they were not measured."""
    if result.problem is None:
        return {}
    widths = np.array([row.widths for row in rows], dtype=np.int64)
    missing = [m for m in (metrics.macs, metrics.parameters) if m.name not in result.summary.units]
    values = {m.name: m.population(result.problem.graph, widths) for m in missing}
    return {name: column.tolist() for name, column in values.items() if column is not None}


def _title(name: str) -> str:
    """Return the heading of a metric."""
    return {"macs": "MACs"}.get(name, name.replace("_", " "))
