"""The row to take from a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentTypeError, InfeasibleError
from optprune.formulation import Constraint, Metric

if TYPE_CHECKING:
    from optprune.search.result import Result

__all__ = ["select"]


def select(result: Result, constraints: Sequence[Constraint], by: Metric | None) -> int:
    """Return the index of the best row that satisfies constraints; see `Result.select`."""
    feasible = np.flatnonzero(np.isfinite(result.values).all(axis=1))
    if not len(feasible):
        raise InfeasibleError(
            f"none of the {len(result.rows)} evaluated candidates is feasible"
            f"{_nearest_miss(result)}. Give a larger budget, or looser constraints."
        )
    violations = np.zeros(len(feasible))
    told = []
    for constraint in constraints:
        if not isinstance(constraint, Constraint):
            raise ArgumentTypeError(
                "select takes comparisons such as op.metrics.macs <= 0.5; got "
                f"{type(constraint).__name__}."
            )
        values = _values_of(result, constraint.metric)[feasible]
        violations += constraint.violations(values)
        reach = values.min() if constraint.sense == "<=" else values.max()
        told.append(f"{constraint} (the nearest reaches {reach:.6g})")
    satisfying = feasible[violations == 0.0]
    if not len(satisfying):
        raise InfeasibleError(
            f"no feasible candidate satisfies {' and '.join(told)}. Search longer, or with "
            "this constraint in the problem."
        )
    keys = [*result.values[satisfying].T]
    if by is not None:
        keys.insert(0, _worth(result, by)[satisfying])
    return int(satisfying[np.lexsort((satisfying, *keys[::-1]))[0]])


def _worth(result: Result, by: Metric) -> npt.NDArray[np.float64]:
    """Return the values of the metric that decides, shape (n_rows,), smaller = better."""
    if not isinstance(by, Metric):
        raise ArgumentTypeError(
            f"by must be a metric such as op.metrics.macs; got {type(by).__name__}."
        )
    direction = dict(zip(result.summary.objectives, result.summary.directions, strict=True)).get(
        by.name, by.direction
    )
    if direction not in ("minimize", "maximize"):
        direction = by.bind(result.attached().task).direction
    return _values_of(result, by) * (-1.0 if direction == "maximize" else 1.0)


def _values_of(result: Result, metric: Metric) -> npt.NDArray[np.float64]:
    """Return the values of a metric, shape (n_rows,)."""
    name = metric.name
    if name not in result.summary.metrics and result.problem is not None:
        widths = np.array([row.widths for row in result.rows], dtype=np.int64)
        values = metric.population(result.problem.graph, widths)
        if values is not None:
            return values
    result.check_measured(name)
    return np.array([row.metrics[name] for row in result.rows])


def _nearest_miss(result: Result) -> str:
    """Tell the row that violates the constraints least."""
    missed = [row for row in result.rows if not row.failed]
    if not missed:
        return " (all have failed)" if result.rows else ""
    row = min(missed, key=lambda row: row.violation)
    return f" (the nearest, row {row.index}: {row.reason})"
