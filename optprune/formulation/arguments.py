"""Checks of what a problem is made of, each with an error that says what to write instead."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError, nearest
from optprune.formulation.constraint import Constraint
from optprune.formulation.metric import Metric
from optprune.task import Task

__all__ = [
    "bound_constraints",
    "bound_objectives",
    "plug_in",
    "reference_point",
    "unique_metrics",
]


def plug_in(thing: Any, argument: str, method: str) -> Any:
    """Check that a plug-in has its method, and is no class."""
    if isinstance(thing, type):
        raise ArgumentTypeError(f"{argument} must be an instance: write {thing.__name__}().")
    if not callable(getattr(thing, method, None)):
        raise ArgumentTypeError(
            f"{argument} must have a method {method}(), got {type(thing).__name__} {thing!r:.80}."
        )
    return thing


def bound_objectives(objectives: Metric | Iterable[Metric], task: Task) -> tuple[Metric, ...]:
    """Check the objectives and bind them to the task."""
    items = [objectives] if isinstance(objectives, Metric) else list(objectives)
    if not items:
        raise ArgumentError("objectives must name at least one metric, got none.")
    for item in items:
        if isinstance(item, Constraint):
            raise ArgumentTypeError(
                f"objectives must be metrics, got the constraint {item}; it belongs in subject_to."
            )
        if not isinstance(item, Metric):
            raise ArgumentTypeError(
                f"objectives must be metrics, got {type(item).__name__} {item!r:.80}; decorate a "
                "function of a candidate with @op.metric, or use one of op.metrics."
            )
    names = [item.name for item in items]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(f"objectives: {name!r} is there twice.")
    return tuple(item.bind(task) for item in items)


def bound_constraints(
    subject_to: Constraint | Iterable[Constraint], task: Task
) -> tuple[Constraint, ...]:
    """Check the constraints and bind their metrics to the task."""
    items = [subject_to] if isinstance(subject_to, Constraint) else list(subject_to)
    bound: list[Constraint] = []
    for item in items:
        if not isinstance(item, Constraint):
            raise ArgumentTypeError(
                "subject_to must be comparisons of metrics with <= or >=, such as "
                f"op.metrics.macs <= 0.5; got {type(item).__name__} {item!r:.80}."
            )
        for other in bound:
            if (other.metric.name, other.sense) == (item.metric.name, item.sense):
                raise ArgumentError(
                    f"subject_to: {item} and {other} bound {item.metric.name} on the same side; "
                    "keep the tighter one."
                )
        bound.append(Constraint(item.metric.bind(task), item.sense, item.bound))
    return tuple(bound)


def unique_metrics(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Return metrics each once; two different ones must not share a name."""
    known: dict[str, Metric] = {}
    for metric in metrics:
        if known.setdefault(metric.name, metric) != metric:
            raise ArgumentError(
                f"two different metrics are called {metric.name!r}; give one of them another name."
            )
    return tuple(known.values())


def reference_point(
    reference: Mapping[str, float] | None, objectives: tuple[Metric, ...]
) -> npt.NDArray[np.float64]:
    """Return the reference point, shape (n_objectives,)."""
    names = [metric.name for metric in objectives]
    for name, value in (reference or {}).items():
        if name not in names:
            raise ArgumentError(
                f"reference: {name!r} is no objective of this problem.{nearest(name, names)}"
            )
        if not math.isfinite(value):
            raise ArgumentError(f"reference[{name!r}] must be a finite number, got {value!r}.")
    own = {m.name: math.nan if m.reference is None else m.reference for m in objectives}
    return np.array([{**own, **(reference or {})}[name] for name in names], dtype=np.float64)
