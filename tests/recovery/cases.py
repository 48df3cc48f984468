"""A network with every kind of layer that is fitted, and what the tests do with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from optprune.meter import Meter
from optprune.recovery import LayerFit, RecoveryContext
from optprune.surgery import cut, trace
from optprune.task import Task

BOTH = ["asymmetric", "symmetric"]


class Branches(nn.Module):
    """A residual network with a projection, a grouped and a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.inner = nn.Conv2d(8, 12, 3, padding=1)
        self.outer = nn.Conv2d(12, 8, 3, padding=1, bias=False)
        self.outer_norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 16, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, groups=16)
        self.narrow = nn.Conv2d(16, 10, 1)
        self.project = nn.Conv2d(8, 10, 3)
        self.classes = nn.Linear(10 * 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = torch.relu(x + self.outer_norm(self.outer(torch.relu(self.inner(x)))))
        y = self.narrow(input=torch.relu(self.depthwise(torch.relu(self.wide(x)))))
        y = torch.relu(y + self.project(x))
        y = nn.functional.max_pool2d(y, 2)
        return self.classes(y.flatten(1))


def settled(network: nn.Module, images: torch.Tensor) -> nn.Module:
    """Give the normalizations statistics of their own."""
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(images)
    return network.eval()


def task(network: nn.Module | None = None, n: int = 60, dtype: Any = torch.float64) -> Task:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 1, 6, 6, generator=generator, dtype=dtype)
    images = images + nn.functional.avg_pool2d(images, 3, 1, 1)
    if network is None:
        torch.manual_seed(0)
        network = settled(Branches().to(dtype), images)
    split = (images, torch.arange(n) % 3)
    return Task(network, train=split, validation=split)


def cut_and_context(the_task: Task, **widths: int) -> tuple[nn.Module, RecoveryContext]:
    """Cut groups to a width, first units staying."""
    graph = trace(the_task.network, the_task.example)
    wanted = graph.widths.copy()
    for name, width in widths.items():
        wanted[graph.group(name).index] = width
    structure = graph.structure_from_widths(wanted)
    return cut(the_task.network, graph, structure), RecoveryContext(
        the_task, graph, structure, 0, Meter()
    )


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def fits(found: list[LayerFit]) -> dict[str, LayerFit]:
    return {fit.layer: fit for fit in found}


def outputs(the_task: Task, network: nn.Module) -> torch.Tensor:
    return the_task.predict(network, the_task.validation)
