"""Networks of several kinds with inputs for them, and what each member computes alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from optprune.surgery.calling import Inputs, call, map_inputs
from optprune.training.assimilation import Ensemble

SAMPLES = 6


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


class Residual(nn.Module):
    """A residual block with normalization whose statistics are not trivial, and a tied layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.again = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.again.weight = self.conv.weight
        self.head = nn.Linear(3, 2)
        self.norm.running_mean = torch.tensor([0.1, -0.2, 0.3])
        self.norm.running_var = torch.tensor([0.5, 1.5, 2.5])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.again(torch.relu(self.conv(x)))
        found: torch.Tensor = self.head(x.mean((2, 3)))
        return found


class Two(nn.Module):
    """Two inputs, one of them indices."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(x * self.table(index))
        return found


def convolutions() -> nn.Sequential:
    norm = nn.BatchNorm2d(4)
    norm.running_mean = torch.tensor([0.1, -0.2, 0.3, 0.0])
    norm.running_var = torch.tensor([0.5, 1.5, 2.5, 1.0])
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), norm, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )


def images() -> torch.Tensor:
    return torch.randn(SAMPLES, 2, 6, 6, generator=generator(5))


def rows() -> torch.Tensor:
    return torch.randn(SAMPLES, 4, generator=generator(5))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Inputs]]] = {
    "mlp": (mlp, rows),
    "convolutions": (convolutions, images),
    "residual": (Residual, images),
    "tuple": (Two, lambda: (rows(), torch.arange(SAMPLES) % 5)),
    "dict": (Two, lambda: {"index": torch.arange(SAMPLES) % 5, "x": rows()}),
}


def make(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Inputs]:
    """Return a network in evaluation mode and inputs for it."""
    torch.manual_seed(0)
    build, data = CASES[name]

    def cast(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return build().to(dtype).eval(), map_inputs(cast, data())


def alone(ensemble: Ensemble, inputs: Inputs) -> torch.Tensor:
    """Return the outputs of each member, from a network of its own."""
    found = []
    for member in ensemble.members:
        network = copy.deepcopy(ensemble.network).eval()
        ensemble.layout.write(member, network)
        with torch.no_grad():
            found.append(call(network, inputs))
    return torch.stack(found)


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    atol = 1e-12 if one.dtype == torch.float64 else 2e-6
    return one.dtype == other.dtype and torch.allclose(one, other, rtol=0, atol=atol)
