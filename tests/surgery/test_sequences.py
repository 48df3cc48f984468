"""Numbers that modules remember, heads, norms by hand, recurrence: what leaves together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from .found import IMAGE, WORDS, Found
from .networks.case import image
from .networks.sequences import (
    RMS,
    Attention,
    ClassToken,
    GatedUnit,
    HiddenSize,
    Kernel,
    Recurrent,
    Remembers,
    Sequence,
    Unflattened,
    Window,
)
from .networks.traps import (
    Between,
    LayerNormByDeviation,
    LayerNormByHand,
    LiteralSplit,
    Pairs,
    ResponseNorm,
    SplitSizes,
    Standardized,
)


def test_sizes_of_parts_in_a_list_follow() -> None:
    for as_tuple in (False, True):
        found = Found(lambda as_tuple=as_tuple: Between(SplitSizes(as_tuple)), IMAGE)
        assert sorted(found.widths.values()) == [3, 4, 4, 5, 6]
        small, structure = found.half()
        kept = dict(zip(found.widths, structure.widths, strict=True))
        assert list(small.middle.sizes) == [kept["stem"], kept["stem#2"]]
        assert type(small.middle.sizes) is (tuple if as_tuple else list)
        assert found.traced.network.middle.sizes in ([3, 5], (3, 5))


def test_literal_sizes_of_parts_stay_with_their_line() -> None:
    found = Found(lambda: Between(LiteralSplit()), IMAGE)
    assert found.widths == {"tail": 6}
    assert "torch.split(x, [3, 5], dim=1)" in found.why("stem.weight")


def test_heads_by_unflatten_leave_whole() -> None:
    found = Found(lambda: Sequence(Unflattened()), WORDS)
    assert found.widths == {"enter": 12, "mix.wide": 4}
    small, structure = found.half()
    assert tuple(small.mix.heads.unflattened_size) == (structure.widths[1], 6)


def test_a_remembered_hidden_size_follows() -> None:
    found = Found(lambda: Sequence(HiddenSize()), WORDS)
    assert found.widths == {"enter": 12, "mix.up": 10}
    small, structure = found.half()
    assert small.mix.hidden_dim == structure.widths[1]
    assert small.mix.down.out_features == structure.widths[0]


@pytest.mark.parametrize("fused", [False, True])
def test_both_sides_of_a_gate_leave_together(fused: bool) -> None:
    found = Found(lambda: Sequence(GatedUnit(fused)), WORDS)
    assert sorted(found.widths.values()) == [10, 12]
    if fused:
        both = found.units("mix.both.weight").reshape(2, 10)
        assert np.array_equal(both[0], both[1])
    else:
        assert found.together("mix.gate.weight", "mix.up.weight", "mix.down.weight:1")


@pytest.mark.parametrize("how", ["fused", "fused_chunk", "fused_split"])
def test_heads_of_a_fused_projection_leave_whole(how: str) -> None:
    found = Found(lambda: Sequence(Attention(how)), WORDS)
    assert found.widths == {"enter": 12, "mix.qkv": 3}
    heads = found.units("mix.qkv.weight").reshape(3, 3, 4)
    assert (heads == heads[:1, :, :1]).all()
    assert np.array_equal(heads[0].reshape(-1), found.units("mix.out.weight:1"))
    small, structure = found.half()
    assert small.mix.heads == structure.widths[1]
    assert small.mix.head_dim == 4
    assert small.mix.qkv.out_features == 12 * structure.widths[1]


def test_a_head_size_computed_from_the_width_ties_heads_to_it() -> None:
    found = Found(lambda: Sequence(Attention("fused_by_width")), WORDS)
    assert found.widths == {"enter": 3}
    assert (found.units("enter.weight").reshape(3, 4).std(axis=1) == 0).all()


@pytest.mark.parametrize("how", ["channels", "fused_kernel", "cosine", "bias"])
def test_heads_leave_whole_whatever_attention_they_make(how: str) -> None:
    found = Found(lambda: Sequence(Kernel(how)), WORDS)
    assert found.goes("enter.weight", "mix.q.weight", "mix.k.weight", "mix.v.weight")
    heads = found.units("mix.v.weight").reshape(3, 4)
    assert (heads == heads[:, :1]).all()
    assert np.array_equal(heads[:, 0], found.units("mix.q.weight").reshape(3, 4)[:, 0])


@pytest.mark.parametrize("how", ["linear", "width"])
def test_without_heads_single_channels_of_queries_and_values_leave(how: str) -> None:
    found = Found(lambda: Sequence(Kernel(how)), WORDS)
    assert found.together("mix.q.weight", "mix.k.weight")
    assert found.together("mix.v.weight", "mix.out.weight:1")
    assert not np.intersect1d(found.units("mix.q.weight"), found.units("mix.v.weight")).size


def test_a_scale_from_the_shape_keeps_what_it_is_taken_from() -> None:
    found = Found(lambda: Sequence(Kernel("shape")), WORDS, tried=True)
    assert found.stays("mix.q.weight", "mix.k.weight")
    assert found.goes("mix.v.weight")


def test_attention_in_windows_is_narrowed_as_any_other() -> None:
    found = Found(lambda: Sequence(Window()), WORDS)
    assert found.widths == {"enter": 12, "mix.attention.qkv": 3}


@pytest.mark.parametrize(("groups", "each"), [(2, 3), (3, 2)])
def test_queries_that_share_keys_leave_with_them(groups: int, each: int) -> None:
    found = Found(lambda: Sequence(Attention("apart", 24, 6, groups), 24), WORDS)
    assert found.widths == {"enter": 24, "mix.q": groups}
    assert np.array_equal(
        found.units("mix.q.weight"),
        np.repeat(found.units("mix.k.weight").reshape(groups, 4)[:, 0], 4 * each),
    )
    small, structure = found.half()
    assert (small.mix.heads, small.mix.groups) == (
        each * structure.widths[1],
        structure.widths[1],
    )


@pytest.mark.parametrize("how", ["fused", "apart"])
@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm, RMS])
def test_norms_of_queries_and_keys_keep_the_head_size(
    how: str, norm: Callable[[int], nn.Module]
) -> None:
    found = Found(lambda: Sequence(Attention(how, norm=norm)), WORDS)
    assert sorted(found.widths.values()) == [3, 12]
    assert found.stays("mix.q_norm.weight", "mix.k_norm.weight")


@pytest.mark.parametrize("how", ["fused", "apart"])
def test_rotary_tables_keep_the_head_size_and_not_the_heads(how: str) -> None:
    found = Found(lambda: Sequence(Attention(how, rotary=True)), WORDS)
    assert sorted(found.widths.values()) == [3, 12]
    assert found.stays("mix.cos", "mix.cos:1", "mix.sin", "mix.sin:1")


def test_all_of_a_language_model_at_once() -> None:
    def build() -> nn.Module:
        attention = Attention("apart", 24, 6, 2, norm=RMS, rotary=True)
        return Sequence(nn.Sequential(RMS(24), attention), 24)

    found = Found(build, WORDS)
    assert found.widths == {"enter": 24, "mix.1.q": 2}


def test_a_class_token_and_positions_leave_with_the_width() -> None:
    found = Found(ClassToken, WORDS)
    assert found.widths == {"enter": 12, "attention.qkv": 3}
    assert found.together("enter.weight", "token:2", "positions:2", "attention.out.weight")
    assert found.stays("positions:1")


@pytest.mark.parametrize("norm", [RMS, nn.RMSNorm])
def test_root_mean_square_normalisation_is_over_the_kept(norm: Callable[[int], nn.Module]) -> None:
    found = Found(lambda: Sequence(norm(12)), WORDS)
    assert found.widths == {"enter": 12}
    assert found.together("enter.weight", "mix.weight")
    assert found.graph.statistics


@pytest.mark.parametrize("norm", [LayerNormByHand, LayerNormByDeviation, ResponseNorm])
def test_normalisation_by_hand_is_over_the_kept(norm: Callable[[int], nn.Module]) -> None:
    found = Found(lambda: Between(norm(8)), IMAGE)
    assert found.widths == {"stem": 8, "tail": 6}
    assert found.together("stem.weight", "middle.weight", "middle.bias")
    assert found.graph.statistics


def test_kernels_standardised_in_forward_are_so_over_the_kept() -> None:
    found = Found(lambda: Between(Standardized(8, 8, 3, padding=1)), IMAGE)
    assert found.goes("stem.weight", "middle.weight", "middle.weight:1", "tail.weight")
    assert found.together("stem.weight", "middle.weight:1")
    small, _ = found.half()
    x = torch.randn(2, small.middle.in_channels, 8, 8)
    kernel = small.middle.weight.detach()
    rows = kernel.flatten(1)
    rows = (rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + 1e-3)
    expected = F.conv2d(x, rows.view_as(kernel), small.middle.bias, padding=1)
    torch.testing.assert_close(small.middle(x), expected)


def test_a_bilinear_layer_follows_both_inputs() -> None:
    found = Found(Pairs, image(12))
    assert found.together("first.weight", "first.bias", "meet.weight:1")
    assert found.together("second.weight", "second.bias", "meet.weight:2")
    assert found.together("meet.weight", "meet.bias", "head.weight:1")
    assert found.goes("first.weight", "second.weight", "meet.weight")
    small, structure = found.half()
    first, second, meet = (
        small.get_submodule(name).weight.shape[0] for name in ("first", "second", "meet")
    )
    assert (first, second, meet) != (8, 6, 10)
    macs = 12 * first + 12 * second + meet * first * second + 5 * meet
    assert found.graph.costs.macs(structure.widths)[0] == macs


CELLS = [
    (cell, {**layers, **both, **projected})
    for cell in (nn.LSTM, nn.GRU, nn.RNN)
    for layers in ({}, {"num_layers": 2})
    for both in ({}, {"bidirectional": True})
    for projected in ({}, {"proj_size": 6})
    if cell is nn.LSTM or not projected
]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
@pytest.mark.parametrize("states", [False, True], ids=["outputs", "states"])
@pytest.mark.parametrize(("cell", "options"), CELLS)
def test_recurrent_layers_are_narrowed(
    cell: type[nn.RNNBase], options: dict[str, Any], states: bool
) -> None:
    found = Found(lambda: Sequence(Recurrent(cell, states, **options)), WORDS)
    expected = [6, 12] if "proj_size" in options else [8, 12]
    assert sorted(found.widths.values()) == expected
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[cell]
    rows = found.units("mix.cell.weight_ih_l0").reshape(gates, 8)
    assert (rows == rows[:1]).all()
    small, structure = found.half()
    kept = dict(zip(found.widths, structure.widths, strict=True))
    assert small.mix.cell.input_size == kept["enter"]
    assert small.mix.cell.hidden_size == len(structure.kept[rows[0]].nonzero()[0])


def test_what_is_kept_in_a_dict_is_forgotten() -> None:
    found = Found(lambda: Sequence(Remembers()), WORDS)
    assert found.widths == {"enter": 12, "mix.qkv": 3}
    assert found.graph.caches == ("mix.memory",)
    small, structure = found.half()
    assert small.mix.memory == {}
    small(found.traced.case.example())
    assert small.mix.memory["cpu"].shape == (structure.widths[1], 6, 6)
