"""Early stopping: the loss on samples held out of training, and the weights where it was least."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from optprune.errors import TrainingError
from optprune.meter import Meter
from optprune.split import Split
from optprune.surgery.calling import Inputs, batch_size, evaluating
from optprune.surgery.state import dense_state

__all__ = ["Best", "held_out_loss", "hold_out", "put_back"]


@dataclass
class Best:
    """The losses on held-out data so far, and the weights where the loss was least.

    Parameters
    ----------
    losses : list of float
        After each epoch.
    epoch : int
        Epochs done where the loss was least; 0 before the first.
    weights : dict of str to Tensor
        Parameters and buffers there, copied.
    """

    losses: list[float] = field(default_factory=list)
    epoch: int = 0
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def add(self, loss: float, network: nn.Module) -> None:
        """Take in the loss after one more epoch, and the weights if it is less than any before.

        Raises
        ------
        TrainingError
            When the loss is not finite.
        """
        epoch = len(self.losses) + 1
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss on held-out data is {loss} after epoch {epoch}: lower lr, or check the "
                "data."
            )
        if not self.losses or loss < min(self.losses):
            self.epoch = epoch
            self.weights = {name: value.clone() for name, value in dense_state(network).items()}
        self.losses.append(loss)

    @property
    def waited(self) -> int:
        """Epochs since the loss was least."""
        return len(self.losses) - self.epoch


def hold_out(
    data: Split, fraction: float, generator: torch.Generator
) -> tuple[Split, Split | None]:
    """Hold a part of the data out of training.

    Parameters
    ----------
    data : Split
        All samples.
    fraction : float
        In [0, 1); 0 holds nothing out and draws nothing.
    generator : torch.Generator
        Draws which samples are held out.

    Returns
    -------
    train : Split
        What is left, in the order of the data.
    held : Split or None
        At least one sample, in the order of the data.

    Raises
    ------
    TrainingError
        When no sample would be left.
    """
    if fraction == 0:
        return data, None
    size = max(1, round(fraction * len(data)))
    if size >= len(data):
        raise TrainingError(
            f"held_out={fraction} of {len(data)} samples leaves none to train on: give more data "
            "or a smaller held_out."
        )
    order = torch.randperm(len(data), generator=generator)
    held, kept = order[:size].sort().values, order[size:].sort().values
    return data.take(kept), data.take(held)


def held_out_loss(
    network: nn.Module,
    held: Split,
    *,
    size: int,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    outputs: Callable[[nn.Module, Inputs], torch.Tensor],
    meter: Meter,
) -> float:
    """Return the loss on held-out data, in evaluation mode and without gradients.

    Parameters
    ----------
    network : nn.Module
        Each module's mode is restored.
    held : Split
        The samples.
    size : int
        Samples in a batch.
    loss, outputs : callable
        As for `optprune.training.Trainer.fit`.
    meter : Meter
        Counts the forward samples.

    Returns
    -------
    float
        The mean of the batches' losses, weighted by their samples: the loss of all samples where
        the loss is a mean over samples.

    Raises
    ------
    TrainingError
        When the data has no targets.
    """
    total = 0.0
    with torch.no_grad(), evaluating(network):
        for inputs, targets in held.batches(size):
            if targets is None:
                raise TrainingError("data has no targets: give a split with targets.")
            samples = batch_size(inputs)
            total += float(loss(outputs(network, inputs), targets)) * samples
            meter.forward(samples)
    return total / len(held)


@torch.no_grad()
def put_back(network: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Copy parameters and buffers into a network that has them under the same names."""
    for name, value in dense_state(network).items():
        value.copy_(weights[name])
