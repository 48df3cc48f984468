"""The state of a gradient fit between two epochs: all that decides how it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from optprune.surgery.state import dense_state
from optprune.training.stopping import Best, put_back

__all__ = ["FitState", "of", "under"]

_MOMENTUM = "momentum_buffer"


@dataclass
class FitState:
    """What a gradient fit has come to.

    Parameters
    ----------
    network : nn.Module
        The network in training.
    optimizer : torch.optim.Optimizer
        Holds the momentum of each parameter.
    order : torch.Generator
        Draws the order of the data.
    device : torch.device
        Where the data is; its global generator belongs to the state where it is a CUDA device.
    losses : list of float
        The loss of each step done.
    epoch : int
        Epochs done.
    reason : str, optional
        Why the fit ended; None while it goes on.
    best : Best
        Losses on held-out data and the best weights.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    order: torch.Generator
    device: torch.device
    losses: list[float] = field(default_factory=list)
    epoch: int = 0
    reason: str | None = None
    best: Best = field(default_factory=Best)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all tensors of the state, copied to the CPU, by names that `load` knows."""
        momentum = {
            name: self.optimizer.state[parameter].get(_MOMENTUM)
            for name, parameter in self.network.named_parameters()
            if parameter in self.optimizer.state
        }
        found: dict[str, torch.Tensor | None] = {
            **under("network", dense_state(self.network)),
            **under("momentum", momentum),
            **under("best", self.best.weights),
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "held_out_losses": torch.tensor(self.best.losses, dtype=torch.float64),
            "generator/order": self.order.get_state(),
            "generator/cpu": torch.default_generator.get_state(),
        }
        if self.device.type == "cuda":
            found["generator/cuda"] = torch.cuda.get_rng_state(self.device)
        return {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in found.items()
            if tensor is not None
        }

    def record(self) -> dict[str, Any]:
        """Return what is no tensor, of the kinds that JSON has."""
        return {"epoch": self.epoch, "reason": self.reason, "best_epoch": self.best.epoch}

    def load(self, tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
        """Take over what `tensors` and `record` returned, at best in another process."""
        put_back(self.network, of("network", tensors))
        parameters = dict(self.network.named_parameters())
        for name, value in of("momentum", tensors).items():
            # Of the parameter's own memory format, as in the fit that wrote it.
            momentum = torch.empty_like(parameters[name]).copy_(value)
            self.optimizer.state[parameters[name]][_MOMENTUM] = momentum.detach()
        self.losses = tensors["losses"].tolist()
        self.epoch, self.reason = int(record["epoch"]), record["reason"]
        self.best = Best(
            tensors["held_out_losses"].tolist(),
            int(record["best_epoch"]),
            {name: value.to(self.device) for name, value in of("best", tensors).items()},
        )
        self.order.set_state(tensors["generator/order"])
        torch.default_generator.set_state(tensors["generator/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["generator/cuda"], self.device)


def under(part: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors with the name of a part before theirs."""
    return {f"{part}/{name}": tensor for name, tensor in tensors.items()}


def of(part: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of a part by their own names: the inverse of `under`."""
    start = f"{part}/"
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }
