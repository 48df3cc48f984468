"""What the benchmarks on Fashion-MNIST do again and again: pose, cut, repair, test."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

import optprune as op
from optprune.losses import accuracy
from optprune.meter import Meter
from optprune.recovery import Recovery, RecoveryContext
from optprune.surgery import ChannelGraph, Structure

SAMPLES = 1024
"""Calibration images."""


@cache
def data() -> op.Task:
    """Read the data once in a process."""
    return op.problems.fashion.task("vgg")


@cache
def case(network: str, seed: int) -> op.Task:
    """Return a trained network, with a calibration split of its own for every seed."""
    given = data()
    assert given.train is not None
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(given.train), generator=generator)[:SAMPLES]
    return op.Task(
        op.problems.fashion.network(network),
        train=given.train,
        validation=given.validation,
        test=given.test_split(),
        calibration=given.train.take(chosen).inputs,
        name=f"fashion/{network}/{seed}",
        batch_size=500,
    )


def scored(task: op.Task, images: int, seed: int = 0) -> op.Task:
    """Return the task with a part of its validation images, drawn by a seed."""
    order = torch.randperm(len(task.validation), generator=torch.Generator().manual_seed(seed))
    return op.Task(
        task.network,
        train=task.train,
        validation=task.validation.take(order[:images]),
        test=task.test_split(),
        calibration=task.calibration,
        name=f"{task.name}/{images}",
        batch_size=task.batch_size,
    )


def posed(task: op.Task, score: op.scores.Score, graph: ChannelGraph | None = None) -> op.Problem:
    """Return a problem of which the parts are used one by one."""
    return op.Problem(
        task, space=op.Widths(score=score), objectives=[op.metrics.error], graph=graph
    )


def recovered(
    problem: op.Problem, structure: Structure, recovery: Recovery, seed: int = 0
) -> nn.Module:
    """Cut and repair; nothing is shared with other candidates."""
    network = op.cut(problem.task.network, problem.graph, structure)
    recovery.recover(
        network, RecoveryContext(problem.task, problem.graph, structure, seed, Meter())
    )
    return network


def tested(task: op.Task, network: nn.Module) -> float:
    """Return the accuracy on the test split."""
    split = task.test_split()
    return accuracy(task.predict(network, split), split.labels)


def share(problem: op.Problem, structure: Structure, cost: str = "macs") -> float:
    """Return a structure's MACs or parameters as a fraction of dense."""
    polynomial = getattr(problem.graph.costs, cost)
    return float(polynomial(structure.widths)[0]) / polynomial.dense
