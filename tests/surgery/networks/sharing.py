"""Networks with shared, bare, computed, unused or unusual parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from optprune.surgery.calling import Inputs

from .case import Case, image
from .layers import Between, conv


class Twice(nn.Module):
    """One convolution used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = conv(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.shared(torch.relu(self.shared(x))))


class TwoNames(nn.Module):
    """One parameter under two names, in a row (square) or side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(8, 6)
        self.b = conv(8, 6)
        self.b.weight = self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((self.a(x), torch.tanh(self.b(2 * x))), 1)


class TwoModuleNames(nn.Module):
    """One module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(conv(8, 8), nn.BatchNorm2d(8))
        self.second = self.first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(torch.relu(self.first(x)))


class TiedLinear(nn.Module):
    """An autoencoder whose decoder is the transpose of its encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(12, 8)
        self.bias = nn.Parameter(torch.randn(12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(torch.relu(self.encoder(x)), self.encoder.weight.t(), self.bias)


class TiedEmbedding(nn.Module):
    """Tokens in, scores of tokens out, with one table for both."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.hidden = nn.Linear(8, 12)
        self.back = nn.Linear(12, 8)
        self.score = nn.Linear(8, 11, bias=False)
        self.score.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        return self.score(x + self.back(torch.relu(self.hidden(x))))


class Bag(nn.Module):
    """The mean or maximum of a few rows of a table, as text classifiers have it."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(11, 8, mode=mode)
        self.score = nn.Linear(8, 5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.score(self.embedding(tokens))


class Bare(nn.Module):
    """Parameters without modules, used by functions."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(10, 3, 3, 3) / 3)
        self.offset = nn.Parameter(torch.randn(10))
        self.scale = nn.Parameter(torch.rand(10, 1, 1) + 0.5)
        self.position = nn.Parameter(torch.randn(1, 10, 8, 8))
        self.matrix = nn.Parameter(torch.randn(12, 10) / 3)
        self.product = nn.Parameter(torch.randn(12, 4) / 3)
        self.register_buffer("mask", torch.rand(10, 1, 1) + 0.5)
        self.mask: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.conv2d(x, self.kernel, self.offset, padding=1)
        x = torch.tanh(x * self.scale + self.position) * self.mask
        return F.silu(F.linear(x.mean((2, 3)), self.matrix)) @ self.product


class Einsum(nn.Module):
    """A 1x1 convolution written with einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(10, 8) / 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.einsum("bchw,oc->bohw", x, self.mix))


class Unused(nn.Module):
    """A parameter and a layer that forward never touches."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(8, 8)
        self.forgotten = nn.Parameter(torch.randn(8))
        self.idle = conv(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x))


class Buffers(nn.Module):
    """Per-channel tables: a buffer that is not saved, or a plain attribute."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        if plain:
            self.table = torch.linspace(0.5, 1.5, 8).view(8, 1, 1)
        else:
            self.register_buffer(
                "table", torch.linspace(0.5, 1.5, 8).view(8, 1, 1), persistent=False
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.table


class Tokens(nn.Module):
    """Attention or recurrence over positions."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        if isinstance(self.layer, nn.MultiheadAttention):
            tokens = tokens + self.layer(tokens, tokens, tokens, need_weights=False)[0]
        else:
            tokens = self.layer(tokens)[0]
        return tokens.transpose(1, 2).unflatten(2, x.shape[2:])


class WeightNormed(nn.Module):
    """A convolution with torch's own weight normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.utils.parametrizations.weight_norm(conv(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x))


def _tokens(generator: torch.Generator, batch: int) -> Inputs:
    return torch.randint(0, 11, (batch, 6), generator=generator)


SHARING = [
    Case(
        "used_twice",
        lambda: Between(Twice()),
        every_layer_but=("head",),
        coupled=(("middle.shared.weight", "middle.shared.weight:1"),),
    ),
    Case(
        "two_names",
        lambda: Between(TwoNames(), 8, 12),
        prunable=("stem.weight", "middle.a.weight", "middle.b.weight"),
        coupled=(("middle.a.weight", "middle.b.weight"),),
    ),
    Case("two_module_names", lambda: Between(TwoModuleNames()), every_layer_but=("head",)),
    Case("tied_linear", TiedLinear, image(12), prunable=("encoder.weight",)),
    Case(
        "tied_embedding",
        TiedEmbedding,
        _tokens,
        prunable=("embedding.weight:1", "score.weight:1", "hidden.weight", "back.weight"),
        frozen={"embedding.weight": ""},
    ),
    *(
        Case(
            f"bag_{mode}",
            lambda mode=mode: Bag(mode),
            _tokens,
            prunable=("embedding.weight:1", "score.weight:1"),
            frozen={"embedding.weight": "picked by their number", "score.weight": ""},
        )
        for mode in ("sum", "mean", "max")
    ),
    Case(
        "bare",
        Bare,
        prunable=("kernel", "offset", "scale", "position:1", "mask", "matrix"),
        frozen={"product:1": ""},
        coupled=(("kernel", "scale"), ("kernel", "matrix:1"), ("matrix", "product")),
    ),
    Case("einsum", lambda: Between(Einsum(), 8, 10), prunable=("stem.weight", "middle.mix")),
    Case("unused", lambda: Between(Unused()), prunable=("stem.weight", "middle.conv.weight")),
    Case("unsaved_buffer", lambda: Between(Buffers(plain=False)), prunable=("tail.weight",)),
    Case(
        "plain_table",
        lambda: Between(Buffers(plain=True)),
        prunable=("tail.weight",),
        frozen={"stem.weight": ""},
    ),
    Case("attention", lambda: Between(Tokens(nn.MultiheadAttention(8, 2, batch_first=True)))),
    Case("recurrent", lambda: Between(Tokens(nn.LSTM(8, 6, batch_first=True)), 8, 6)),
    Case("weight_normed", lambda: Between(WeightNormed())),
]
