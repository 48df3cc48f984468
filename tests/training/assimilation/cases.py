"""Linear Gaussian problems with a known posterior, and small networks to assimilate data into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from optprune.meter import Meter
from optprune.split import Split
from optprune.surgery.calling import call
from optprune.training.assimilation import AssimilationReport
from optprune.training.assimilation.assimilating import Assimilating


@dataclass(frozen=True)
class Linear:
    """``observed = model @ parameters + errors``, with a standard normal prior."""

    model: torch.Tensor
    observed: torch.Tensor
    covariance: torch.Tensor

    @property
    def posterior(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and covariance, by the formulas."""
        model, inverse = self.model, torch.linalg.inv(self.covariance)
        eye = torch.eye(model.shape[1], dtype=model.dtype)
        covariance = torch.linalg.inv(eye + model.T @ inverse @ model)
        return covariance @ model.T @ inverse @ self.observed, covariance

    def prior(self, members: int, seed: int) -> torch.Tensor:
        """Draw members from the prior."""
        generator = torch.Generator().manual_seed(seed)
        shape = members, self.model.shape[1]
        return torch.randn(*shape, generator=generator, dtype=torch.float64)


def linear(parameters: int = 5, observations: int = 4, seed: int = 0) -> Linear:
    """Return a problem whose errors are correlated."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    factor = normal(observations, observations)
    eye = torch.eye(observations, dtype=torch.float64)
    return Linear(
        normal(observations, parameters), normal(observations), factor @ factor.T + 0.3 * eye
    )


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the relative error in the Frobenius norm."""
    return float((found - wanted).norm() / wanted.norm())


def curve(n: int = 40) -> Split:
    """Return one period of a sine."""
    x = torch.linspace(-1, 1, n)[:, None]
    return Split(x, torch.sin(torch.pi * x))


def regressor(seed: int = 0, width: int = 12) -> nn.Sequential:
    """Return a network with one hidden layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1)).eval()


def classes(n: int = 120, seed: int = 1) -> Split:
    """Return samples whose class is the largest of three inputs."""
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return Split(x, x.argmax(dim=1))


def classifier(seed: int = 0) -> nn.Sequential:
    """Return a network of three classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 10), nn.Tanh(), nn.Linear(10, 3)).eval()


def fit(
    trainer: Assimilating, network: nn.Module, data: Split | None = None, **changes: Any
) -> tuple[AssimilationReport, Meter]:
    """Fit a network; return the report and the meter."""
    meter = Meter()
    arguments: dict[str, Any] = {"loss": nn.functional.mse_loss, "outputs": call, "seed": 0}
    data = curve() if data is None else data
    return trainer.fit(network, data, meter=meter, **(arguments | changes)), meter


def weights(network: nn.Module) -> torch.Tensor:
    """Return all parameters in one vector, copied."""
    return torch.cat([p.detach().flatten() for p in network.parameters()])
