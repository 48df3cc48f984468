"""What a score is: how much each unit of a network matters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import nn

from optprune.errors import ArgumentError, OptpruneError
from optprune.meter import Meter
from optprune.surgery import ChannelGraph
from optprune.task import Task

__all__ = ["Score", "ScoreContext", "importance_of"]


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
    """Says how much each unit matters.

    Units with low scores leave first, unless the score has an attribute ``higher_is_better`` that
    is False: then those with high scores do. A score is compared within a group; what ranks units
    of several groups against each other says how. The scores of several units that leave together
    are taken to add up, unless an attribute ``additive`` is False: then the highest of them is the
    loss of all.
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
            Shape ``(n_units,)``, finite.
        """
        ...


def importance_of(
    score: Score, network: nn.Module, graph: ChannelGraph, context: ScoreContext
) -> npt.NDArray[np.float64]:
    """Score every unit, whatever the direction of the score.

    Parameters
    ----------
    score : Score
        The score.
    network, graph, context
        What it is called with.

    Returns
    -------
    ndarray of float64, shape (n_units,)
        Higher is more important.

    Raises
    ------
    ArgumentError
        If the score raises, or returns anything but one number for each unit.
    """
    try:
        values = np.array(score(network, graph, context), dtype=np.float64)
    except OptpruneError:
        raise
    except Exception as error:
        raise ArgumentError(f"score {score!r} raised {type(error).__name__}: {error}") from error
    if values.shape != (graph.n_units,) or np.isnan(values).any():
        raise ArgumentError(
            f"score {score!r} must return {graph.n_units} numbers, one for each unit; got "
            f"shape {values.shape}{' with NaN' if np.isnan(values).any() else ''}."
        )
    return values if getattr(score, "higher_is_better", True) else -values
