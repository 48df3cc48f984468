"""Networks of one or two kinds of layers in a row."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .case import Case, image


def conv(inputs: int, outputs: int, size: int = 3, **options: Any) -> nn.Conv2d:
    """Make a convolution that keeps the spatial size."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


def chain(**layers: nn.Module) -> nn.Sequential:
    """Make a sequence of named layers."""
    return nn.Sequential(OrderedDict(layers))


class Between(nn.Module):
    """Stem, then something (a layer or a function), then a convolution and a linear head."""

    def __init__(
        self, middle: Callable[[torch.Tensor], torch.Tensor], width: int = 8, tail: int = 8
    ) -> None:
        super().__init__()
        self.stem = conv(3, width, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.middle = middle
        self.tail = conv(tail, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = self.tail(self.middle(x))
        return self.head(F.silu(x).mean((2, 3)))


class ConvTail(nn.Module):
    """A convolution and a layer after it, to be put in the middle."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layers(x))


class FlattenSpatial(nn.Module):
    """Flatten more than one position of every channel into a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 8), nn.ReLU(), nn.MaxPool2d(2), conv(8, 6), nn.ReLU())
        self.classifier = nn.Sequential(nn.Linear(6 * 4 * 4, 10), nn.ReLU(), nn.Linear(10, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class GroupsFromShape(nn.Module):
    """A depthwise convolution that takes its number of groups from its input."""

    def __init__(self, literal: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 1, 3, 3))
        self.literal = literal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        groups = 8 if self.literal else x.shape[1]
        return F.conv2d(x, self.weight, padding=1, groups=groups)


def _plain() -> nn.Module:
    return chain(
        conv1=conv(3, 8),
        norm1=nn.BatchNorm2d(8),
        relu1=nn.ReLU(),
        conv2=conv(8, 10, bias=False),
        norm2=nn.BatchNorm2d(10),
        relu2=nn.ReLU(inplace=True),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        head=nn.Linear(10, 5),
    )


def _line() -> nn.Module:
    return chain(
        conv1=nn.Conv1d(3, 8, 3, padding=1),
        norm1=nn.BatchNorm1d(8),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool1d(2),
        conv2=nn.Conv1d(8, 6, 3, stride=2),
        relu2=nn.ReLU(),
        pool2=nn.AdaptiveAvgPool1d(1),
        flatten=nn.Flatten(),
        head=nn.Linear(6, 5),
    )


def _volume() -> nn.Module:
    return chain(
        conv1=nn.Conv3d(2, 6, 3, padding=1),
        norm1=nn.BatchNorm3d(6),
        relu1=nn.ReLU(),
        conv2=nn.Conv3d(6, 4, 3),
        pool=nn.AdaptiveAvgPool3d(1),
        flatten=nn.Flatten(),
        head=nn.Linear(4, 3),
    )


def _perceptron() -> nn.Module:
    return chain(
        linear1=nn.Linear(12, 16),
        norm1=nn.BatchNorm1d(16),
        relu1=nn.ReLU(),
        linear2=nn.Linear(16, 10, bias=False),
        tanh=nn.Tanh(),
        head=nn.Linear(10, 4),
    )


def _pooled() -> nn.Module:
    return chain(
        conv1=conv(3, 8),
        pool1=nn.AdaptiveMaxPool2d(4),
        conv2=conv(8, 6),
        pool2=nn.AdaptiveAvgPool2d(2),
        flatten=nn.Flatten(),
        head=nn.Linear(24, 5),
    )


def _dropped() -> nn.Module:
    return chain(
        conv1=conv(3, 8),
        drop1=nn.Dropout2d(0.3),
        relu1=nn.ReLU(),
        conv2=conv(8, 6),
        flatten=nn.Flatten(),
        drop2=nn.Dropout(0.5),
        head=nn.Linear(6 * 64, 5),
    )


def _segmenter() -> nn.Module:
    return chain(
        conv1=conv(3, 8, stride=2),
        relu1=nn.ReLU(),
        conv2=conv(8, 6),
        relu2=nn.ReLU(),
        up=nn.ConvTranspose2d(6, 8, 2, stride=2),
        norm=nn.BatchNorm2d(8),
        relu3=nn.ReLU(),
        out=nn.ConvTranspose2d(8, 4, 3, padding=1),
    )


def _no_group() -> nn.Module:
    return chain(conv=conv(3, 5), pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())


def between(layer: Callable[[], Any], width: int = 8, tail: int = 8) -> Callable[[], nn.Module]:
    """Return a factory for `Between`."""
    return lambda: Between(layer(), width, tail)


LAYERS = [
    Case("plain", _plain, prunable=("conv1.weight", "conv2.weight"), frozen={"head.weight": ""}),
    Case("conv1d", _line, image(3, 16), prunable=("conv1.weight", "conv2.weight")),
    Case("conv3d", _volume, image(2, 5, 5, 5), prunable=("conv1.weight", "conv2.weight")),
    Case("perceptron", _perceptron, image(12), prunable=("linear1.weight", "linear2.weight")),
    Case("pooling", _pooled, prunable=("conv1.weight", "conv2.weight")),
    Case("dropout", _dropped, prunable=("conv1.weight", "conv2.weight")),
    Case(
        "no_group",
        _no_group,
        frozen={"conv.weight": ""},
    ),
    Case(
        "flatten_spatial",
        FlattenSpatial,
        prunable=("features.0.weight", "features.3.weight", "classifier.0.weight"),
    ),
    Case(
        "transposed",
        _segmenter,
        prunable=("conv1.weight", "conv2.weight", "up.weight:1"),
        frozen={"out.weight:1": ""},
    ),
    Case(
        "transposed_grouped",
        between(lambda: ConvTail(nn.ConvTranspose2d(8, 12, 3, padding=1, groups=2)), 8, 12),
        prunable=("stem.weight", "middle.layers.0.weight:1", "tail.weight"),
    ),
    Case(
        "transposed_depthwise",
        between(lambda: ConvTail(nn.ConvTranspose2d(8, 8, 2, stride=2, groups=8))),
        prunable=("stem.weight", "tail.weight"),
        coupled=(("stem.weight", "middle.layers.0.weight:0"),),
    ),
    Case(
        "depthwise",
        between(lambda: ConvTail(conv(8, 8, groups=8, bias=False), nn.BatchNorm2d(8))),
        prunable=("stem.weight", "tail.weight"),
        coupled=(("stem.weight", "middle.layers.0.weight"),),
    ),
    Case(
        "depthwise_multiplier",
        between(lambda: ConvTail(conv(8, 16, groups=8), nn.BatchNorm2d(16)), 8, 16),
        prunable=("stem.weight", "middle.layers.0.weight", "tail.weight"),
    ),
    Case(
        "grouped",
        between(lambda: ConvTail(conv(12, 16, groups=4), nn.BatchNorm2d(16)), 12, 16),
        prunable=("stem.weight", "middle.layers.0.weight", "tail.weight"),
    ),
    Case(
        "groups_from_shape",
        between(lambda: GroupsFromShape(literal=False)),
        prunable=("stem.weight", "middle.weight"),
        coupled=(("stem.weight", "middle.weight"),),
    ),
    Case(
        "groups_literal",
        between(lambda: GroupsFromShape(literal=True)),
        prunable=("tail.weight",),
        frozen={"stem.weight": ""},
    ),
    Case("prelu_channels", between(lambda: nn.PReLU(8)), prunable=("stem.weight", "middle.weight")),
    Case("prelu_single", between(nn.PReLU), prunable=("stem.weight",)),
    Case(
        "padding_reflect",
        between(lambda: ConvTail(conv(8, 8, padding_mode="reflect"))),
        prunable=("stem.weight", "middle.layers.0.weight"),
    ),
    Case(
        "padding_circular",
        between(lambda: ConvTail(conv(8, 8, padding_mode="circular"))),
        prunable=("middle.layers.0.weight",),
    ),
    Case(
        "padding_replicate",
        between(lambda: ConvTail(conv(8, 8, padding_mode="replicate"))),
        prunable=("stem.weight", "middle.layers.0.weight"),
    ),
    Case(
        "padding_same_dilated",
        between(lambda: ConvTail(nn.Conv2d(8, 8, 3, padding="same", dilation=2))),
        prunable=("stem.weight", "middle.layers.0.weight"),
    ),
    Case(
        "batchnorm_plain",
        between(lambda: nn.BatchNorm2d(8, affine=False)),
        prunable=("stem.weight",),
    ),
    Case(
        "upsample",
        between(lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)),
        prunable=("stem.weight", "tail.weight"),
    ),
    Case(
        "average_pool", between(lambda: nn.AvgPool2d(2, ceil_mode=True)), prunable=("stem.weight",)
    ),
    *(
        Case(
            f"activation_{type(layer()).__name__.lower()}",
            between(lambda layer=layer: nn.Sequential(layer(), conv(8, 8), layer())),
            every_layer_but=("head",),
        )
        for layer in (nn.Hardswish, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Mish, nn.Softplus, nn.ELU)
    ),
]
