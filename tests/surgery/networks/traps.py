"""Networks that are known to mislead surgery: shapes that collide, constants, writes in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .layers import conv


class Between(nn.Module):
    """A convolution, something, and a convolution with a head."""

    def __init__(
        self, middle: Callable[[torch.Tensor], torch.Tensor], width: int = 8, tail: int = 8
    ) -> None:
        super().__init__()
        self.stem = conv(3, width)
        self.middle = middle
        self.tail = conv(tail, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.tail(self.middle(torch.tanh(self.stem(x)))))
        return self.head(x.mean((2, 3)))


class Scaled(nn.Module):
    """A scale for every channel, brought into shape in several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.width = 8
        self.scale = nn.Parameter(torch.rand(8) + 0.5)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shapes: Mapping[str, Callable[[], torch.Tensor]] = {
            "rest": lambda: self.scale.view(1, -1, 1, 1),
            "shape": lambda: self.scale.view(1, x.shape[1], 1, 1),
            "attribute": lambda: self.scale.reshape(1, self.width, 1, 1),
            "index": lambda: self.scale[None, :, None, None],
            "expanded": lambda: self.scale.view(-1, 1, 1).expand(-1, *x.shape[2:]),
            "transposed": lambda: self.scale.unsqueeze(0).t().unsqueeze(-1),
            "literal": lambda: self.scale.view(1, 8, 1, 1),
        }
        return x * shapes[self.how]()


class PairTable(nn.Module):
    """Scale and shift of every channel in one flat parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.rand(16) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale, shift = self.table.view(2, -1)
        return x * scale[:, None, None] + shift[:, None, None]


class SpatialGate(nn.Module):
    """A gate of one channel for all."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = conv(8, 1)
        self.scale = nn.Parameter(torch.rand(1, 1, 1) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.gate(x)) * self.scale


class Padded(nn.Module):
    """A shortcut with zeros for the channels that are new."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv = conv(8, 12)
        self.extra = 4
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv(x)
        n, c, h, w = x.shape
        if self.how == "attribute":
            zeros = x.new_zeros(n, self.extra, h, w)
        elif self.how == "shapes":
            zeros = x.new_zeros(n, out.shape[1] - c, h, w)
        elif self.how == "pad":
            return out + F.pad(x, (0, 0, 0, 0, 0, out.shape[1] - c))
        else:
            zeros = torch.zeros(n, 4, h, w, dtype=x.dtype)
        return out + torch.cat((x, zeros), 1)


class Masked(nn.Module):
    """A mask of whole numbers or booleans for every channel."""

    mask: torch.Tensor

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("mask", (torch.arange(8) % 3 > 0).to(dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.mask.view(-1, 1, 1)


class Anchors(nn.Module):
    """A grid of the image's size beside channels that are as many."""

    grid: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(-1, 1, 64).view(1, 1, 8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x, self.grid.expand(x.shape[0], -1, -1, -1)), 1)


class Pairs(nn.Module):
    """Two views of an input that meet in a bilinear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 8), nn.Linear(12, 6)
        self.meet = nn.Bilinear(8, 6, 10)
        self.head = nn.Linear(10, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.meet(self.first(x).tanh(), self.second(x).tanh())))


class LayerNormByHand(nn.Module):
    """Layer normalisation over the channels of an image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)
        self.bias = nn.Parameter(torch.randn(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class Standardized(nn.Conv2d):
    """A convolution that standardises its weight in forward."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        deviation = self.weight.std((1, 2, 3), keepdim=True)
        weight = (self.weight - mean) / (deviation + 1e-3)
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class LayerNormByDeviation(nn.Module):
    """Layer normalisation as the annotated transformer writes it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)
        self.bias = nn.Parameter(torch.randn(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        deviation, mean = torch.std_mean(x, 1, keepdim=True)
        x = (x - mean) / (deviation + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class ResponseNorm(nn.Module):
    """Global response normalisation of ConvNeXt-V2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width))
        self.bias = nn.Parameter(torch.randn(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norms = x.norm(p=2, dim=(2, 3), keepdim=True)
        normal = norms / (norms.mean(1, keepdim=True) + 1e-6)
        return x + self.bias[:, None, None] + self.weight[:, None, None] * (x * normal)


class SplitSizes(nn.Module):
    """Channels in parts whose sizes are a list in an attribute."""

    def __init__(self, as_tuple: bool) -> None:
        super().__init__()
        self.sizes: Any = (3, 5) if as_tuple else [3, 5]
        self.first, self.second = conv(3, 4), conv(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = torch.split(x, self.sizes, dim=1)
        return torch.cat((self.first(first), self.second(second)), 1)


class LiteralSplit(nn.Module):
    """Channels in parts whose sizes are written in the code."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = torch.split(x, [3, 5], dim=1)
        return torch.cat((torch.tanh(second), first), 1)


class Chooses(nn.Module):
    """Code that decides by the values of channels."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.first, self.second = conv(8, 8), conv(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "branch":
            return self.first(x) if x.mean() > -2 else self.second(x)
        if self.how == "strongest":
            best = x.mean((0, 2, 3)).topk(8).indices
            return self.first(x[:, best])
        if self.how == "alive":
            alive = (x.abs().amax((0, 2, 3)) > 0).nonzero().flatten()
            return self.first(x.index_select(1, alive))
        steps = int(x.detach().abs().sum() > 0) + 1
        for _ in range(steps):
            x = self.first(x)
        return x


class InPlace(nn.Module):
    """Writes into tensors and into parts of them."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv = conv(8, 8)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv(x)
        if self.how == "whole":
            return out.mul_(0.5).add_(x).clamp_(-1, 1)
        if self.how == "halves":
            first, second = out.chunk(2, 1)
            first.tanh_()
            second.mul_(first)
            return out
        if self.how == "half_of_shape":
            out[:, : x.shape[1] // 2] += 1
            return out
        if self.how == "one":
            out[:, 0] = 0
            return out
        if self.how == "literal":
            out[:, :3] *= 2
            return out
        if self.how == "other":
            out[:, 1:] += x[:, :-1]
            return out
        out[out < 0] = 0
        return out


class MadeInside(nn.Module):
    """Tensors made inside forward, in the size of the channels."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv = conv(8, 8)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        channels = x.shape[1]
        if self.how == "blur":
            return F.conv2d(x, x.new_full((channels, 1, 3, 3), 1 / 9), padding=1, groups=channels)
        if self.how == "ones":
            return x * torch.ones(channels, 1, 1, dtype=x.dtype)
        if self.how == "identity":
            return torch.einsum("nchw,cd->ndhw", x, torch.eye(channels, dtype=x.dtype))
        if self.how == "ramp":
            return x + torch.arange(channels, dtype=x.dtype).view(-1, 1, 1)
        if self.how == "ramp_by_attribute":
            return x + torch.linspace(0, 1, self.conv.out_channels, dtype=x.dtype).view(-1, 1, 1)
        if self.how == "like":
            return x + torch.full_like(x, 0.5) * torch.zeros_like(x)
        return torch.cat((x, torch.ones_like(x[:, :1])), 1)[:, :-1]
