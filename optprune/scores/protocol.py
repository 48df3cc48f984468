"""What a score is: how much each unit of a network matters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import nn

from optprune.meter import Meter
from optprune.surgery import ChannelGraph
from optprune.task import Task

__all__ = ["Score", "ScoreContext"]


@dataclass(frozen=True)
class ScoreContext:
    """What a score may use besides the network.

    Parameters
    ----------
    task : Task, optional
        For scores that look at data.
    seed : int
        The only source of randomness.
    meter : Meter
        Counts every pass over data.
    """

    task: Task | None = None
    seed: int = 0
    meter: Meter = field(default_factory=Meter)


@runtime_checkable
class Score(Protocol):
    """Says how much each unit matters; units with low scores leave first.

    A score is compared within a group; a space that ranks units of several groups against each
    other says how.
    """

    def __call__(
        self, network: nn.Module, graph: ChannelGraph, context: ScoreContext
    ) -> npt.NDArray[np.float64]:
        """Score every unit.

        Parameters
        ----------
        network : nn.Module
            A dense network of the graph's architecture; it is left as it is.
        graph : ChannelGraph
            Its groups and units.
        context : ScoreContext
            Task, seed and meter.

        Returns
        -------
        ndarray of float64
            Shape ``(n_units,)``, finite; higher is more important.
        """
        ...
