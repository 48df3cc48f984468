"""The random score: the baseline that any other score should beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from torch import nn

from optprune.errors import ArgumentError
from optprune.scores.protocol import ScoreContext
from optprune.surgery import ChannelGraph

__all__ = ["Random"]


@dataclass(frozen=True)
class Random:
    """Independent uniform numbers in [0, 1).

    Parameters
    ----------
    seed : int
        Together with the context's seed it fixes the numbers; not negative.

    Raises
    ------
    ArgumentError
        When `seed` is not a non-negative integer.
    """

    higher_is_better: ClassVar[bool] = True

    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ArgumentError(f"seed must be a non-negative integer, got {self.seed!r}.")

    def __call__(
        self,
        network: nn.Module,  # noqa: ARG002 - part of the protocol
        graph: ChannelGraph,
        context: ScoreContext,
    ) -> npt.NDArray[np.float64]:
        """Score every unit; see `optprune.scores.Score`."""
        return np.random.default_rng((self.seed, context.seed)).random(graph.n_units)
