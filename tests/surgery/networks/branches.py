"""Networks whose streams part and meet: shortcuts, concatenation, gates, several inputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from optprune.surgery.calling import Inputs

from .case import Case
from .layers import Between, conv


class Block(nn.Module):
    """A residual block; its shortcut is the identity, a projection, or pads channels."""

    def __init__(self, inputs: int, outputs: int, shortcut: str) -> None:
        super().__init__()
        stride = 1 if shortcut == "identity" else 2
        self.conv1 = conv(inputs, 6, stride=stride, bias=False)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = conv(6, outputs, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.padding = (outputs - inputs) // 2
        self.shortcut = shortcut
        if shortcut == "projection":
            self.project = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        if self.shortcut == "projection":
            x = self.project(x)
        elif self.shortcut == "padding":
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))
        return torch.relu(out + x)


class InPlace(nn.Module):
    """A residual block that adds and rectifies in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv(8, 6)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv(6, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv2(self.relu(self.conv1(x)))
        out += x
        out *= 0.5
        return self.relu(out)


class Dense(nn.Module):
    """A dense block: every layer reads the concatenation of all before."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(8 + 4 * i), nn.ReLU(), conv(8 + 4 * i, 4))
            for i in range(3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


class Coordinates(nn.Module):
    """Concatenate two constant coordinate channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, _, h, w = x.shape
        rows = torch.linspace(-1, 1, h, dtype=x.dtype).view(1, 1, h, 1).expand(n, 1, h, w)
        columns = torch.linspace(-1, 1, w, dtype=x.dtype).view(1, 1, 1, w).expand(n, 1, h, w)
        return torch.cat((rows, x, columns), 1)


class Excite(nn.Module):
    """Squeeze and excite, with convolutions or with linear layers."""

    def __init__(self, linear: bool) -> None:
        super().__init__()
        self.conv = conv(8, 8)
        self.reduce = nn.Linear(8, 4) if linear else nn.Conv2d(8, 4, 1)
        self.expand = nn.Linear(4, 8) if linear else nn.Conv2d(4, 8, 1)
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        pooled = F.adaptive_avg_pool2d(x, 1)
        if self.linear:
            pooled = pooled.view(x.shape[0], -1)
        gate = torch.sigmoid(self.expand(torch.relu(self.reduce(pooled))))
        return x * (gate.view(x.shape[0], x.shape[1], 1, 1) if self.linear else gate)


class UNet(nn.Module):
    """Down, up by interpolation, and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = conv(3, 8)
        self.down = conv(8, 10)
        self.across = conv(10, 10)
        self.up = conv(18, 6)
        self.out = nn.Conv2d(6, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = torch.relu(self.enter(x))
        coarse = torch.relu(self.down(F.max_pool2d(fine, 2)))
        coarse = coarse + torch.relu(self.across(coarse))
        coarse = F.interpolate(coarse, size=fine.shape[2:], mode="nearest")
        return self.out(torch.relu(self.up(torch.cat((fine, coarse), 1))))


class Siamese(nn.Module):
    """One stem for two inputs."""

    def __init__(self, batched: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU())
        self.body = conv(8, 6)
        self.head = nn.Linear(6, 3)
        self.batched = batched

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        if self.batched:
            a, b = self.stem(torch.cat((left, right), 0)).chunk(2, 0)
        else:
            a, b = self.stem(left), self.stem(right)
        return self.head(self.body((a - b).abs()).mean((2, 3)))


class ImageAndVector(nn.Module):
    """An image and a vector, concatenated late."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 8)
        self.linear = nn.Linear(5, 6)
        self.hidden = nn.Linear(14, 10)
        self.head = nn.Linear(10, 2)

    def forward(self, image: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        seen = torch.relu(self.conv(image)).mean((2, 3))
        told = torch.relu(self.linear(vector))
        return self.head(torch.relu(self.hidden(torch.cat((seen, told), 1))))


class TwoOutputs(nn.Module):
    """A class and a feature map, as a tuple or a dict."""

    def __init__(self, named: bool) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.side = conv(8, 6)
        self.deep = conv(8, 10)
        self.head = nn.Linear(10, 4)
        self.named = named

    def forward(self, x: torch.Tensor) -> object:
        x = torch.relu(self.stem(x))
        side = self.side(x)
        logits = self.head(torch.relu(self.deep(x)).mean((2, 3)))
        return {"logits": logits, "side": side} if self.named else (logits, side)


class Auxiliary(nn.Module):
    """A second head that is used in training mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.norm = nn.BatchNorm2d(8)
        self.body = conv(8, 10)
        self.aux = nn.Sequential(nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1))
        self.head = nn.Linear(10, 4)

    def forward(self, x: torch.Tensor) -> object:
        x = torch.relu(self.norm(self.stem(x)))
        logits = self.head(torch.relu(self.body(x)).mean((2, 3)))
        return (logits, self.aux(x).mean((2, 3))) if self.training else logits


class Written(nn.Module):
    """Write two results into the slices of a tensor of zeros."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.a = conv(8, 6)
        self.b = conv(8, 4)
        self.room = room

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.a(x), self.b(x)
        width = a.shape[1] + b.shape[1]
        out = x.new_zeros(x.shape[0], self.room or width, *x.shape[2:])
        out[:, : a.shape[1]] = a
        out[:, a.shape[1] : width] = b
        return out


class Stacked(nn.Module):
    """Stack two branches along a new dimension, and weigh them."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(8, 8)
        self.b = conv(8, 8)
        self.weigh = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = torch.stack((self.a(x), self.b(x)), 1)
        weights = torch.softmax(self.weigh(x.mean((2, 3))), 1)
        return (both * weights[:, :, None, None, None]).sum(1)


def _pair(generator: torch.Generator, batch: int) -> Inputs:
    return (
        torch.randn(batch, 3, 8, 8, generator=generator),
        torch.randn(batch, 3, 8, 8, generator=generator),
    )


def _image_and_vector(generator: torch.Generator, batch: int) -> Inputs:
    return (
        torch.randn(batch, 3, 8, 8, generator=generator),
        torch.randn(batch, 5, generator=generator),
    )


def _named(generator: torch.Generator, batch: int) -> Inputs:
    first, second = _image_and_vector(generator, batch)
    return {"vector": second, "image": first}


BRANCHES = [
    Case(
        "residual_identity",
        lambda: Between(nn.Sequential(Block(8, 8, "identity"), Block(8, 8, "identity"))),
        every_layer_but=("head",),
        coupled=(
            ("stem.weight", "middle.0.conv2.weight"),
            ("stem.weight", "middle.1.conv2.weight"),
            ("stem.weight", "tail.weight:1"),
        ),
    ),
    Case(
        "residual_projection",
        lambda: Between(Block(8, 12, "projection"), 8, 12),
        every_layer_but=("head",),
        coupled=(("middle.project.weight", "middle.conv2.weight"),),
    ),
    Case(
        "residual_padding",
        lambda: Between(Block(8, 12, "padding"), 8, 12),
        prunable=("stem.weight", "middle.conv1.weight", "tail.weight"),
        partly=("middle.conv2.weight", "tail.weight:1"),
    ),
    Case(
        "in_place",
        lambda: Between(InPlace()),
        every_layer_but=("head",),
        coupled=(("stem.weight", "middle.conv2.weight"),),
    ),
    Case("dense_block", lambda: Between(Dense(), 8, 20), every_layer_but=("head",)),
    Case(
        "coordinates",
        lambda: Between(Coordinates(), 8, 10),
        prunable=("stem.weight", "tail.weight"),
        partly=("tail.weight:1",),
    ),
    Case(
        "excite_conv",
        lambda: Between(Excite(linear=False)),
        every_layer_but=("head",),
        coupled=(("middle.conv.weight", "middle.expand.weight"),),
    ),
    Case(
        "excite_linear",
        lambda: Between(Excite(linear=True)),
        every_layer_but=("head",),
        coupled=(("middle.conv.weight", "middle.expand.weight"),),
    ),
    Case("unet", UNet, every_layer_but=("out",), coupled=(("down.weight", "across.weight"),)),
    Case(
        "siamese", lambda: Siamese(batched=False), _pair, prunable=("stem.0.weight", "body.weight")
    ),
    Case(
        "cat_over_batch",
        lambda: Siamese(batched=True),
        _pair,
        prunable=("stem.0.weight", "body.weight"),
    ),
    Case("tuple_inputs", ImageAndVector, _image_and_vector, every_layer_but=("head",)),
    Case("dict_inputs", ImageAndVector, _named, every_layer_but=("head",)),
    Case("tuple_outputs", lambda: TwoOutputs(named=False), every_layer_but=("head", "side")),
    Case("dict_outputs", lambda: TwoOutputs(named=True), every_layer_but=("head", "side")),
    Case(
        "auxiliary",
        Auxiliary,
        prunable=("stem.weight", "body.weight"),
        frozen={"head.weight": ""},
        coupled=(("stem.weight", "aux.0.weight:1"),),
    ),
    Case(
        "written",
        lambda: Between(Written(room=0), 8, 10),
        prunable=("stem.weight", "middle.a.weight", "middle.b.weight", "tail.weight"),
    ),
    Case(
        "written_literal",
        lambda: Between(Written(room=12), 8, 12),
        # the attribute that holds the room follows, and so do the channels that stay zero
        prunable=("stem.weight", "middle.a.weight", "middle.b.weight", "tail.weight:1"),
    ),
    Case(
        "stacked",
        lambda: Between(Stacked()),
        prunable=("stem.weight", "middle.a.weight", "tail.weight"),
        frozen={"middle.weigh.weight": ""},
        coupled=(("middle.a.weight", "middle.b.weight"),),
    ),
]
