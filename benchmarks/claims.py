"""Published claims about pruning with compensation, tried on Fashion-MNIST.

Run ``make benchmark`` or ``python benchmarks/claims.py``; ``--only`` runs some. Test accuracies of
networks that nothing was chosen by; one torch thread. A row that is there already is not measured
again without ``--again``, so that an interrupted run goes on. Writes
``benchmarks/results/claims.json`` and the tables in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from reporting import (
    environment,
    read_json,
    write_json,
)
from torch import nn

import optprune as op
from optprune.losses import accuracy
from optprune.meter import Meter
from optprune.recovery import Recovery, RecoveryContext
from optprune.surgery import Structure

Row = dict[str, Any]
PACKAGES = ("optprune", "torch", "numpy", "deap")
RETRAINING = op.training.SGD(epochs=20, batch_size=128, lr=0.02, weight_decay=5e-4)
SHORT = op.training.SGD(epochs=2, batch_size=128, lr=0.005, weight_decay=5e-4)


def case(network: str) -> op.Task:
    """Return a trained network with its data."""
    return op.problems.fashion.task(network)


def posed(task: op.Task, score: op.scores.Score, recovery: Recovery) -> op.Problem:
    """Return the problem whose parts are used one by one."""
    return op.Problem(
        task,
        space=op.Widths(score=score),
        recovery=recovery,
        objectives=[op.metrics.error, op.metrics.macs],
    )


def uniform(problem: op.Problem, target: float) -> Structure:
    """Return the widest uniform structure with at most a fraction of the MACs."""
    space, macs = problem.bound_space, problem.graph.costs.macs
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        widths = space.widths(space.uniform(middle))
        if macs(widths)[0] <= target * macs.dense:
            low = middle
        else:
            high = middle
    return space.decode(space.uniform(low))[0]


def recovered(
    problem: op.Problem, structure: Structure, recovery: Recovery, meter: Meter | None = None
) -> nn.Module:
    """Cut and repair."""
    network = op.cut(problem.task.network, problem.graph, structure)
    context = RecoveryContext(problem.task, problem.graph, structure, 0, meter or Meter())
    recovery.recover(network, context)
    return network


def tested(task: op.Task, network: nn.Module) -> float:
    """Return the accuracy on the test split."""
    return accuracy(task.predict(network, task.test, meter=Meter()), task.test.labels)


def described(problem: op.Problem, structure: Structure, network: nn.Module) -> Row:
    """Say what came out: accuracies on the test split and costs as fractions."""
    costs, task = problem.graph.costs, problem.task
    return {
        "accuracy": tested(task, network),
        "dense": tested(task, task.network),
        "macs": float(costs.macs(structure.widths)[0]) / costs.macs.dense,
        "parameters": float(costs.parameters(structure.widths)[0]) / costs.parameters.dense,
    }


def retrained(network: str) -> Row:
    """Half of the MACs by L1 and uniform widths, then 20 epochs on all training images."""
    task = case(network)
    problem = posed(task, op.scores.L1(), op.recovery.Nothing())
    started = time.perf_counter()
    structure = uniform(problem, 0.5)
    small = recovered(problem, structure, op.recovery.FineTune(RETRAINING))
    seconds = time.perf_counter() - started
    images = len(task.train)
    return {"seconds": seconds, "images": images, **described(problem, structure, small)}


ROWS: dict[str, Callable[[], Row]] = {
    **{f"retrained/{n}": lambda n=n: retrained(n) for n in ("vgg", "resnet20")},
}


def main() -> None:
    """Measure what is missing and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--again", action="store_true", help="measure rows that are there again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.only or ROWS:
        known = read_json("claims").get("rows", {})
        if name in known and not options.again:
            continue
        row = ROWS[name]()
        print(name, row, flush=True)
        known = read_json("claims").get("rows", {})
        write_json("claims", {"environment": environment(PACKAGES), "rows": {**known, name: row}})


if __name__ == "__main__":
    main()
