"""Published claims about pruning with compensation, tried on Fashion-MNIST.

Run ``make benchmark`` or ``python benchmarks/claims.py``; ``--only`` runs some. Test accuracies of
networks that nothing was chosen by; seconds of one processor. A row that is there already is not measured
again without ``--again``, so that an interrupted run goes on. Writes
``benchmarks/results/claims.json`` and the tables in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from cases import case, posed, recovered, share, tested, uniform
from reporting import (
    environment,
    read_json,
    write_json,
)
from torch import nn

import optprune as op
from optprune.surgery import Structure

Row = dict[str, Any]
PACKAGES = ("optprune", "torch", "numpy", "deap")
RETRAINING = op.training.SGD(epochs=20, batch_size=128, lr=0.02, weight_decay=5e-4)
SHORT = op.training.SGD(epochs=2, batch_size=128, lr=0.005, weight_decay=5e-4)


def described(problem: op.Problem, structure: Structure, network: nn.Module) -> Row:
    """Say what came out: accuracies on the test split and costs as fractions."""
    return {
        "accuracy": tested(problem.task, network),
        "dense": tested(problem.task, problem.task.network),
        "macs": share(problem, structure),
        "parameters": share(problem, structure, "parameters"),
    }


def retrained(network: str) -> Row:
    """Half of the MACs by L1 and uniform widths, then 20 epochs on all training images."""
    problem = posed(case(network, 0), op.scores.L1())
    started = time.process_time()
    structure = uniform(problem, 0.5)
    small = recovered(problem, structure, op.recovery.FineTune(RETRAINING))
    seconds = time.process_time() - started
    assert problem.task.train is not None
    images = len(problem.task.train)
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
