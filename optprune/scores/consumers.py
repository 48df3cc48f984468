"""Scores that look at what takes in the units of a group: the layers behind it."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import nn

from optprune.errors import ArgumentError, ScoreWarning
from optprune.moments import LayerMoments, Sample, collect
from optprune.scores.l1 import L1
from optprune.scores.protocol import Score, ScoreContext, importance_of
from optprune.surgery import ChannelGraph, ChannelGroup, consumed

__all__ = ["Consumer", "ConsumerScore"]

Consumer: TypeAlias = tuple[LayerMoments, npt.NDArray[np.int32]]
"""A layer with its moments, and the unit of each of its input channels (-1 for none)."""


@dataclass(frozen=True)
class ConsumerScore(ABC):
    """A score of each group from the moments of the layers that take it in.

    Parameters
    ----------
    samples : int
        Calibration samples, at most.
    positions : int or None
        Output positions of a sample and layer, at most; None for all.
    seed : int
        Draws samples and positions.
    otherwise : Score
        For groups that no convolution or linear layer consumes, of which a `ScoreWarning` tells.

    Raises
    ------
    ArgumentError
        When a number cannot be used.
    """

    higher_is_better: ClassVar[bool] = True

    samples: int = 1024
    positions: int | None = 16
    seed: int = 0
    otherwise: Score = field(default_factory=L1)

    def __post_init__(self) -> None:
        _ = self.sample

    @property
    def sample(self) -> Sample:
        """The rows that are looked at."""
        return Sample(self.samples, self.positions, seed=self.seed)

    @abstractmethod
    def of_group(
        self, consumers: Sequence[Consumer], group: ChannelGroup
    ) -> npt.NDArray[np.float64] | None:
        """Score the units of one group.

        Parameters
        ----------
        consumers : sequence of Consumer
            The layers that take the group in, at least one.
        group : ChannelGroup
            The group.

        Returns
        -------
        ndarray of float64, shape (width,), or None
            None where these consumers say nothing.
        """

    def __call__(
        self, network: nn.Module, graph: ChannelGraph, context: ScoreContext
    ) -> npt.NDArray[np.float64]:
        """Score every unit; see `optprune.scores.Score`.

        Raises
        ------
        ArgumentError
            When there is no task to take samples from.
        TaskError
            When the task has no calibration split of two samples or more.
        """
        who = type(self).__name__
        if context.task is None:
            raise ArgumentError(
                f"the score {who} needs data: give ScoreContext(task=...), as op.Problem does."
            )
        owners = consumed(graph)
        names = sorted({layer for layers in owners.values() for layer in layers})
        taken, _ = collect(context.task, network, self.sample, meter=context.meter, layers=names)
        importance = np.zeros(graph.n_units)
        without: list[ChannelGroup] = []
        with context.meter.timed():
            for group in graph.groups:
                layers = owners[group.index].items()
                consumers = [(taken[name], units) for name, units in layers if name in taken]
                found = self.of_group(consumers, group) if consumers else None
                if found is None:
                    without.append(group)
                else:
                    importance[group.slice] = found
        if without:
            warnings.warn(
                f"{who} knows no consumer of the groups "
                f"{', '.join(repr(group.name) for group in without)}; they are scored by "
                f"{self.otherwise!r}.",
                ScoreWarning,
                stacklevel=2,
            )
            other = importance_of(self.otherwise, network, graph, context)
            for group in without:
                importance[group.slice] = other[group.slice]
        return importance
