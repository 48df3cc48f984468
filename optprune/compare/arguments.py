"""The arguments of a comparison: problems, optimizers and seeds, each under a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation import Problem
from optprune.optimizers import Random, UniformWidths
from optprune.search import Optimizer

__all__ = ["COLUMNS", "named_optimizers", "named_problems", "seeds_of", "with_references"]

COLUMNS = (
    *("problem", "optimizer", "seed", "index", "evaluations"),
    *("seconds", "samples", "feasible", "failed"),
)
"""The columns of a comparison's log beside the metrics."""


def named_problems(
    problems: Problem | Iterable[Problem] | Mapping[str, Problem],
) -> dict[str, Problem]:
    """Return problems by their names: those of the mapping, else those of their tasks.

    A name that comes again is numbered: ``digits``, ``digits 2``, and so on.

    Raises
    ------
    ArgumentError
        If there is none, one is there twice, or a metric is called as a column of the log.
    ArgumentTypeError
        If something is no problem, or a name no text.
    """
    given = _items("problems", problems, Problem)
    named: dict[str, Problem] = {}
    known: dict[str, str] = {}
    for wanted, problem in given:
        if not isinstance(problem, Problem):
            raise ArgumentTypeError(
                f"problems must be a Problem, several of them, or a mapping of names to them; got "
                f"{type(problem).__name__}."
            )
        name = _free(wanted or problem.task.name or "problem", named)
        if problem.fingerprint in known:
            raise ArgumentError(
                f"problems: {known[problem.fingerprint]!r} and {name!r} are the same problem; "
                "twice the same rows would look like twice the evidence. Leave one out."
            )
        for metric in problem.metrics:
            if metric.name in COLUMNS:
                raise ArgumentError(
                    f"problems: {name!r} has a metric called {metric.name!r}, as a column of the "
                    "log is called already; give it another name."
                )
        known[problem.fingerprint] = name
        named[name] = problem
    return named


def named_optimizers(
    optimizers: Optimizer | Iterable[Optimizer] | Mapping[str, Optimizer],
) -> dict[str, Optimizer]:
    """Return optimizers by their names: those of the mapping, else their own.

    Raises
    ------
    ArgumentError
        If there is none, or two have one name.
    ArgumentTypeError
        If something is no optimizer, or a name no text.
    """
    given = _items("optimizers", optimizers, Optimizer)
    named: dict[str, Optimizer] = {}
    for wanted, optimizer in given:
        if isinstance(optimizer, type) or not isinstance(optimizer, Optimizer):
            raise ArgumentTypeError(
                "optimizers must be an optimizer, several of them, or a mapping of names to them, "
                "each an instance with a name and a method search(problem, session), such as "
                f"op.optimizers.NSGA2(); got {optimizer!r}."
            )
        name = wanted or optimizer.name
        if name in named:
            raise ArgumentError(
                f"optimizers: two are called {name!r}: {named[name]!r} and {optimizer!r}. Tell "
                f"them apart: give one name={name + '-2'!r}, or give a mapping "
                "{'name': optimizer, ...}."
            )
        named[name] = optimizer
    return named


def with_references(optimizers: Mapping[str, Optimizer]) -> dict[str, Optimizer]:
    """Add random search and the uniform sweep where they are not among the optimizers."""
    named = dict(optimizers)
    for reference in (Random(), UniformWidths()):
        if not any(isinstance(optimizer, type(reference)) for optimizer in named.values()):
            taken = reference.name in named
            named[f"{reference.name} (reference)" if taken else reference.name] = reference
    return named


def seeds_of(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """Return the seeds: 0, 1, … for a number of them.

    Raises
    ------
    ArgumentError
        If there is none, one is negative, or one is there twice.
    ArgumentTypeError
        If they are no whole numbers.
    """
    text = f"seeds must be a number of seeds, or different whole numbers ≥ 0; got {seeds!r}."
    whole = (int, np.integer)
    if isinstance(seeds, whole) and not isinstance(seeds, bool):
        if seeds < 1:
            raise ArgumentError(f"{text} Give at least one, for example seeds=5.")
        return tuple(range(int(seeds)))
    if isinstance(seeds, str | bool) or not isinstance(seeds, Iterable):
        raise ArgumentTypeError(text)
    found = tuple(seeds)
    if any(isinstance(seed, bool) or not isinstance(seed, whole) for seed in found):
        raise ArgumentTypeError(text)
    numbers = tuple(int(seed) for seed in found)
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise ArgumentError(text)
    return numbers


def _items(argument: str, given: Any, kind: type) -> Sequence[tuple[str, Any]]:
    """Return pairs of a name, empty where there is none, and what was given."""
    if isinstance(given, Mapping):
        for name in given:
            if not isinstance(name, str) or not name.strip():
                raise ArgumentTypeError(
                    f"{argument}: a name must be a text that is not empty; got {name!r}."
                )
        items = list(given.items())
    elif isinstance(given, kind) or not isinstance(given, Iterable):
        items = [("", given)]
    else:
        items = [("", item) for item in given]
    if not items:
        raise ArgumentError(f"{argument} is empty; give at least one.")
    return items


def _free(name: str, taken: Mapping[str, object]) -> str:
    """Return a name, numbered if it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free
