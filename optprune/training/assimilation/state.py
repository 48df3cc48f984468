"""The state of an assimilation between two epochs: all that decides how it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import torch
from torch import nn

from optprune.surgery.state import dense_state
from optprune.training.assimilation.layout import Layout
from optprune.training.assimilation.report import Update
from optprune.training.state import of, under
from optprune.training.stopping import Best, put_back

__all__ = ["AssimilationState"]


@dataclass
class AssimilationState:
    """What an assimilation has come to.

    Parameters
    ----------
    network : nn.Module
        Has the mean of the members as its weights.
    layout : Layout
        Which parameters vary.
    generator : torch.Generator
        On the CPU; draws all that is random.
    tensors_kept : dict of str to Tensor
        What a trainer keeps: ``"members"`` of shape (n_members, n_parameters), or ``"velocity"``.
    losses : list of float
        The loss of the mean network before each step.
    history : list of Update
        Of each step.
    epoch : int
        Passes over the data done.
    reason : str, optional
        Why the fit ended; None while it goes on.
    best : Best
        Losses on held-out data and the best mean network.
    best_kept : dict of str to Tensor
        `tensors_kept` there; empty where nothing is held out.
    """

    network: nn.Module
    layout: Layout
    generator: torch.Generator
    tensors_kept: dict[str, torch.Tensor]
    losses: list[float] = field(default_factory=list)
    history: list[Update] = field(default_factory=list)
    epoch: int = 0
    reason: str | None = None
    best: Best = field(default_factory=Best)
    best_kept: dict[str, torch.Tensor] = field(default_factory=dict)

    def judge(self, loss: float) -> None:
        """Take in the loss on held-out data after one more epoch."""
        self.best.add(loss, self.network)
        if self.best.waited == 0:
            self.best_kept = {name: value.clone() for name, value in self.tensors_kept.items()}

    def return_to_best(self) -> None:
        """Give network and members what they were where the loss on held-out data was least."""
        put_back(self.network, self.best.weights)
        self.tensors_kept = dict(self.best_kept)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all tensors of the state, copied to the CPU, by names that `load` knows."""
        history = torch.tensor([astuple(update) for update in self.history], dtype=torch.float64)
        found = {
            **under("network", dense_state(self.network)),
            **under("kept", self.tensors_kept),
            **under("best", self.best.weights),
            **under("best_kept", self.best_kept),
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "held_out_losses": torch.tensor(self.best.losses, dtype=torch.float64),
            "history": history,
            "generator": self.generator.get_state(),
        }
        return {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in found.items()
        }

    def record(self) -> dict[str, Any]:
        """Return what is no tensor, of the kinds that JSON has."""
        return {"epoch": self.epoch, "reason": self.reason, "best_epoch": self.best.epoch}

    def load(self, tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
        """Take over what `tensors` and `record` returned, at best in another process."""
        put_back(self.network, of("network", tensors))
        device = self._device()

        def placed(part: str) -> dict[str, torch.Tensor]:
            return {name: value.to(device) for name, value in of(part, tensors).items()}

        self.tensors_kept, self.best_kept = placed("kept"), placed("best_kept")
        self.losses = tensors["losses"].tolist()
        self.history = [
            Update(inflation, misfit, spread, int(members), int(samples))
            for inflation, misfit, spread, members, samples in tensors["history"].tolist()
        ]
        self.epoch, self.reason = int(record["epoch"]), record["reason"]
        self.best = Best(
            tensors["held_out_losses"].tolist(), int(record["best_epoch"]), placed("best")
        )
        self.generator.set_state(tensors["generator"])

    def _device(self) -> torch.device:
        return dict(self.network.named_parameters())[self.layout.names[0]].device
