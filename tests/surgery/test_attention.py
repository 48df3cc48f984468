"""Attention of torch's own: the narrow layer computes the same, and is narrowed in every form."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from optprune.surgery.modules import MultiheadAttention, replace_classes

from .found import WORDS, Found
from .networks.sequences import (
    Sequence,
)

ATTENTION: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch_first": {"batch_first": True},
    "without_bias": {"bias": False},
    "other_sizes": {"kdim": 5, "vdim": 7, "batch_first": True},
    "bias_kv": {"add_bias_kv": True},
    "zero_attn": {"add_zero_attn": True, "batch_first": True},
    "all": {"kdim": 5, "vdim": 7, "add_bias_kv": True, "add_zero_attn": True},
}


MASKS: dict[str, Callable[[int, int, int], dict[str, Any]]] = {
    "none": lambda n, q, k: {},
    "square": lambda n, q, k: {"attn_mask": torch.randn(q, k)},
    "boolean": lambda n, q, k: {"attn_mask": torch.ones(q, k).triu(1).bool()},
    "causal": lambda n, q, k: {"attn_mask": torch.ones(q, k).triu(1).bool(), "is_causal": True},
    "every_head": lambda n, q, k: {"attn_mask": torch.randn((n or 1) * 3, q, k)},
    "padding": lambda n, q, k: {"key_padding_mask": (torch.arange(k) > 2).expand(n or 1, k)},
    "both": lambda n, q, k: {
        "key_padding_mask": (torch.arange(k) > 3).expand(n or 1, k),
        "attn_mask": torch.ones(q, k).triu(1).bool(),
    },
}


@pytest.mark.parametrize("samples", [4, 0], ids=["batched", "unbatched"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("options", ATTENTION)
def test_narrow_attention_computes_what_torchs_own_does(
    options: str, mask: str, samples: int
) -> None:
    extra_keys = {"add_bias_kv", "add_zero_attn"} & ATTENTION[options].keys()
    if mask == "causal" and extra_keys:
        pytest.skip("torch's own hides the extra keys then, but not when it returns weights")
    torch.manual_seed(0)
    original = nn.MultiheadAttention(12, 3, **ATTENTION[options]).eval()
    for parameter in original.parameters():
        nn.init.normal_(parameter, std=0.5)
    ours = copy.deepcopy(original)
    replace_classes(ours)
    assert type(ours) is MultiheadAttention
    for n_queries, n_keys, self_attention in ((4, 5, False), (5, 5, True)):
        if self_attention and "kdim" in ATTENTION[options]:
            continue
        query = torch.randn(samples or 1, n_queries, 12)
        key = torch.randn(samples or 1, n_keys, ATTENTION[options].get("kdim", 12))
        value = torch.randn(samples or 1, n_keys, ATTENTION[options].get("vdim", 12))
        if not samples:
            query, key, value = query[0], key[0], value[0]
        elif "batch_first" not in ATTENTION[options]:
            query, key, value = (t.transpose(0, 1).contiguous() for t in (query, key, value))
        if self_attention:
            key = value = query
        given = MASKS[mask](samples, n_queries, n_keys)
        if not samples and "key_padding_mask" in given:
            given["key_padding_mask"] = given["key_padding_mask"][0]
        for weights in ({}, {"need_weights": False}, {"average_attn_weights": False}):
            expected = original(query, key, value, **given, **weights)
            found = ours(query, key, value, **given, **weights)
            assert (expected[1] is None) == (found[1] is None)
            for one, other in zip(expected, found, strict=True):
                if one is not None:
                    torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-6)


class Crossed(nn.Module):
    """Attention of torch's own, from words to other words."""

    def __init__(self, masked: bool = False, own: bool = True, **options: Any) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(12, 3, **options)
        self.first = self.layer.batch_first
        self.keys = nn.Linear(12, options.get("kdim") or 12)
        self.values = nn.Linear(12, options.get("vdim") or 12)
        self.masked, self.own = masked, own

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.first else x.transpose(0, 1)
        key, value = (x, x) if self.own else (self.keys(x), self.values(x))
        length = x.shape[1 if self.first else 0]
        mask = torch.ones(length, length).triu(1).bool() if self.masked else None
        x = self.layer(x, key, value, attn_mask=mask, need_weights=self.masked)[0]
        return x if self.first else x.transpose(0, 1)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("own", "options"),
    [
        (True, {}),
        (True, {"batch_first": True}),
        (True, {"batch_first": True, "bias": False}),
        (True, {"add_bias_kv": True, "add_zero_attn": True}),
        (False, {"batch_first": True}),
        (False, {"batch_first": True, "kdim": 10, "vdim": 8}),
    ],
)
def test_torchs_attention_is_narrowed_in_every_form(
    masked: bool, own: bool, options: dict[str, Any]
) -> None:
    found = Found(lambda: Sequence(Crossed(masked, own, **options)), WORDS)
    assert found.goes("enter.weight", "mix.layer.out_proj.weight", "mix.layer.out_proj.weight:1")
    assert 3 in found.widths.values()
    small, structure = found.half()
    heads = found.units("mix.layer.out_proj.weight:1").reshape(3, 4)
    assert (heads == heads[:, :1]).all()
    assert small.mix.layer.num_heads == structure.kept[heads[:, 0]].sum()
    assert small.mix.layer.head_dim == 4
    assert type(found.traced.network.mix.layer) is nn.MultiheadAttention
