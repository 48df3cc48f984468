"""Small networks and data that trainers are tested on."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from optprune.meter import Meter
from optprune.split import Split
from optprune.surgery.calling import call
from optprune.training import FitReport, Trainer


def classifier(*, seed: int = 0, dropout: float = 0.0, width: int = 8) -> nn.Sequential:
    """Return a classifier of three classes with normalization and dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(4, width),
        nn.BatchNorm1d(width),
        nn.Tanh(),
        nn.Dropout(dropout),
        nn.Linear(width, 3),
    ).eval()


def labelled(n: int = 60, *, seed: int = 1) -> Split:
    """Return samples whose class is the largest of three inputs."""
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return Split(x, x[:, :3].argmax(dim=1))


def fit(
    trainer: Trainer, network: nn.Module, data: Split | None = None, **changes: Any
) -> tuple[FitReport, Meter]:
    """Fit a network; return the report and the meter."""
    meter = Meter()
    arguments: dict[str, Any] = {
        "loss": nn.functional.cross_entropy,
        "outputs": call,
        "seed": 0,
    } | changes
    data = labelled() if data is None else data
    return trainer.fit(network, data, meter=meter, **arguments), meter


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Tell whether two states are the same bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
