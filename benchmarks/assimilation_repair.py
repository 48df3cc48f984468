"""Pruned networks repaired without gradients: by data assimilation, and by least squares."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import cache, partial

import torch
from cases import SAMPLES, case, recovered, share, tested
from reporting import markdown
from rows import Row

import optprune as op
from optprune.recovery import BatchNorm, FineTune, LeastSquares, Nothing, Pipeline, Recovery
from optprune.training import EKI, ESMDA
from optprune.training.assimilation import CrossEntropy, Gaussian, OutputBlocks

NETWORKS = ("vgg", "resnet20")
TARGET, SEEDS = 0.5, 3

HEAD = ESMDA(
    parameters="head.*", assimilations=4, observation=Gaussian(0.3), localization=OutputBlocks()
)
"""One-hot targets; an output's weights hear of that output alone."""
INVERSION = EKI(
    parameters="head.*", observation=CrossEntropy(), batch_size=256, epochs=10, momentum=0.5
)
NOTHING = "nothing"
RECOVERIES: dict[str, Recovery] = {
    NOTHING: Nothing(),
    "last layer by ESMDA": FineTune(HEAD),
    "batch normalization": BatchNorm(SAMPLES),
    "batch normalization, last layer by ESMDA": Pipeline((BatchNorm(SAMPLES), FineTune(HEAD))),
    "batch normalization, last layer by EKI": Pipeline((BatchNorm(SAMPLES), FineTune(INVERSION))),
    "least squares": LeastSquares(),
    "least squares, last layer by EKI": Pipeline((LeastSquares(), FineTune(INVERSION))),
}


@cache
def task_of(network: str, seed: int) -> op.Task:
    """Return a trained network, with the labels of 1,024 training images and no others."""
    given = case(network, seed)
    assert given.train is not None
    chosen = torch.randperm(len(given.train), generator=torch.Generator().manual_seed(seed))
    few = given.train.take(chosen[:SAMPLES])
    return op.Task(
        given.network,
        train=few,
        validation=given.validation,
        test=given.test_split(),
        calibration=few.inputs,
        name=f"{given.name}/{SAMPLES}",
        batch_size=given.batch_size,
    )


def repair(network: str, recovery: str) -> Row:
    """Cut all groups alike to half of the MACs, the smallest L1 norms first, and repair."""
    found: Row = {"accuracy": [], "dense": [], "macs": [], "seconds": []}
    for seed in range(SEEDS):
        task = task_of(network, seed)
        problem = op.Problem(
            task, space=op.Widths(score=op.scores.L1()), objectives=[op.metrics.error]
        )
        structure = problem.uniform(op.metrics.macs <= TARGET)
        started = time.process_time()
        small = recovered(problem, structure, RECOVERIES[recovery], seed)
        found["seconds"].append(time.process_time() - started)
        found["accuracy"].append(tested(task, small))
        found["dense"].append(tested(task, task.network))
        found["macs"].append(share(problem, structure))
    return found


ROWS: dict[str, Callable[[], Row]] = {
    f"repair/{network}/{recovery}": partial(repair, network, recovery)
    for network in NETWORKS
    for recovery in RECOVERIES
}


def table(rows: dict[str, Row]) -> str:
    """Write what comes back of what the cut has taken."""
    header = [f"{TARGET:.0%} of the MACs, median of {SEEDS} seeds", *(
        f"{n}: {what}" for n in NETWORKS for what in ("test accuracy", "of the loss", "seconds")
    )]  # fmt: skip
    lines = []
    for recovery in RECOVERIES:
        line = [recovery]
        for network in NETWORKS:
            own, cut = (rows.get(f"repair/{network}/{each}") for each in (recovery, NOTHING))
            if own is None or cut is None:
                line += ["", "", ""]
                continue
            back = [
                (mine - least) / (dense - least)
                for mine, least, dense in zip(
                    own["accuracy"], cut["accuracy"], own["dense"], strict=True
                )
            ]
            line += [
                f"{statistics.median(own['accuracy']):.2%}",
                f"{statistics.median(back):.1%}",
                f"{statistics.median(own['seconds']):.1f}",
            ]
        if any(line[1:]):
            lines.append(line)
    return markdown(header, lines) if lines else ""
