"""What every score must do: the checks that a plug-in's author runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from optprune.meter import Meter
from optprune.scores import Score, ScoreContext
from optprune.surgery import trace
from optprune.task import Task
from optprune.testing.conformance import leaves_unchanged, require
from optprune.testing.networks import chain_task, passes_counted, residual_task

__all__ = ["check_score"]


def check_score(score: Score, *, tasks: Sequence[Task] | None = None) -> None:
    """Score the units of small networks and check that a score keeps the rules.

    Parameters
    ----------
    score : Score
        What to check.
    tasks : sequence of Task, optional
        The networks with their data; by default a chain of linear layers and a residual
        convolutional network.

    Raises
    ------
    ConformanceError
        With the rule that was broken.

    Notes
    -----
    The rules: one finite number for each unit, as float64 of shape (n_units,); the same for the
    same seed; the network is left as it was; every pass over data is counted on the meter.
    """
    for task in tasks if tasks is not None else (chain_task(), residual_task()):
        _check_on(score, task)


def _check_on(score: Score, task: Task) -> None:
    who = f"score {score!r} on the task {task.name!r}"
    graph = trace(task.network, task.example)

    def importance() -> npt.NDArray[np.float64]:
        meter = Meter()
        with leaves_unchanged(who, task.network), passes_counted(who, task.network, meter):
            return score(task.network, graph, ScoreContext(task=task, seed=1, meter=meter))

    first = importance()
    require(
        isinstance(first, np.ndarray)
        and first.shape == (graph.n_units,)
        and first.dtype == np.float64,
        f"{who} must return a float64 array of shape ({graph.n_units},), one number for each unit; "
        f"it returns {getattr(first, 'dtype', type(first).__name__)} of shape "
        f"{getattr(first, 'shape', None)}.",
    )
    require(
        bool(np.isfinite(first).all()),
        f"{who} gives numbers that are not finite to units {np.flatnonzero(~np.isfinite(first))}.",
    )
    require(
        np.array_equal(first, importance()),
        f"{who} gives other numbers for the same seed; draw from a generator seeded with "
        "`context.seed`.",
    )
