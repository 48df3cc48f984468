"""Groups that the user ties."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, UnknownGroupError
from optprune.surgery import cut, trace
from optprune.testing import removed_versus_zeroed


def perceptron() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 6), nn.Linear(6, 3)
    )


EXAMPLE = torch.zeros(2, 5)


def test_tied_groups_become_one_that_leaves_unit_by_unit() -> None:
    network = perceptron()
    graph = trace(network, EXAMPLE, tied=[["0", "2"]])
    assert [(group.name, group.width) for group in graph.groups] == [("0", 8), ("4", 6)]
    small = cut(network, graph, graph.structure_from_widths([3, 6]))
    assert small[0].out_features == small[2].out_features == small[4].in_features == 3
    assert removed_versus_zeroed(network, EXAMPLE, graph, 1) < 1e-8


def test_a_pattern_ties_all_that_it_matches() -> None:
    graph = trace(perceptron(), EXAMPLE, tied=[["[02]"]])
    assert [group.name for group in graph.groups] == ["0", "4"]


def test_what_cannot_be_tied_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"'0' has 8, '4' has 6"):
        trace(perceptron(), EXAMPLE, tied=[["0", "4"]])
    with pytest.raises(UnknownGroupError, match="frozen"):
        trace(perceptron(), EXAMPLE, tied=[["0", "5"]])
    with pytest.raises(ArgumentTypeError, match="sequences of names"):
        trace(perceptron(), EXAMPLE, tied=["0", "2"])  # type: ignore[list-item]


def test_a_group_can_be_tied_and_frozen() -> None:
    graph = trace(perceptron(), EXAMPLE, tied=[["0", "2"]], frozen=["0"])
    assert [group.name for group in graph.groups] == ["4"]


def test_the_prunable_share_is_what_is_saved_with_one_unit_in_each_group() -> None:
    graph = trace(perceptron(), EXAMPLE)
    dense = 5 * 8 + 8 * 8 + 8 * 6 + 6 * 3
    assert graph.prunable_share == pytest.approx(1 - (5 + 1 + 1 + 3) / dense)
