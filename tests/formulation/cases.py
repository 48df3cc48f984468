"""A small network with its data, and problems on it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from optprune.formulation import Problem, metrics
from optprune.surgery import ChannelGraph, Structure, trace
from optprune.task import Task


class Small(nn.Module):
    """Two convolutions with batch-norm and a linear layer; prunable widths 6 and 8."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        self.classes = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.second(x))
        return self.classes(x.mean((2, 3)))


def make_network() -> Small:
    torch.manual_seed(1)
    network = Small()
    generator = torch.Generator().manual_seed(2)
    network.norm.running_mean.copy_(torch.randn(6, generator=generator) / 4)
    network.norm.running_var.copy_(torch.rand(6, generator=generator) + 0.5)
    return network.eval()


def make_task(**changes: Any) -> Task:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(40, 1, 5, 5, generator=generator)
    labels = torch.arange(40) % 3
    arguments: dict[str, Any] = {
        "train": (inputs[:24], labels[:24]),
        "validation": (inputs[24:], labels[24:]),
        "name": "small",
    }
    return Task(make_network(), **{**arguments, **changes})


def make_regression() -> Task:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(12, 1, 5, 5, generator=generator)
    return Task(make_network(), validation=(inputs, torch.randn(12, 3, generator=generator)))


@cache
def small_graph() -> ChannelGraph:
    return trace(make_network(), torch.zeros(2, 1, 5, 5))


def make_problem(**changes: Any) -> Problem:
    arguments: dict[str, Any] = {
        "task": make_task(),
        "objectives": [metrics.error, metrics.macs],
        "graph": small_graph(),
        **changes,
    }
    return Problem(arguments.pop("task"), **arguments)


def narrowed(*widths: int) -> Structure:
    return small_graph().structure_from_widths(np.array(widths))
