"""Networks with something that surgery must leave alone and say why."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .case import Case
from .layers import Between


def mean_over_channels(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x.mean(1, keepdim=True))


def max_over_channels(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x.amax(1, keepdim=True) - 1)


def softmax_over_channels(x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x, 1)


def cumsum_over_channels(x: torch.Tensor) -> torch.Tensor:
    return torch.cumsum(x, 1)


def fourier_over_channels(x: torch.Tensor) -> torch.Tensor:
    return torch.fft.fft(x, dim=1).real


def sort_over_channels(x: torch.Tensor) -> torch.Tensor:
    return x.sort(1).values


def constant_table(x: torch.Tensor) -> torch.Tensor:
    return x + torch.arange(8, dtype=x.dtype).view(1, 8, 1, 1) / 8


def deviation_of_channels(x: torch.Tensor) -> torch.Tensor:
    return x + x.std(1, keepdim=True)


def l2_normalized(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(x, dim=1)


def divided_by_width(x: torch.Tensor) -> torch.Tensor:
    return x * 8 / x.shape[1]


def gram(x: torch.Tensor) -> torch.Tensor:
    flat = x.flatten(2)
    return (flat @ flat.transpose(1, 2) @ flat).view_as(x) / 100


def through_numpy(x: torch.Tensor) -> torch.Tensor:
    scale = x.detach().numpy().mean(1, keepdims=True)
    return x * torch.from_numpy(scale)


def branch_on_value(x: torch.Tensor) -> torch.Tensor:
    return x * 2 if float(x[:, 3].detach().sum()) > -1e9 else x


REFUSED = [
    Case("mean_over_channels", lambda: Between(mean_over_channels), frozen={"stem.weight": "mean"}),
    Case("max_over_channels", lambda: Between(max_over_channels), frozen={"stem.weight": "max"}),
    Case("softmax", lambda: Between(softmax_over_channels), frozen={"stem.weight": "softmax"}),
    Case("cumsum", lambda: Between(cumsum_over_channels), frozen={"stem.weight": "cumsum"}),
    Case("fourier", lambda: Between(fourier_over_channels), frozen={"stem.weight": "fft"}),
    Case("sort", lambda: Between(sort_over_channels), frozen={"stem.weight": "sort"}),
    Case("constant_table", lambda: Between(constant_table), frozen={"stem.weight": ""}),
    Case("deviation", lambda: Between(deviation_of_channels), frozen={"stem.weight": "std"}),
    Case("l2_normalized", lambda: Between(l2_normalized)),
    Case("divided_by_width", lambda: Between(divided_by_width), frozen={"stem.weight": ""}),
    Case("gram", lambda: Between(gram), prunable=("tail.weight",)),
    Case("through_numpy", lambda: Between(through_numpy), frozen={"stem.weight": ""}),
    Case("branch_on_value", lambda: Between(branch_on_value)),
    Case(
        "local_response",
        lambda: Between(nn.LocalResponseNorm(3, alpha=1.0)),
        frozen={"stem.weight": ""},
    ),
]
