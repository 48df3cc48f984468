"""Pruning a neural network as an optimization problem.

A trained network and its data go in; a front of smaller, working networks comes out::

    import optprune as op

    task = op.problems.digits.task()
    problem = op.Problem(
        task,
        space=op.Widths(step=4, score=op.scores.L1()),
        recovery=op.recovery.BatchNorm(),
        objectives=[op.metrics.error, op.metrics.macs],
        subject_to=[op.metrics.macs <= 0.6],
    )
    result = op.solve(problem, op.optimizers.NSGA2(population=32), evaluations=600, seed=1)
    small = result.select(op.metrics.macs <= 0.5).network()

Nothing is loaded before it is used: ``import optprune`` takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optprune.problems as problems  # installed there from a folder of its own
    from optprune import (
        allocation,
        dependence,
        errors,
        formulation,
        optimizers,
        plots,
        recovery,
        scores,
        search,
        surgery,
        testing,
        training,
    )
    from optprune.compare.compare import compare
    from optprune.compare.comparison import Comparison
    from optprune.formulation import (
        Candidate,
        Constraint,
        Masks,
        Metric,
        Problem,
        Proposal,
        Ratios,
        Start,
        Widths,
        metric,
        metrics,
    )
    from optprune.meter import Meter
    from optprune.search import Evaluations, Journal, Processes, Result, Serial, Session
    from optprune.search.solve import solve
    from optprune.surgery import Build, ChannelGraph, Structure, cut, load, mask, save, trace
    from optprune.task import Split, Task, TaskScore

__all__ = [
    "Build",
    "Candidate",
    "ChannelGraph",
    "Comparison",
    "Constraint",
    "Evaluations",
    "Journal",
    "Masks",
    "Meter",
    "Metric",
    "Problem",
    "Processes",
    "Proposal",
    "Ratios",
    "Result",
    "Serial",
    "Session",
    "Split",
    "Start",
    "Structure",
    "Task",
    "TaskScore",
    "Widths",
    "allocation",
    "compare",
    "cut",
    "dependence",
    "errors",
    "formulation",
    "load",
    "mask",
    "metric",
    "metrics",
    "optimizers",
    "plots",
    "problems",
    "recovery",
    "save",
    "scores",
    "search",
    "solve",
    "surgery",
    "testing",
    "trace",
    "training",
]

_ROOMS = {
    "optprune": (
        "allocation",
        "dependence",
        "errors",
        "formulation",
        "optimizers",
        "plots",
        "problems",
        "recovery",
        "scores",
        "search",
        "surgery",
        "testing",
        "training",
    ),
    "optprune.compare.compare": ("compare",),
    "optprune.compare.comparison": ("Comparison",),
    "optprune.formulation": (
        "Candidate",
        "Constraint",
        "Masks",
        "Metric",
        "Problem",
        "Proposal",
        "Ratios",
        "Start",
        "Widths",
        "metric",
        "metrics",
    ),
    "optprune.meter": ("Meter",),
    "optprune.search": ("Evaluations", "Journal", "Processes", "Result", "Serial", "Session"),
    "optprune.search.solve": ("solve",),
    "optprune.surgery": (
        "Build",
        "ChannelGraph",
        "Structure",
        "cut",
        "load",
        "mask",
        "save",
        "trace",
    ),
    "optprune.task": ("Split", "Task", "TaskScore"),
}
"""Where each public name lives; the tests compare it with the imports above."""

_HOME = {name: room for room, names in _ROOMS.items() for name in names}

if not TYPE_CHECKING:  # a type checker knows every name from above, and should report others

    def __getattr__(name: str) -> Any:
        """Load a public name when it is first used (PEP 562)."""
        if name == "__version__":
            from importlib.metadata import version

            value: Any = version("optprune")
        elif name not in _HOME:
            raise AttributeError(f"module 'optprune' has no attribute {name!r}")
        elif _HOME[name] == __name__:
            value = importlib.import_module(f"{__name__}.{name}")
        else:
            value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*__all__, "__version__"])
