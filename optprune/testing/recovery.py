"""What every recovery must do: the checks that a plug-in's author runs."""

from __future__ import annotations

import torch

from optprune.formulation import Problem, metrics
from optprune.meter import Meter
from optprune.recovery import Recovery, RecoveryContext
from optprune.surgery import Structure
from optprune.task import Task
from optprune.testing.conformance import leaves_unchanged, require
from optprune.testing.metric import sample_structures
from optprune.testing.networks import passes_counted, residual_task

__all__ = ["check_recovery"]


def check_recovery(recovery: Recovery, *, task: Task | None = None) -> None:
    """Recover a few small networks and check that a recovery keeps the rules.

    Parameters
    ----------
    recovery : Recovery
        What to check.
    task : Task, optional
        The network with its data; by default a residual convolutional network with batch
        normalization, with 48 images to train on.

    Raises
    ------
    ConformanceError
        With the rule that was broken.

    Notes
    -----
    The rules: it works in place on the small network, whose tensors keep their names, shapes and
    types and stay finite; it leaves the dense network as it was; the same seed gives the same
    weights bit for bit; every pass over data is counted on the meter.
    """
    task = residual_task() if task is None else task
    problem = Problem(task, objectives=[metrics.loss])
    who = f"recovery {recovery!r}"
    for structure in sample_structures(problem):
        with leaves_unchanged(who, task.network):
            first = _recovered(recovery, problem, structure)
        again = _recovered(recovery, problem, structure)
        for name, tensor in first.items():
            require(
                torch.equal(tensor, again[name]),
                f"{who} gives other weights {name!r} for the same seed; draw from a generator "
                "seeded with `context.seed`.",
            )


def _recovered(
    recovery: Recovery, problem: Problem, structure: Structure
) -> dict[str, torch.Tensor]:
    """Return the state of a small network after recovery."""
    who, task, meter = f"recovery {recovery!r}", problem.task, Meter()
    network = problem.slicer.load(structure, problem.slicer.take(structure))
    before = {name: (value.shape, value.dtype) for name, value in network.state_dict().items()}
    context = RecoveryContext(
        task=task, graph=problem.graph, structure=structure, seed=1, meter=meter
    )
    with passes_counted(who, network, meter):
        recovery.recover(network, context)
    state = {name: value.detach().clone() for name, value in network.state_dict().items()}
    after = {name: (value.shape, value.dtype) for name, value in state.items()}
    require(
        before == after,
        f"{who} changes names, shapes or types of the network's tensors; only values may change.",
    )
    for name, value in state.items():
        require(bool(torch.isfinite(value).all()), f"{who} leaves {name!r} not finite.")
    outputs = task.predict(network.eval(), task.validation, meter=Meter())
    require(bool(torch.isfinite(outputs).all()), f"{who} leaves outputs that are not finite.")
    return state
