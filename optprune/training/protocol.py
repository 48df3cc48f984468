"""What a trainer is: fits the weights of any network in place, and reports how it went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from optprune.meter import Meter
from optprune.split import Split
from optprune.surgery.calling import Inputs

__all__ = ["FitReport", "Trainer"]


@dataclass(frozen=True)
class FitReport:
    """How a fit went.

    Parameters
    ----------
    losses : tuple of float
        The task's loss of each step, before the step and without what hooks add to it.
    steps : int
        Steps done.
    epochs : float
        Passes over the data done.
    seconds : float
        Wall-clock seconds.
    reason : str
        Why it ended, in plain words.
    """

    losses: tuple[float, ...]
    steps: int
    epochs: float
    seconds: float
    reason: str


@runtime_checkable
class Trainer(Protocol):
    """Fits the weights of a network to data.

    Gradient trainers and assimilation trainers are interchangeable. A trainer knows nothing of
    pruning: it gets any network, dense or small.
    """

    def fit(
        self,
        network: nn.Module,
        data: Split,
        *,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        outputs: Callable[[nn.Module, Inputs], torch.Tensor],
        seed: int,
        meter: Meter,
    ) -> FitReport:
        """Fit the network in place.

        Parameters
        ----------
        network : nn.Module
            Changed in place: parameters and buffers. Modules get back the modes that they had.
        data : Split
            Inputs and targets on the network's device.
        loss : callable
            ``loss(outputs, targets)``, a tensor with one number.
        outputs : callable
            ``outputs(network, inputs)``, the tensor that the loss is about, such as
            `Task.outputs`.
        seed : int
            The only source of randomness.
        meter : Meter
            Counts forward and backward samples and seconds.

        Returns
        -------
        FitReport
            Losses, steps, seconds and why it ended.

        Raises
        ------
        TrainingError
            When the fit cannot go on, for example at a loss that is not finite.
        """
        ...
