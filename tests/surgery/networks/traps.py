"""Networks that are known to mislead surgery: shapes that collide, numbers in attributes, heads."""

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


class Sequence(nn.Module):
    """A linear layer for every position, something, a residual connection, and a head."""

    def __init__(
        self, mix: Callable[[torch.Tensor], torch.Tensor], width: int = 12, residual: bool = True
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(5, width)
        self.mix = mix
        self.head = nn.Linear(width, 4)
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.enter(x))
        return self.head(torch.tanh(x + self.mix(x) if self.residual else self.mix(x)))


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


class MixPositions(nn.Module):
    """A mixer whose tokens are as many as its channels."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.positions = nn.Sequential(nn.Linear(n, 6), nn.GELU(), nn.Linear(6, n))
        self.channels = nn.Sequential(nn.Linear(n, 10), nn.GELU(), nn.Linear(10, n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.positions(x.transpose(1, 2)).transpose(1, 2)
        return self.channels(x)


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


class Positions(nn.Module):
    """A table of positions, as a buffer made from the width, or made inside forward."""

    table: torch.Tensor

    def __init__(self, width: int, where: str) -> None:
        super().__init__()
        self.width = width
        self.where = where
        self.register_buffer("table", self.waves(width, 6), persistent=where == "saved")

    @staticmethod
    def waves(width: int, length: int) -> torch.Tensor:
        angles = torch.arange(length)[:, None] / 10 ** (torch.arange(width) / width)
        return torch.sin(angles)[None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.where == "shape":
            return x + self.waves(x.shape[-1], x.shape[1]).to(x)
        if self.where == "attribute":
            return x + self.waves(self.width, x.shape[1]).to(x)
        return x + self.table[:, : x.shape[1]]


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


class Attention(nn.Module):
    """Self-attention, its heads written in one of many ways."""

    def __init__(
        self,
        how: str = "fused",
        width: int = 12,
        heads: int = 3,
        groups: int | None = None,
        norm: Callable[[int], nn.Module] | None = None,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        self.how, self.heads = how, heads
        self.head_dim = width // heads
        self.scale = self.head_dim**-0.5
        if how.startswith("fused"):
            self.qkv = nn.Linear(width, 3 * width)
        else:
            self.groups = groups or heads
            inner = self.groups * self.head_dim
            self.q = nn.Linear(width, width)
            self.k, self.v = nn.Linear(width, inner), nn.Linear(width, inner)
        self.q_norm = norm(self.head_dim) if norm else nn.Identity()
        self.k_norm = norm(self.head_dim) if norm else nn.Identity()
        self.out = nn.Linear(width, width)
        self.rotary = rotary
        if rotary:
            angles = torch.arange(6)[:, None] / 3.0 ** torch.arange(self.head_dim // 2)
            self.register_buffer("cos", torch.cos(angles).repeat(1, 2))
            self.register_buffer("sin", torch.sin(angles).repeat(1, 2))
            self.cos: torch.Tensor
            self.sin: torch.Tensor

    def rotated(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, -1)
        return x * self.cos + torch.cat((-second, first), -1) * self.sin

    def projected(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        n, length, width = x.shape
        if self.how == "fused":
            qkv = self.qkv(x).reshape(n, length, 3, self.heads, self.head_dim)
            return qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.how == "fused_by_width":
            qkv = self.qkv(x).reshape(n, length, 3, self.heads, width // self.heads)
            return qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.how == "fused_chunk":
            parts = self.qkv(x).chunk(3, -1)
            return tuple(p.view(n, length, self.heads, -1).transpose(1, 2) for p in parts)
        if self.how == "fused_split":
            inner = self.heads * self.head_dim
            parts = self.qkv(x).split([inner, inner, inner], -1)
            return tuple(
                p.view(n, length, self.heads, self.head_dim).transpose(1, 2) for p in parts
            )
        heads = (self.heads, self.groups, self.groups)
        parts = (self.q(x), self.k(x), self.v(x))
        return tuple(
            p.view(n, length, h, self.head_dim).transpose(1, 2)
            for p, h in zip(parts, heads, strict=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.projected(x)
        q, k = self.q_norm(q), self.k_norm(k)
        if self.rotary:
            q, k = self.rotated(q), self.rotated(k)
        if self.how == "apart" and self.groups != self.heads:
            k = k.repeat_interleave(self.heads // self.groups, 1)
            v = v.repeat_interleave(self.heads // self.groups, 1)
        weights = torch.softmax(q @ k.transpose(-2, -1) * self.scale, -1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Window(nn.Module):
    """Attention within windows, with a bias for every head and pair of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention("fused", 12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        x = x.view(n, 2, length // 2, width).reshape(-1, length // 2, width)
        return self.attention(x).view(n, length, width)


class RMS(nn.Module):
    """Root mean square normalisation as language models write it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float() if x.dtype == torch.float16 else x
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6))


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


class ClassToken(nn.Module):
    """A token for the class, and positions that are learned."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.enter = nn.Linear(5, width)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 7, width))
        self.attention = Attention("fused", width)
        self.head = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.positions
        return self.head((x + self.attention(x))[:, 0])


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


class Unflattened(nn.Module):
    """Heads by `nn.Unflatten`, mixed, and flattened again."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(12, 24)
        self.heads = nn.Unflatten(-1, (4, 6))
        self.back = nn.Linear(24, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = self.heads(self.wide(x))
        return self.back((heads * torch.sigmoid(heads.sum(-1, keepdim=True))).flatten(-2))


class HiddenSize(nn.Module):
    """A reshape with the hidden size that the module remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden_dim = 10
        self.up, self.down = nn.Linear(12, 10), nn.Linear(10, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.up(x)).reshape(-1, self.hidden_dim)
        return self.down(x).reshape(-1, 6, self.down.out_features)


class GatedUnit(nn.Module):
    """The gated perceptron of language models, fused or apart."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        if fused:
            self.both = nn.Linear(12, 20)
        else:
            self.gate, self.up = nn.Linear(12, 10), nn.Linear(12, 10)
        self.down = nn.Linear(10, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.both(x).chunk(2, -1) if self.fused else (self.gate(x), self.up(x))
        return self.down(F.silu(gate) * up)


class Recurrent(nn.Module):
    """A recurrent layer in a sequence; its outputs, or its last states."""

    def __init__(self, cell: type[nn.RNNBase], states: bool = False, **options: Any) -> None:
        super().__init__()
        self.cell = cell(12, 8, batch_first=True, **options)
        width = options.get("proj_size") or 8
        both = options.get("bidirectional") and not states
        self.back = nn.Linear(width * (2 if both else 1), 12)
        self.states = states

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, states = self.cell(x)
        if self.states:
            hidden = states[0] if isinstance(states, tuple) else states
            return self.back(hidden[-1])[:, None]
        return self.back(outputs)


class Remembers(nn.Module):
    """Attention biases that are looked up once and kept in a dict."""

    index: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.head_dim = 3, 4
        self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 12)
        self.biases = nn.Parameter(torch.randn(3, 11))
        places = torch.arange(6)
        self.register_buffer("index", places[:, None] - places + 5, persistent=False)
        self.memory: dict[str, torch.Tensor] = {}

    def bias(self, device: torch.device) -> torch.Tensor:
        if self.training:
            return self.biases[:, self.index]
        if str(device) not in self.memory:
            self.memory[str(device)] = self.biases[:, self.index]
        return self.memory[str(device)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, _ = x.shape
        qkv = self.qkv(x).view(n, length, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = torch.softmax(q @ k.transpose(-2, -1) + self.bias(x.device), -1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


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
