"""The check of surgery passes what is right, and names what is wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.errors import TraceError
from optprune.surgery import ChannelGraph, cut, load, trace
from optprune.testing import ConformanceError, check_surgery, removed_versus_zeroed
from optprune.testing import surgery as checks
from optprune.testing.networks import SmallResidual, chain

IMAGES = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def residual() -> nn.Module:
    torch.manual_seed(0)
    return SmallResidual()


def test_a_network_that_surgery_understands_passes() -> None:
    network = residual().train()
    graph = check_surgery(network, IMAGES, seeds=5, minimum_share=0.9)
    assert [group.name for group in graph.groups] == ["stem", "inner"]
    assert network.training


def test_what_is_checked_may_be_given() -> None:
    network = residual()
    graph = trace(network, IMAGES, frozen=["stem"])
    assert check_surgery(network, IMAGES, graph=graph) is graph


def test_inputs_may_be_a_tuple_or_a_dict() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Linear(3, 8), nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.head(torch.relu(self.one(x) + self.two(y)))}

    x, y = torch.randn(2, 3), torch.randn(2, 4)
    assert check_surgery(Two(), (x, y)).digest == check_surgery(Two(), {"x": x, "y": y}).digest


def test_a_network_without_groups_passes_unless_a_share_is_asked_for() -> None:
    network = nn.Sequential(nn.Linear(3, 2))
    assert check_surgery(network, torch.randn(2, 3)).n_groups == 0
    with pytest.raises(ConformanceError, match=r"0.0% of the MACs can go, 10.0% were asked for"):
        check_surgery(network, torch.randn(2, 3), minimum_share=0.1)


def test_too_little_that_can_go_is_told_with_what_is_frozen() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 6)
            self.head = nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.relu(self.second(self.first(x).sort(1).values)))

    with pytest.raises(
        ConformanceError, match=r"were asked for. Frozen: first: .*aten.sort, test_"
    ):
        check_surgery(Halves(), torch.randn(2, 3), minimum_share=0.9)


def test_a_network_that_cannot_be_traced_says_so() -> None:
    with pytest.raises(TraceError):
        check_surgery(residual(), torch.randn(2, 2, 6, 6))


def with_units(graph: ChannelGraph, tensor: str, dim: int, units: np.ndarray) -> ChannelGraph:
    axes = tuple(
        dataclasses.replace(axis, units=units.astype(np.int32))
        if (axis.tensor, axis.dim) == (tensor, dim)
        else axis
        for axis in graph.axes
    )
    return dataclasses.replace(graph, axes=axes)


def test_a_graph_that_takes_other_channels_is_found_with_its_groups() -> None:
    network = chain((8, 8)).eval()
    graph = trace(network, torch.randn(2, 6))
    (axis,) = [a for a in graph.axes if (a.tensor, a.dim) == ("hidden1.weight", 1)]
    wrong = with_units(graph, "hidden1.weight", 1, np.roll(axis.units, 1))
    assert removed_versus_zeroed(network, torch.randn(2, 6), wrong, 1) > 1e-8
    words = (
        r"seed 1 \(widths: hidden0 4 of 8, .* is not zeroed.*wrong when removed alone: hidden0\."
    )
    with pytest.raises(ConformanceError, match=words):
        check_surgery(network, torch.randn(2, 6), graph=wrong)


def test_a_graph_that_leaves_channels_behind_does_not_run() -> None:
    network = chain((8, 8)).eval()
    graph = trace(network, torch.randn(2, 6))
    wrong = with_units(graph, "hidden1.weight", 1, np.full(8, -1))
    with pytest.raises(ConformanceError, match=r"does not run \(RuntimeError: .*alone: hidden0\."):
        check_surgery(network, torch.randn(2, 6), graph=wrong)


class TrainsWithEight(nn.Module):
    """A view with a literal size, in training mode only."""

    def __init__(self, frozen: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)
        self.first.weight.requires_grad_(not frozen)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        return self.second(x.view(-1, 8) if self.training else x)


def test_a_network_that_no_longer_trains_is_found() -> None:
    network, x = TrainsWithEight(), torch.randn(2, 6)
    assert check_surgery(network, x).n_groups == 0
    graph = trace(network, x, verify=False)
    with pytest.raises(ConformanceError, match=r"does not train .*; the dense one does"):
        check_surgery(network, x, graph=graph)


def test_a_network_that_never_trained_need_not() -> None:
    class Untrainable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                raise RuntimeError("for inference only")
            return self.second(torch.relu(self.first(x)))

    assert check_surgery(Untrainable(), torch.randn(2, 6)).n_groups == 1


def changed(network: nn.Module, **attributes: Any) -> nn.Module:
    with torch.no_grad():
        next(network.parameters()).mul_(2)
    return network


def test_costs_that_are_not_those_of_the_network_are_found() -> None:
    network, x = chain((8, 8)), torch.randn(2, 6)
    graph = trace(network, x)
    costs = dataclasses.replace(graph.costs, parameters=graph.costs.macs)
    with pytest.raises(ConformanceError, match=r"has \d+ parameters, its costs say \d+"):
        check_surgery(network, x, graph=dataclasses.replace(graph, costs=costs))


def test_what_is_lost_in_saving_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "load", lambda *a, **k: changed(load(*a, **k)))
    with pytest.raises(ConformanceError, match=r"loaded, 'stem.weight' of the smaller network"):
        check_surgery(residual(), IMAGES)


def test_a_gradient_that_is_lost_in_cutting_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "cut", lambda *a: _without_gradient(cut(*a)))
    with pytest.raises(ConformanceError, match=r"\['stem.weight'\] have a gradient in only one"):
        check_surgery(residual(), IMAGES)


def _without_gradient(network: nn.Module) -> nn.Module:
    next(network.parameters()).requires_grad_(False)
    return network


def test_a_surgery_that_changes_the_dense_network_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(network: nn.Module, *rest: Any) -> nn.Module:
        small = cut(network, *rest)
        changed(network)
        return small

    monkeypatch.setattr(checks, "cut", careless)
    with pytest.raises(ConformanceError, match=r"changes 'stem.weight' of the network"):
        check_surgery(residual(), IMAGES, seeds=1)
