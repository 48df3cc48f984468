"""Networks of sequences: heads, positions, recurrence, and numbers that modules remember."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


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


class MixPositions(nn.Module):
    """A mixer whose tokens are as many as its channels."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.positions = nn.Sequential(nn.Linear(n, 6), nn.GELU(), nn.Linear(6, n))
        self.channels = nn.Sequential(nn.Linear(n, 10), nn.GELU(), nn.Linear(10, n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.positions(x.transpose(1, 2)).transpose(1, 2)
        return self.channels(x)


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


class Kernel(nn.Module):
    """Queries, keys and values apart, and what is done with them."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.heads, self.head_dim, self.width = how, 3, 4, 12
        self.q, self.k, self.v = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 12)
        self.out = nn.Linear(12, 12)
        self.bias, self.temperature = nn.Parameter(torch.randn(3)), nn.Parameter(torch.rand(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.how == "linear":
            return self.out(torch.relu(q) @ (torch.relu(k).transpose(1, 2) @ v))
        if self.how == "width":
            return self.out(torch.softmax(q @ k.transpose(1, 2) * self.width**-0.5, -1) @ v)
        if self.how == "shape":
            return self.out(torch.softmax(q @ k.transpose(1, 2) * q.shape[-1] ** -0.5, -1) @ v)
        n, length, _ = x.shape
        q, k, v = (t.view(n, length, self.heads, self.head_dim) for t in (q, k, v))
        if self.how == "channels":
            q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
            weights = torch.einsum("nlhd,nlhe->nhde", q, k) * self.temperature[:, None, None]
            return self.out(torch.einsum("nhde,nlhe->nlhd", weights.softmax(-1), v).flatten(2))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        if self.how == "fused_kernel":
            return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        if self.how == "cosine":
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        weights = q @ k.transpose(-2, -1) + self.bias[:, None, None]
        return self.out((weights.softmax(-1) @ v).transpose(1, 2).reshape(n, length, -1))


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
