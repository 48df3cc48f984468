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

__all__ = ["FitReport", "TaughtTrainer", "Trainer", "taught_by"]


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
    held_out_losses : tuple of float
        The loss on held-out data after each epoch; empty where nothing was held out.
    best_epoch : int, optional
        Epochs done where that loss was least; the network has the weights of then.
    resumed : int
        Steps that a checkpoint had done before; `losses` and `steps` contain them, `seconds` does
        not.
    """

    losses: tuple[float, ...]
    steps: int
    epochs: float
    seconds: float
    reason: str
    held_out_losses: tuple[float, ...] = ()
    best_epoch: int | None = None
    resumed: int = 0


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


@runtime_checkable
class TaughtTrainer(Trainer, Protocol):
    """A trainer by which a network learns from another one, its teacher."""

    def with_teacher(self, network: nn.Module) -> Trainer:
        """Return the trainer with a network as its teacher; itself where it has one already."""
        ...


def taught_by(trainer: Trainer, network: nn.Module) -> Trainer:
    """Return a trainer with a network as its teacher, where it wants one and has none.

    Parameters
    ----------
    trainer : Trainer
        Any trainer.
    network : nn.Module
        For a small network, the dense one.

    Returns
    -------
    Trainer
        `trainer` itself where it learns from no teacher.
    """
    return trainer.with_teacher(network) if isinstance(trainer, TaughtTrainer) else trainer
