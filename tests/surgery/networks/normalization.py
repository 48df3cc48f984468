"""Networks with every normalisation; those over channels are named for the oracle."""

from __future__ import annotations

import torch
from torch import nn

from .case import Case, image
from .layers import Between, chain, conv


class Last(nn.Module):
    """A layer for the last dimension, applied to channels."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Pre(nn.Module):
    """A residual perceptron with layer normalisation before it."""

    def __init__(self, affine: bool) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 12)
        self.norm = nn.LayerNorm(12, elementwise_affine=affine)
        self.up = nn.Linear(12, 20)
        self.down = nn.Linear(20, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x)
        return self.head(x + self.down(torch.relu(self.up(self.norm(x)))))


def _group_norm(groups: int) -> Case:
    return Case(
        f"group_norm_{groups}",
        lambda: Between(nn.Sequential(conv(8, 12), nn.GroupNorm(groups, 12), nn.ReLU()), 8, 12),
        prunable=("stem.weight", "middle.0.weight", "middle.1.weight", "tail.weight"),
        norms={"middle.1": "middle.0.weight"},
        coupled=(("middle.0.weight", "middle.1.weight"),),
    )


NORMALIZATION = [
    _group_norm(1),
    _group_norm(3),
    Case(
        "group_norm_each",
        lambda: Between(nn.GroupNorm(8, 8)),
        prunable=("stem.weight", "tail.weight"),
        norms={"middle": "stem.weight"},
    ),
    Case(
        "group_norm_each_plain",
        lambda: Between(nn.GroupNorm(8, 8, affine=False)),
        prunable=("stem.weight", "tail.weight"),
        norms={"middle": "stem.weight"},
    ),
    Case(
        "group_norm_plain",
        lambda: Between(nn.GroupNorm(2, 8, affine=False)),
        prunable=("tail.weight",),
        norms={"middle": "stem.weight"},
    ),
    Case(
        "layer_norm_last",
        lambda: Between(Last(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))),
        every_layer_but=("head",),
        norms={"middle.layers.0": "stem.weight"},
        coupled=(("stem.weight", "middle.layers.0.weight"),),
    ),
    Case(
        "layer_norm_residual",
        lambda: Pre(affine=True),
        image(6),
        every_layer_but=("head",),
        norms={"norm": "enter.weight"},
        coupled=(("enter.weight", "down.weight"), ("enter.weight", "norm.weight")),
    ),
    Case(
        "layer_norm_plain",
        lambda: Pre(affine=False),
        image(6),
        every_layer_but=("head",),
        norms={"norm": "enter.weight"},
    ),
    Case(
        "layer_norm_in_row",
        lambda: chain(
            linear1=nn.Linear(6, 10),
            norm=nn.LayerNorm(10),
            relu=nn.ReLU(),
            head=nn.Linear(10, 4),
        ),
        image(6),
        every_layer_but=("head",),
        norms={"norm": "linear1.weight"},
    ),
    Case(
        "instance_norm",
        lambda: Between(nn.InstanceNorm2d(8, affine=True)),
        prunable=("stem.weight",),
    ),
    Case("instance_norm_plain", lambda: Between(nn.InstanceNorm2d(8)), prunable=("stem.weight",)),
    Case(
        "instance_norm_running",
        lambda: Between(nn.InstanceNorm2d(8, affine=True, track_running_stats=True)),
        prunable=("stem.weight",),
    ),
    Case(
        "batch_norm_of_batch",
        lambda: Between(nn.BatchNorm2d(8, track_running_stats=False)),
        prunable=("stem.weight",),
    ),
]
