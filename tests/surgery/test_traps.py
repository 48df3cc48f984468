"""Known traps: what each network lets go, what it keeps and why, and that both are exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from .found import IMAGE, WORDS, Found
from .networks.case import image
from .networks.layers import conv
from .networks.sequences import (
    MixPositions,
    Positions,
    Sequence,
)
from .networks.traps import (
    Anchors,
    Between,
    Chooses,
    InPlace,
    MadeInside,
    Masked,
    Padded,
    PairTable,
    Scaled,
    SpatialGate,
)


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
