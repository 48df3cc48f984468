"""What users would pick otherwise: Torch-Pruning at a target of MACs, and its six settings."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import optprune as op

STEPS = 12
"""Bisections of the pruning ratio."""


@dataclass(frozen=True)
class Setting:
    """One way to prune with Torch-Pruning.

    Parameters
    ----------
    name : {"L1", "L2", "Taylor"}
        The importance.
    scope : {"uniform", "global"}
        Whether every layer loses the same share, or all compete.
    """

    name: str
    scope: str

    def __str__(self) -> str:
        """Say what it is."""
        return f"Torch-Pruning {self.name} {self.scope} + BN"


SETTINGS = [
    Setting(name, scope) for name in ("L1", "L2", "Taylor") for scope in ("uniform", "global")
]


def macs(network: nn.Module, example: torch.Tensor) -> float:
    """Count the MACs of a network, as optprune counts them."""
    return op.trace(network, example, verify=False).costs.macs.dense


def gradients(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> list[Any]:
    """Return the gradient of the mean cross-entropy by every parameter, in evaluation mode."""
    parameters = list(network.parameters())
    total = [torch.zeros_like(p) for p in parameters]
    for some, theirs in zip(images.split(128), labels.split(128), strict=True):
        loss = nn.functional.cross_entropy(network(some), theirs, reduction="sum") / len(images)
        for sum_of, part in zip(total, torch.autograd.grad(loss, parameters), strict=True):
            sum_of += part
    return total


def prune(
    network: nn.Module,
    example: torch.Tensor,
    setting: Setting,
    target: float,
    samples: tuple[torch.Tensor, torch.Tensor],
) -> tuple[nn.Module, float]:
    """Prune to the largest ratio at which a fraction of the MACs is met.

    Parameters
    ----------
    network : nn.Module
        Left as it is. Its classifier is called ``head``.
    example : Tensor
        An input.
    setting : Setting
        Which importance, and how layers compete.
    target : float
        Fraction of the dense MACs.
    samples : tuple of Tensor
        Images with labels, for Taylor.

    Returns
    -------
    network : nn.Module
        Of the class of the dense one.
    seconds : float
        What it takes to prune once: finding the ratio is not counted.
    """
    import torch_pruning as tp

    make: dict[str, Callable[[], Any]] = {
        "L1": lambda: tp.importance.GroupMagnitudeImportance(p=1),
        "L2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
        "Taylor": lambda: tp.importance.GroupTaylorImportance(),
    }
    started = time.process_time()
    slopes = gradients(network, *samples) if setting.name == "Taylor" else None
    seconds = time.process_time() - started
    dense = macs(network, example)

    def pruned(ratio: float) -> nn.Module:
        made = copy.deepcopy(network)
        if slopes is not None:
            for parameter, slope in zip(made.parameters(), slopes, strict=True):
                parameter.grad = slope.clone()
        tp.pruner.MagnitudePruner(
            made,
            example,
            importance=make[setting.name](),
            global_pruning=setting.scope == "global",
            pruning_ratio=ratio,
            ignored_layers=[made.get_submodule("head")],
        ).step()
        made.zero_grad(set_to_none=True)
        return made

    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if macs(pruned(middle), example) / dense > target:
            low = middle
        else:
            high = middle
    started = time.process_time()
    found = pruned(high).eval()
    return found, seconds + time.process_time() - started
