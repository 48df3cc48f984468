"""Blocks of parameters listen to observations that correlate with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.training.assimilation import Correlation
from optprune.training.assimilation.layout import Layout
from optprune.training.assimilation.localization import Block
from optprune.training.assimilation.observation import Observed
from tests.training.assimilation.localized import OUTPUTS, Case, covered, index_of, small
from tests.training.assimilation.networks import generator


def parameters(count: int) -> Layout:
    """Return the layout of a layer with one weight for each of its outputs."""
    return Layout.of(nn.Linear(1, count, bias=False), "*", owner="test")


def seen(deviations: torch.Tensor) -> Observed:
    centered = deviations - deviations.mean(0)
    return Observed(centered, -centered, torch.zeros_like(centered[0]), 1)


def heard(blocks: Sequence[Block]) -> torch.Tensor:
    return torch.stack([b.weights for b in blocks if b.weights is not None])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_depends_is_heard_and_what_does_not_is_mostly_cut_off(seed: int) -> None:
    drawn = generator(seed)
    members = torch.randn(100, 60, generator=drawn)
    predictions = members[:, :5] + 0.3 * torch.randn(100, 5, generator=drawn)
    found = heard(Correlation("parameter").blocks(parameters(60), members, seen(predictions)))
    assert found.shape == (60, 5)
    assert torch.equal(found[:5].diagonal(), torch.ones(5))
    found[:5].fill_diagonal_(0)
    # 295 pairs that are independent, each beyond three standard deviations with 0.27 %
    assert int(found.sum()) <= 5


@pytest.mark.parametrize("by", ["neuron", "layer", "parameter"])
@pytest.mark.parametrize("threshold", [0.05, 0.3, None])
def test_a_block_hears_what_one_of_its_parameters_correlates_with(
    by: Any, threshold: float | None
) -> None:
    case = Case(small(), n=40)
    limit = 3 / math.sqrt(40) if threshold is None else threshold
    both = torch.cat([case.members, case.predictions.flatten(1)], 1)
    correlations = both.T.corrcoef()[: case.layout.size, case.layout.size :].abs()
    for block in Correlation(by, threshold).blocks(case.layout, case.members, case.observed):
        wanted = correlations[block.index].amax(0) > limit
        assert block.weights is not None
        assert torch.equal(block.weights, wanted.double())


def test_correlations_have_no_units() -> None:
    case = Case(small(), n=40)
    unit = heard(Correlation().blocks(case.layout, case.members, case.observed))
    scales = 10 ** torch.linspace(-6, 6, case.layout.size, dtype=torch.float64)
    moved = 3 + case.members * scales
    assert torch.equal(heard(Correlation().blocks(case.layout, moved, case.observed)), unit)


def test_what_has_no_spread_hears_nothing_and_is_not_heard() -> None:
    members = torch.randn(100, 4, generator=generator())
    members[:, 1] = 0.1
    predictions = members.clone()
    predictions[:, 2] = 0.7
    found = heard(Correlation("parameter", 0.5).blocks(parameters(4), members, seen(predictions)))
    assert torch.equal(found, torch.tensor([1.0, 0, 0, 1]).diag())


def test_nine_members_or_fewer_hear_nothing_by_default() -> None:
    for n in (2, 5, 9):
        case = Case(small(), n=n)
        assert not heard(Correlation().blocks(case.layout, case.members, case.observed)).any()
        assert torch.equal(case.by(Correlation()), case.members)


class Odd(nn.Module):
    """Layers with parameters of all numbers of dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.conv = nn.Conv2d(2, 6, 3, groups=2)
        self.norm = nn.BatchNorm2d(6)
        self.attention = nn.MultiheadAttention(4, 2)
        self.head = nn.Linear(4, 3, bias=False)


@pytest.mark.parametrize("by", ["neuron", "layer", "parameter"])
@pytest.mark.parametrize("network", [small, Odd])
def test_blocks_are_a_partition_of_the_parameters(by: Any, network: Any) -> None:
    layout = Layout.of(network(), "*", owner="test")
    members = torch.randn(12, layout.size, generator=generator())
    blocks = Correlation(by).blocks(layout, members, seen(members[:, :3]))
    assert covered(blocks) == list(range(layout.size))
    if by == "parameter":
        assert len(blocks) == layout.size
    if by == "layer":
        assert len(blocks) == len(layout.layers())


def test_a_neuron_is_the_weights_into_it_and_its_bias() -> None:
    case = Case(small())
    blocks = Correlation("neuron").blocks(case.layout, case.members, case.observed)
    assert index_of(blocks)[:5] == [[*range(4 * k, 4 * k + 4), 20 + k] for k in range(5)]
    assert len(blocks) == 5 + OUTPUTS


@pytest.mark.parametrize("threshold", [0, -0.1, 1, 1.0, 2.0, math.nan, math.inf])
def test_a_threshold_lies_between_zero_and_one(threshold: float) -> None:
    with pytest.raises(ArgumentError, match="Correlation: `threshold` must be"):
        Correlation(threshold=threshold)


@pytest.mark.parametrize("threshold", ["0.1", True, [0.1]])
def test_a_threshold_is_a_number(threshold: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="Correlation: `threshold` must be a number"):
        Correlation(threshold=threshold)


@pytest.mark.parametrize("by", ["weight", None, 3, ["layer"]])
def test_other_kinds_of_blocks_are_named(by: Any) -> None:
    with pytest.raises(ArgumentError, match="`by` must be 'neuron', 'layer' or 'parameter', not"):
        Correlation(by)
