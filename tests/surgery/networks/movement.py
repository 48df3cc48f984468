"""Networks that move channels about: shuffle, split, slice, repeat, fold."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .case import Case
from .layers import Between, ConvTail, conv


def shuffle(x: torch.Tensor) -> torch.Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def gate(x: torch.Tensor) -> torch.Tensor:
    a, b = x.chunk(2, 1)
    return a * torch.sigmoid(b)


def halves_by_shape(x: torch.Tensor) -> torch.Tensor:
    half = x.shape[1] // 2
    return x[:, :half] * torch.tanh(x[:, half:])


def split_by_shape(x: torch.Tensor) -> torch.Tensor:
    a, b = torch.split(x, x.shape[1] // 2, 1)
    return a + 2 * b


def split_in_four(x: torch.Tensor) -> torch.Tensor:
    a, b = x.split(4, 1)
    return a - b


def literal_slice(x: torch.Tensor) -> torch.Tensor:
    return torch.cat((torch.tanh(x[:, 4:]), x[:, :4]), 1)


def literal_view(x: torch.Tensor) -> torch.Tensor:
    n, _, h, w = x.shape
    x = x.view(n, 2, 8, h, w)
    return x[:, 0] - 2 * x[:, 1]


def view_with_rest(x: torch.Tensor) -> torch.Tensor:
    return x.view(x.shape[0], 8, 8, -1)


def empty_prefix(x: torch.Tensor) -> torch.Tensor:
    """As rotary embeddings pass prefix tokens by, where there are none."""
    return torch.cat((x[..., :0, :], torch.tanh(x[..., 0:, :])), 2)


def empty_channels(x: torch.Tensor) -> torch.Tensor:
    return torch.cat((x[:, :0], torch.tanh(x)), 1)


def every_second(x: torch.Tensor) -> torch.Tensor:
    return x[:, ::2] + 3 * x[:, 1::2]


def every_second_apart(x: torch.Tensor) -> torch.Tensor:
    return torch.cat((torch.tanh(x[:, ::2]), x[:, 1::2]), 1)


def roll_by_two(x: torch.Tensor) -> torch.Tensor:
    return torch.roll(x, 2, 1)


def flip(x: torch.Tensor) -> torch.Tensor:
    return x.flip(1)


def repeat(x: torch.Tensor) -> torch.Tensor:
    return x.repeat(1, 2, 1, 1)


def repeat_interleaved(x: torch.Tensor) -> torch.Tensor:
    return x.repeat_interleave(2, 1)


def with_its_mean(x: torch.Tensor) -> torch.Tensor:
    return torch.cat((x, x.mean((2, 3), keepdim=True).expand_as(x)), 1)


def sum_over_channels(x: torch.Tensor) -> torch.Tensor:
    return torch.cat((x, x.sum(1, keepdim=True)), 1)


def permuted(x: torch.Tensor) -> torch.Tensor:
    return x[:, torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])]


def where_positive(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0.5, x, 0.1 * x).masked_fill(x > 2, 2.0)


def channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1).contiguous().flatten(1, 2).transpose(1, 2).unflatten(2, (8, 8))


class Gate(nn.Module):
    """The gate as a module."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return gate(x)


class ChunkApart(nn.Module):
    """Chunk, treat the halves differently, concatenate."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(4, 6)
        self.b = conv(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, 1)
        return torch.cat((self.a(a), torch.tanh(self.b(b))), 1)


class SplitLiteral(nn.Module):
    """Split into three and five channels, by numbers in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(3, 6)
        self.b = conv(5, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = torch.split(x, [3, 5], 1)
        return self.a(a) + self.b(b)


class SplitAttribute(nn.Module):
    """Split off a quarter of the channels, as many as the convolution for them takes."""

    def __init__(self) -> None:
        super().__init__()
        self.part = conv(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        few = self.part.in_channels
        a, b = torch.split(x, [few, x.shape[1] - few], 1)
        return torch.cat((self.part(a), b), 1)


MOVEMENT = [
    Case("shuffle", lambda: Between(shuffle), prunable=("stem.weight", "tail.weight")),
    Case(
        "shuffle_grouped",
        lambda: Between(
            nn.Sequential(conv(8, 8, groups=2), nn.ChannelShuffle(2), conv(8, 8, groups=2))
        ),
        prunable=("stem.weight", "middle.0.weight", "middle.2.weight"),
    ),
    Case("chunk_gate", lambda: Between(gate, 16), prunable=("stem.weight",)),
    Case("glu", lambda: Between(nn.GLU(1), 16)),
    Case("chunk_apart", lambda: Between(ChunkApart(), 8, 12), prunable=("middle.a.weight",)),
    Case("halves_by_shape", lambda: Between(halves_by_shape, 16), prunable=("stem.weight",)),
    Case("split_by_shape", lambda: Between(split_by_shape, 16), prunable=("stem.weight",)),
    Case(
        "split_literal",
        lambda: Between(SplitLiteral(), 8, 6),
        prunable=("middle.a.weight", "middle.b.weight", "tail.weight"),
        frozen={"stem.weight": "split"},
        coupled=(("middle.a.weight", "middle.b.weight"),),
    ),
    Case("split_attribute", lambda: Between(SplitAttribute()), prunable=("tail.weight",)),
    Case("split_in_four", lambda: Between(split_in_four, 8, 4), frozen={"stem.weight": "split"}),
    Case("literal_slice", lambda: Between(literal_slice), frozen={"stem.weight": "slice"}),
    Case("literal_view", lambda: Between(literal_view, 16), frozen={"stem.weight": "view"}),
    Case("view_with_rest", lambda: Between(view_with_rest), frozen={"stem.weight": ""}),
    Case("empty_prefix", lambda: Between(empty_prefix), prunable=("stem.weight",)),
    Case("empty_channels", lambda: Between(empty_channels)),
    Case("every_second", lambda: Between(every_second, 16), prunable=("stem.weight",)),
    Case("every_second_apart", lambda: Between(every_second_apart), prunable=("stem.weight",)),
    Case("roll", lambda: Between(roll_by_two), prunable=("tail.weight",)),
    Case("flip", lambda: Between(flip), prunable=("stem.weight",)),
    Case("repeat", lambda: Between(repeat, 8, 16), prunable=("stem.weight",)),
    Case("repeat_interleaved", lambda: Between(repeat_interleaved, 8, 16)),
    Case("expand_as", lambda: Between(with_its_mean, 8, 16), prunable=("stem.weight",)),
    Case("sum_over_channels", lambda: Between(sum_over_channels, 8, 9), prunable=("stem.weight",)),
    Case("permuted", lambda: Between(permuted), frozen={"stem.weight": ""}),
    Case("where", lambda: Between(where_positive), prunable=("stem.weight",)),
    Case("channels_last", lambda: Between(channels_last), prunable=("stem.weight",)),
    Case(
        "pixel_shuffle",
        lambda: Between(nn.PixelShuffle(2), 16, 4),
        prunable=("stem.weight", "tail.weight", "tail.weight:1"),
    ),
    Case(
        "pixel_unshuffle",
        lambda: Between(nn.PixelUnshuffle(2), 4, 16),
        prunable=("stem.weight", "tail.weight:1"),
    ),
    Case(
        "unfold",
        lambda: Between(lambda x: F.unfold(x, 3, padding=1).unflatten(2, x.shape[2:]), 4, 36),
    ),
    Case(
        "grouped_then_chunk",
        lambda: Between(nn.Sequential(ConvTail(conv(8, 16, groups=4)), Gate())),
    ),
]
