"""Known traps: what each network lets go, what it keeps and why, and that both are exact."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.surgery import Structure, cut, trace
from optprune.surgery.modules import MultiheadAttention, replace_classes
from optprune.testing import removed_versus_zeroed

from .conftest import Traced
from .networks import Case
from .networks.case import Draw, image
from .networks.layers import conv
from .networks.traps import (
    RMS,
    Anchors,
    Attention,
    Between,
    Chooses,
    ClassToken,
    GatedUnit,
    HiddenSize,
    InPlace,
    LayerNormByHand,
    LiteralSplit,
    MadeInside,
    Masked,
    MixPositions,
    Padded,
    PairTable,
    Positions,
    Recurrent,
    Remembers,
    ResponseNorm,
    Scaled,
    Sequence,
    SpatialGate,
    SplitSizes,
    Unflattened,
    Window,
)
from .oracle import (
    check_attributes,
    check_removed_equals_zeroed,
    random_structure,
    size_of,
    split_name,
    units_of,
)

IMAGE = image(3, 8, 8)
WORDS = image(6, 5)


class Found:
    """A network, its graph, and whether dimensions are prunable."""

    def __init__(self, build: Callable[[], nn.Module], inputs: Draw, *, tried: bool = False):
        case = Case("trap", build, inputs)
        network = case.network()
        self.graph = trace(network, case.example())
        self.traced = Traced(case, network, self.graph)
        self.widths = {group.name: group.width for group in self.graph.groups}
        # the labels know it all: nothing had to be found out by trial
        assert tried or not [g for g in self.graph.frozen if g.operation == "verify"]
        self._check_exact()

    def _check_exact(self) -> None:
        case, network, graph = self.traced.case, self.traced.network, self.graph
        for seed in (11, 12) if graph.n_groups else ():
            assert removed_versus_zeroed(network, case.example(3, 5), graph, seed) < 1e-8
        for seed, how in enumerate(("half", "few", "widths")):
            structure = random_structure(graph, seed, how)
            dense = copy.deepcopy(network).double()
            small = cut(dense, graph, structure)
            check_attributes(small)
            if not graph.statistics:
                check_removed_equals_zeroed(case, dense, small, graph, structure)
            parameters = sum(parameter.numel() for parameter in small.parameters())
            assert graph.costs.parameters(structure.widths)[0] == parameters

    def units(self, dimension: str) -> np.ndarray:
        size = size_of(self.traced.network, dimension)
        return units_of(self.graph, dimension, size)

    def goes(self, *dimensions: str) -> bool:
        """Whether all of these can be narrowed, each of their indices."""
        return all((self.units(dimension) >= 0).all() for dimension in dimensions)

    def stays(self, *dimensions: str) -> bool:
        """Whether none of these has an index that can go."""
        return all((self.units(dimension) < 0).all() for dimension in dimensions)

    def why(self, dimension: str) -> str:
        """What is said of a dimension that stays: reason, operation, line."""
        tensor, dim = split_name(dimension)
        return " | ".join(
            f"{group.reason}, {group.operation}, {group.line}"
            for group in self.graph.frozen
            if any((m.tensor, m.dim) == (tensor, dim) for m in group.members)
        )

    def together(self, first: str, *others: str) -> bool:
        """Whether dimensions leave index by index."""
        return all(np.array_equal(self.units(first), self.units(other)) for other in others)

    def half(self) -> tuple[nn.Module, Structure]:
        structure = random_structure(self.graph, 5, "half")
        return cut(self.traced.network, self.graph, structure), structure


class Helped(nn.Module):
    """A deep head for training only, on a stem that it shares."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = conv(3, 8), conv(8, 10)
        self.aux = nn.Sequential(conv(8, 6), nn.BatchNorm2d(6), nn.ReLU(), conv(6, 7))
        self.aux_head, self.head = nn.Linear(7, 4), nn.Linear(10, 4)

    def forward(self, x: torch.Tensor) -> Any:
        x = torch.relu(self.stem(x))
        logits = self.head(torch.relu(self.body(x)).mean((2, 3)))
        if not self.training:
            return logits
        return {"logits": logits, "aux": self.aux_head(self.aux(x).mean((2, 3)))}


def test_what_only_training_runs_is_narrowed_with_the_rest() -> None:
    found = Found(Helped, IMAGE)
    assert found.widths == {"stem": 8, "body": 10, "aux.0": 6, "aux.3": 7}
    assert found.together("stem.weight", "body.weight:1", "aux.0.weight:1")
    assert found.stays("aux_head.weight", "head.weight")
    small, _ = found.half()
    outputs = small.train()(found.traced.case.example(4))
    assert {name: tuple(each.shape) for name, each in outputs.items()} == {
        "logits": (4, 4),
        "aux": (4, 4),
    }


@pytest.mark.parametrize("how", ["rest", "shape", "attribute", "index", "expanded", "transposed"])
def test_a_parameter_reached_through_a_view_leaves_with_its_channels(how: str) -> None:
    found = Found(lambda: Between(Scaled(how)), IMAGE)
    assert found.widths == {"stem": 8, "tail": 6}
    assert found.together("stem.weight", "middle.scale", "tail.weight:1")
    small, structure = found.half()
    assert small.middle.width == (structure.widths[0] if how == "attribute" else 8)


def test_a_view_with_a_literal_size_stays_with_its_line() -> None:
    found = Found(lambda: Between(Scaled("literal")), IMAGE, tried=True)
    assert found.widths == {"tail": 6}
    assert "self.scale.view(1, 8, 1, 1)" in found.why("stem.weight")


def test_two_numbers_of_a_channel_in_one_flat_parameter_leave_together() -> None:
    found = Found(lambda: Between(PairTable()), IMAGE)
    stem, table = found.units("stem.weight"), found.units("middle.table")
    assert np.array_equal(table, np.concatenate((stem, stem)))


@pytest.mark.parametrize("size", [6, 8])
def test_channels_as_many_as_pixels_are_not_mistaken_for_them(size: int) -> None:
    def fold(x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(2).unflatten(2, (size, size))
        return x.transpose(2, 3).softmax(-1).reshape(x.shape[0], -1, size, size)

    found = Found(lambda: Between(fold), image(3, size, size))
    assert found.widths == {"stem": 8, "tail": 6}


def test_a_layer_over_a_side_of_the_image_keeps_it_and_not_the_channels() -> None:
    found = Found(lambda: Between(nn.Linear(8, 8)), IMAGE)
    assert found.widths == {"stem": 8, "tail": 6}
    assert found.stays("middle.weight", "middle.weight:1")


def test_channels_as_many_as_tokens_are_not_mistaken_for_them() -> None:
    found = Found(lambda: Sequence(MixPositions(6), 6), WORDS)
    assert found.widths == {"enter": 6, "mix.positions.0": 6, "mix.channels.0": 10}
    assert found.stays("mix.positions.0.weight:1", "mix.positions.2.weight")
    assert found.together("enter.weight", "mix.channels.0.weight:1", "mix.channels.2.weight")


def test_a_gate_of_one_channel_ties_nothing() -> None:
    found = Found(lambda: Between(SpatialGate()), IMAGE)
    assert found.widths == {"stem": 8, "tail": 6}
    assert found.stays("middle.gate.weight", "middle.scale")
    assert found.together("stem.weight", "middle.gate.weight:1", "tail.weight:1")


def test_one_channel_added_to_all_ties_nothing() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.all = conv(8, 1), conv(8, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.one(x) + self.all(x)

    found = Found(lambda: Between(One(), 8, 10), IMAGE)
    assert found.widths == {"stem": 8, "middle.all": 10, "tail": 6}
    assert found.stays("middle.one.weight")


@pytest.mark.parametrize("times", [2, 3])
def test_a_depthwise_multiplier_lets_all_outputs_of_a_channel_go(times: int) -> None:
    found = Found(lambda: Between(conv(8, 8 * times, groups=8), 8, 8 * times), IMAGE)
    assert found.widths == {"stem": 8, "tail": 6}
    units = found.units("middle.weight")
    assert np.array_equal(units, np.repeat(found.units("stem.weight"), times))
    small, structure = found.half()
    assert small.middle.groups == small.middle.in_channels == structure.widths[0]
    assert small.middle.out_channels == times * structure.widths[0]


@pytest.mark.parametrize("how", ["attribute", "shapes"])
def test_zeros_of_a_shortcut_shrink_with_what_they_are_added_to(how: str) -> None:
    found = Found(lambda: Between(Padded(how), 8, 12), IMAGE)
    assert found.widths == {"stem": 8, "middle.conv": 4, "tail": 6}
    assert np.array_equal(found.units("middle.conv.weight")[:8], found.units("stem.weight"))
    small, structure = found.half()
    assert small.middle.extra == (structure.widths[1] if how == "attribute" else 4)


@pytest.mark.parametrize("how", ["literal", "pad"])
def test_zeros_of_a_fixed_number_keep_what_they_are_added_to(how: str) -> None:
    found = Found(lambda: Between(Padded(how), 8, 12), IMAGE)
    assert found.goes("stem.weight", "tail.weight")
    units = found.units("middle.conv.weight")
    assert np.array_equal(units[:8], found.units("stem.weight"))
    assert (units[8:] < 0).all()
    assert "out + " in found.why("middle.conv.weight")


@pytest.mark.parametrize("where", ["saved", "unsaved"])
def test_a_table_made_from_the_width_is_narrowed_with_it(where: str) -> None:
    found = Found(lambda: Sequence(Positions(12, where), residual=False), WORDS)
    assert found.widths == {"enter": 12}
    assert found.together("enter.weight", "mix.table:2", "head.weight:1")
    assert found.stays("mix.table:1")
    small, structure = found.half()
    kept = np.flatnonzero(structure.kept[found.units("mix.table:2")])
    assert torch.equal(small.mix.table, found.traced.network.mix.table[..., kept])


@pytest.mark.parametrize("where", ["shape", "attribute"])
def test_a_table_made_inside_forward_would_be_another_one(where: str) -> None:
    found = Found(lambda: Sequence(Positions(12, where), residual=False), WORDS)
    assert found.widths == {}
    assert "it meets a constant" in found.why("enter.weight")
    assert "self.waves(" in found.why("enter.weight")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.int64])
def test_a_mask_of_the_channels_is_narrowed_or_keeps_them(dtype: torch.dtype) -> None:
    found = Found(lambda: Between(Masked(dtype)), IMAGE)
    assert found.goes("tail.weight")
    if dtype.is_floating_point:
        assert found.together("stem.weight", "middle.mask")
    else:
        assert "integer buffer" in found.why("stem.weight")


def test_a_grid_as_large_as_the_image_stays() -> None:
    found = Found(lambda: Between(Anchors(), 8, 9), IMAGE)
    assert found.widths == {"stem": 8, "tail": 6}
    assert found.stays("middle.grid:2", "middle.grid:3")
    assert np.array_equal(found.units("tail.weight:1")[:8], found.units("stem.weight"))
    assert found.units("tail.weight:1")[8] == -1


@pytest.mark.parametrize(
    ("how", "widths"),
    [
        ("whole", {"stem": 8, "tail": 6}),
        ("halves", {"stem": 8, "middle.conv": 4, "tail": 6}),
        ("half_of_shape", {"stem": 4, "middle.conv": 4, "tail": 6}),
    ],
)
def test_what_is_written_in_place_is_tied(how: str, widths: dict[str, int]) -> None:
    assert Found(lambda: Between(InPlace(how)), IMAGE).widths == widths


@pytest.mark.parametrize(
    ("how", "dimension", "line"),
    [
        ("one", "middle.conv.weight", "out[:, 0] = 0"),
        ("literal", "middle.conv.weight", "out[:, :3] *= 2"),
        ("other", "stem.weight", "out[:, 1:] += x[:, :-1]"),
        ("boolean", "middle.conv.weight", "out[out < 0] = 0"),
    ],
)
def test_what_is_written_at_fixed_places_stays(how: str, dimension: str, line: str) -> None:
    found = Found(lambda: Between(InPlace(how)), IMAGE)
    assert found.stays(dimension)
    assert line in found.why(dimension)
    assert found.goes("tail.weight")


@pytest.mark.parametrize("how", ["blur", "ones", "like"])
def test_a_constant_that_is_the_same_everywhere_shrinks_with_the_channels(how: str) -> None:
    found = Found(lambda: Between(MadeInside(how)), IMAGE)
    assert found.widths == {"stem": 8, "middle.conv": 8, "tail": 6}


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("identity", "made inside forward"),
        ("ramp", "constant"),
        ("ramp_by_attribute", "constant"),
        ("cat", "fixed bounds"),
    ],
)
def test_a_constant_that_differs_keeps_the_channels_it_meets(how: str, word: str) -> None:
    found = Found(lambda: Between(MadeInside(how)), IMAGE)
    assert found.widths == {"stem": 8, "tail": 6}
    assert word in found.why("middle.conv.weight")


@pytest.mark.parametrize(
    ("how", "operation"),
    [("branch", "aten.mean"), ("strongest", "aten.topk"), ("alive", "aten.nonzero")],
)
def test_channels_whose_values_decide_stay(how: str, operation: str) -> None:
    found = Found(lambda: Between(Chooses(how)), IMAGE)
    assert found.widths == {"middle.first": 8, "tail": 6}
    assert operation in found.why("stem.weight")
    assert "the forward pass never uses it" in found.why("middle.second.weight")


def test_a_decision_that_removal_does_not_touch_keeps_nothing() -> None:
    found = Found(lambda: Between(Chooses("loop")), IMAGE)
    assert found.together("stem.weight", "middle.first.weight", "middle.first.weight:1")


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


@pytest.mark.parametrize("norm", [LayerNormByHand, ResponseNorm])
def test_normalisation_by_hand_is_over_the_kept(norm: Callable[[int], nn.Module]) -> None:
    found = Found(lambda: Between(norm(8)), IMAGE)
    assert found.widths == {"stem": 8, "tail": 6}
    assert found.together("stem.weight", "middle.weight", "middle.bias")
    assert found.graph.statistics


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
    expected = [6, 8, 12] if "proj_size" in options else [8, 12]
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
