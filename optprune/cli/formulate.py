"""What was written on the command line, read strictly and turned into a problem."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from optprune.cli.importing import imported
from optprune.cli.metrics import metrics_by_name
from optprune.cli.plugins import Plugin, installed, note_hidden, plugin_named
from optprune.errors import ArgumentError, ArgumentTypeError, OptpruneError, nearest
from optprune.formulation import Constraint, Metric, Problem, metrics
from optprune.recovery import BatchNorm, Nothing
from optprune.task import Task

__all__ = ["load_problem", "problem_of", "read_constraint", "read_objective"]

_SENSES = {"<=": "<=", "<": "<=", "≤": "<=", ">=": ">=", ">": ">=", "≥": ">="}
_SIGNS = re.compile(r"(<=|>=|==|≤|≥|<|>|=)")


def problem_of(
    name: str,
    *,
    objectives: Sequence[tuple[str, str]] = (),
    subject_to: Sequence[str] = (),
    device: str | None = None,
) -> Problem:
    """Return the problem that a name and options mean.

    Parameters
    ----------
    name : str
        A ready-made case, a plug-in's, or ``package.module:function``; a function returns a `Task`
        or a `Problem`.
    objectives : sequence of (str, str), optional
        ``"minimize"`` or ``"maximize"``, and the name of a metric. By default the problem's own;
        for a task the error, or its score where it is no classification, and the MACs.
    subject_to : sequence of str, optional
        Bounds such as ``"macs<=0.5"``. By default the problem's own; for a task none.
    device : str, optional
        Where to move the task.

    Returns
    -------
    Problem
        A task becomes a problem of widths with batch-norm recalibration (where it has samples to
        calibrate with).

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If the name, a metric or a bound cannot be understood, or the function fails.
    PluginError
        If a plug-in that was named cannot be used.
    """
    found = _called(name) if ":" in name else _ready_made(name)
    if isinstance(found, Problem):
        task, known = found.task, metrics_by_name(found.metrics)
    else:
        task, known = found, metrics_by_name()
    asked = [read_objective(metric, direction, known, task) for direction, metric in objectives]
    bounds = [read_constraint(text, known) for text in subject_to]
    if isinstance(found, Problem):
        if not asked and not bounds and device is None:
            return found
        chosen = asked or list(found.objectives)
        own = dict(zip(found.objective_names, found.reference.tolist(), strict=True))
        return Problem(
            task,
            space=found.space,
            recovery=found.recovery,
            objectives=chosen,
            subject_to=bounds or found.constraints,
            device=device,
            graph=found.graph,
            reference={
                m.name: own[m.name] for m in chosen if math.isfinite(own.get(m.name, math.nan))
            },
        )
    quality = metrics.error if task.kind == "classification" else metrics.score
    samples = 0 if task.calibration is None else len(task.calibration)
    return Problem(
        task,
        recovery=BatchNorm() if samples >= 2 else Nothing(),
        objectives=asked or [quality, metrics.macs],
        subject_to=bounds,
        device=device,
    )


def read_objective(name: str, direction: str, known: Mapping[str, Metric], task: Task) -> Metric:
    """Return the metric of an objective.

    Parameters
    ----------
    name : str
        As it was written.
    direction : str
        ``"minimize"`` or ``"maximize"``, as it was written.
    known : mapping of str to Metric
        The metrics by name.
    task : Task
        Settles the direction of its own score.

    Raises
    ------
    ArgumentError
        If there is no such metric, the task has none such, or its direction is the other one.
    """
    metric = _metric(name, known, f"--{direction} {name}")
    own = metric.bind(task).direction
    if own != direction:
        what = f" ({task.score.name})" if metric is metrics.score else ""
        raise ArgumentError(
            f"--{direction} {name}: {name}{what} is to be {own}d here; write --{own} {name}."
        )
    return metric


def read_constraint(
    text: str, known: Mapping[str, Metric], option: str = "--subject-to"
) -> Constraint:
    """Return the constraint that was written as text.

    Parameters
    ----------
    text : str
        A metric, ``<=`` or ``>=`` (``<`` and ``>`` mean the same), and a number:
        ``"macs<=0.5"``. Spaces do not matter.
    known : mapping of str to Metric
        The metrics by name.
    option : str
        The option that it was written after, for messages.

    Raises
    ------
    ArgumentError
        If it is anything else, there is no such metric, or the metric never reaches the bound.
    """
    said = f"{option} {text!r}"
    parts = [part.strip() for part in _SIGNS.split(text)]
    if len(parts) > 3:
        raise ArgumentError(f"{said} holds two comparisons: write one option for each bound.")
    if len(parts) < 3 or not parts[0] or not parts[2]:
        raise ArgumentError(
            f"{said} must compare a metric with a number, such as {option} 'macs<=0.5'. Keep the "
            "quotes: the shell takes < and > for its own."
        )
    name, sign, bound = parts
    if sign not in _SENSES:
        raise ArgumentError(f"{said} must use <= or >=, not {sign}.")
    if _number(name) is not None and _number(bound) is None:
        turned = _SENSES[sign].translate(str.maketrans("<>", "><"))
        raise ArgumentError(f"{said}: the metric comes first, '{bound}{turned}{name}'.")
    metric = _metric(name, known, said)
    value = _number(bound)
    if value is None:
        percent = _number(bound.removesuffix("%"))
        hint = f"; for {bound} write {percent / 100:g}" if percent is not None else ""
        raise ArgumentError(f"{said}: {bound!r} is no number{hint}.")
    return metric <= value if _SENSES[sign] == "<=" else metric >= value


def _metric(name: str, known: Mapping[str, Metric], said: str) -> Metric:
    """Look up a metric."""
    if name not in known:
        hint = nearest(name, known) or f" There are {', '.join(known)}."
        raise ArgumentError(f"{said}: there is no metric {name!r}.{hint}")
    return known[name]


def _number(text: str) -> float | None:
    """Read a number, None where it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _ready_made(name: str) -> Task | Problem:
    """Return the problem of a case in `optprune.problems`, or what a plug-in of that name gives."""
    import optprune.problems

    known = list(optprune.problems.__all__)
    if name in known:
        note_hidden("problems", name)
        problem: Problem = importlib.import_module(f"optprune.problems.{name}").problem()
        return problem
    plugin = plugin_named("problems", name, "TASK")
    if plugin is not None:
        return load_problem(plugin)
    known += installed("problems")
    raise ArgumentError(
        f"TASK: there is no ready-made case {name!r}.{nearest(name, known)} Ready-made: "
        f"{', '.join(known)}; your own are written package.module:function."
    )


def load_problem(plugin: Plugin) -> Task | Problem:
    """Return the task or problem of a plug-in.

    Raises
    ------
    PluginError
        If it cannot be imported, fails, or gives something else.
    """
    found = plugin.load()
    if isinstance(found, ModuleType):  # as the cases of optprune.problems are
        found = getattr(found, "problem", found)
    try:
        found = found() if callable(found) else found
    except Exception as error:
        raise plugin.wrong(f"it raised {type(error).__name__}: {error}") from error
    if not isinstance(found, Task | Problem):
        raise plugin.wrong(
            "it must be a Task or a Problem, a function that returns one, or a module with a "
            f"function `problem`; got {type(found).__name__}."
        )
    return found


def _called(target: str) -> Task | Problem:
    """Import a function of the user's and call it."""
    function: Any = imported(target, "TASK")
    try:
        found = function() if callable(function) else function
    except OptpruneError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"TASK {target!r}: the function raised {type(error).__name__}: {error} (--debug shows "
            "where)."
        ) from error
    if not isinstance(found, Task | Problem):
        raise ArgumentTypeError(
            f"TASK {target!r} must return a Task or a Problem, got {type(found).__name__}."
        )
    return found
