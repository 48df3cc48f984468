"""An ensemble with observations of its outputs, conditioned with and without blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from optprune.training.assimilation import Ensemble, Gaussian, analysis
from optprune.training.assimilation.localization import Block, localized_analysis
from optprune.training.assimilation.observation import Observed
from tests.training.assimilation.networks import generator

STD = 0.5
ERRORS = Gaussian(STD)
SAMPLES, OUTPUTS = 4, 3


def small(seed: int = 0) -> nn.Sequential:
    """A network with a hidden layer, 4 inputs and 3 outputs, in double precision."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, OUTPUTS)).double().eval()


class Case:
    """An ensemble of a network with what it predicts and what is observed."""

    def __init__(
        self, network: nn.Module, n: int = 12, seed: int = 0, observation: Any = ERRORS
    ) -> None:
        drawn = generator(seed)
        dtype = next(network.parameters()).dtype
        self.ensemble = Ensemble.draw(network, n, generator=drawn)
        self.layout, self.members = self.ensemble.layout, self.ensemble.members
        self.inputs = torch.randn(SAMPLES, 4, generator=drawn, dtype=dtype)
        self.targets = torch.randn(SAMPLES, OUTPUTS, generator=drawn, dtype=dtype)
        self.predictions = self.ensemble.forward(self.inputs)
        with torch.no_grad():
            self.center = self.ensemble.mean_network()(self.inputs)
        targets = self.targets if isinstance(observation, Gaussian) else self.targets.argmax(1)
        self.observed: Observed = observation.observe(self.predictions, self.center, targets)

    def plain(self, covariance: float | torch.Tensor = STD**2, **changes: Any) -> torch.Tensor:
        """Return the members after an analysis without blocks."""
        arguments = {"generator": generator(9)} | changes
        return analysis(
            self.members,
            self.predictions.flatten(1),
            self.targets.flatten(),
            covariance,
            **arguments,
        )

    def by(self, localization: Any, **changes: Any) -> torch.Tensor:
        """Return the members after an analysis by blocks."""
        blocks = localization
        if not isinstance(localization, list):
            blocks = localization.blocks(self.layout, self.members, self.observed)
        arguments = {"generator": generator(9)} | changes
        return localized_analysis(self.members, self.observed, blocks, **arguments)

    def place(self, name: str) -> slice:
        return next(place for found, _, place in self.layout.slices() if found == name)


def whole(case: Case, weight: float | None = None) -> list[Block]:
    count = case.observed.deviations.shape[1]
    weights = None if weight is None else torch.full((count,), weight, dtype=torch.float64)
    return [Block(torch.arange(case.layout.size), weights)]


def index_of(blocks: Sequence[Block]) -> list[list[int]]:
    return [sorted(block.index.tolist()) for block in blocks]


def covered(blocks: Sequence[Block]) -> list[int]:
    found: list[int] = torch.cat([block.index for block in blocks]).sort().values.tolist()
    return found
