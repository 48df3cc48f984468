"""Parameters listen to outputs by weights that the user gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError
from optprune.training.assimilation import Mask, OutputBlocks
from optprune.training.assimilation.analysis import FORMS
from tests.training.assimilation.localized import OUTPUTS, SAMPLES, STD, Case, covered, small
from tests.training.assimilation.networks import generator


def test_a_mask_of_the_last_layer_can_be_output_blocks() -> None:
    case = Case(small())
    mask = Mask({"2.*": np.eye(OUTPUTS)})
    for form in FORMS:
        wanted = case.by(OutputBlocks(), form=form)
        assert torch.allclose(case.by(mask, form=form), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_outputs_divide_their_variances(form: Any) -> None:
    case = Case(small())
    weights = torch.tensor([0.25, 1.0, 0.5], dtype=torch.float64)
    variances = (STD**2 / weights).repeat(SAMPLES)
    found = case.by(Mask({"*": weights}), form=form)
    assert torch.allclose(found, case.plain(variances, form=form), rtol=0, atol=1e-10)


def test_a_parameter_that_no_pattern_matches_sees_everything() -> None:
    case = Case(small())
    found, plain = case.by(Mask({"0.weight": [0, 0, 0]})), case.plain()
    place = case.place("0.weight")
    assert torch.equal(found[:, place], case.members[:, place])
    assert torch.allclose(found[:, place.stop :], plain[:, place.stop :], rtol=0, atol=1e-12)


def test_of_several_patterns_the_last_counts_and_what_is_alike_shares_a_block() -> None:
    case = Case(small())
    mask = Mask({"*": [1, 1, 1], "2.*": [1, 0, 0], "*.bias": [0, 0, 1]})
    blocks = mask.blocks(case.layout, case.members, case.observed)
    found = [(b.index.tolist(), b.weights.tolist()) for b in blocks if b.weights is not None]
    places = {
        name: list(range(case.place(name).start, case.place(name).stop))
        for name in ("0.weight", "0.bias", "2.weight", "2.bias")
    }
    assert found == [
        (places["0.weight"], [1, 1, 1] * SAMPLES),
        (places["0.bias"] + places["2.bias"], [0, 0, 1] * SAMPLES),
        (places["2.weight"], [1, 0, 0] * SAMPLES),
    ]


def test_rows_have_weights_of_their_own_and_all_parameters_a_block() -> None:
    case = Case(small())
    rows = torch.rand(5, OUTPUTS, generator=generator(), dtype=torch.float64)
    blocks = Mask({"0.weight": rows}).blocks(case.layout, case.members, case.observed)
    assert covered(blocks) == list(range(case.layout.size))
    for k, block in enumerate(blocks[:5]):
        assert block.index.tolist() == list(range(4 * k, 4 * k + 4))
        assert block.weights is not None
        assert torch.equal(block.weights, rows[k].repeat(SAMPLES))


@pytest.mark.parametrize(
    ("weights", "pattern"),
    [
        ([1, 1], "0.weight"),
        ([1, 1, 1, 1], "*"),
        (np.ones((4, 3)), "0.weight"),
        (np.ones((5, 2)), "0.weight"),
        (np.ones((1, 3)), "0.weight"),
        (np.ones((3, 3)), "*"),
    ],
)
def test_shapes_that_do_not_fit_are_named(weights: Any, pattern: str) -> None:
    case = Case(small())
    words = r"weights of '0.weight' must have shape \(3,\) or \(5, 3\), got"
    with pytest.raises(TrainingError, match=words):
        Mask({pattern: weights}).blocks(case.layout, case.members, case.observed)


def test_a_pattern_that_matches_nothing_names_the_nearest() -> None:
    case = Case(small())
    with pytest.raises(TrainingError, match=r"'0\.wieght' matches no .* mean '0\.weight'"):
        Mask({"0.wieght": [1, 1, 1]}).blocks(case.layout, case.members, case.observed)


@pytest.mark.parametrize(
    "weights",
    [
        [0, 1.01],
        [-0.01, 1],
        [0.5, math.nan],
        [None, 1],
        [math.inf, 0],
        0.5,
        [[[1.0]]],
        np.full((2, 3), 2.0),
    ],
)
def test_weights_outside_zero_and_one_are_refused(weights: Any) -> None:
    with pytest.raises(
        ArgumentError, match=r"of '0\.weight' must be numbers from 0 to 1 in one or"
    ):
        Mask({"*": [1, 1], "0.weight": weights})


@pytest.mark.parametrize(
    "weights", ["half", [[1, 0], [1]], object, torch.ones(2, requires_grad=True)], ids=str
)
def test_weights_that_are_no_numbers_are_refused(weights: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"the weights of '0\.weight' must be numbers, not"):
        Mask({"0.weight": weights})


@pytest.mark.parametrize("weights", [[1, 0], None, "0.weight", {3: [1.0, 0]}], ids=str)
def test_a_mask_is_a_mapping_by_names(weights: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="Mask: `weights` must"):
        Mask(weights)


def test_equal_masks_are_equal_and_do_not_follow_the_array() -> None:
    given = np.array([[1.0, 0.5], [0.0, 1.0]])
    masks = [Mask({"a": value}) for value in (given, given.tolist(), torch.from_numpy(given))]
    given[0, 0] = 0.25
    assert masks[0] == masks[1] == Mask({"a": [[1, 0.5], [0, 1]]})
    assert masks[0] != Mask({"a": given})
    assert repr(masks[0]) == "Mask(weights={'a': ((1.0, 0.5), (0.0, 1.0))})"
