"""What trainers are checked on: small networks that learn what another one of their kind knows."""

from __future__ import annotations

import copy

import torch
from torch import nn

from optprune.task import Task

__all__ = ["Answering", "answer", "lessons", "student"]


class Answering(nn.Module):
    """A network with one hidden layer that returns a dict, which `answer` picks from.

    From 3 numbers to 3, by 8 hidden units; 59 weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 8)
        self.tanh = nn.Tanh()
        self.dropout = nn.Dropout(0.1)
        self.last = nn.Linear(8, 3)

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return ``{"answer": …}``, shape (n, 3)."""
        return {"answer": self.last(self.dropout(self.tanh(self.hidden(inputs))))}


def answer(returned: dict[str, torch.Tensor]) -> torch.Tensor:
    """Pick the output that is trained."""
    return returned["answer"]


def lessons() -> tuple[Task, Task]:
    """Return a regression and a classification on 48 samples, both solved by the task's network."""
    return _lesson("small regression"), _lesson("small classification")


def _lesson(name: str) -> Task:
    inputs = torch.randn(48, 3, generator=torch.Generator().manual_seed(1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = Answering().eval()
    with torch.no_grad():
        network.last.weight.mul_(3.0)
        targets = answer(network(inputs))
    if "classification" in name:
        targets = targets.argmax(dim=1)
    split = (inputs, targets)
    return Task(network, train=split, validation=split, pick=answer, name=name)


def student(task: Task) -> nn.Module:
    """Return a copy of a task's network with other weights, one of its modules in training mode.

    Parameters
    ----------
    task : Task
        Its network is not changed.

    Returns
    -------
    nn.Module
        In evaluation mode but for the last of its modules that is a dropout, if it has any: a
        trainer has to give back the modes of all.
    """
    network = copy.deepcopy(task.network).eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        for module in network.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    return network
