"""Scores say how much each unit matters, over everything that leaves with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, GraphMismatchError
from optprune.scores import L1, L2, Random, Score, ScoreContext
from optprune.surgery import ChannelGraph, trace
from optprune.testing import check_score

MAGNITUDES = [L1(), L2()]


class Residual(nn.Module):
    """A stream of 4 channels with two producers and two consumers, and an inner layer of 6."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.inner = nn.Conv2d(4, 6, 3, padding=1)
        self.outer = nn.Conv2d(6, 4, 1, bias=False)
        self.head = nn.Linear(4 * 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.stem(x))
        x = x + self.outer(torch.relu(self.inner(x)))
        return self.head(x.flatten(1))


def residual() -> Residual:
    torch.manual_seed(0)
    net = Residual().eval()
    with torch.no_grad():
        net.norm.weight.uniform_(0.5, 1.5)
        net.norm.bias.normal_()
    return net


def graph_of(net: nn.Module, example: torch.Tensor | None = None) -> ChannelGraph:
    return trace(net, torch.zeros(2, 1, 2, 2) if example is None else example)


def scores(score: Any, net: nn.Module, graph: ChannelGraph, seed: int = 0) -> Any:
    return score(net, graph, ScoreContext(seed=seed))


@pytest.mark.parametrize("score", [*MAGNITUDES, Random()], ids=repr)
def test_scores_keep_the_rules(score: Score) -> None:
    assert isinstance(score, Score)
    check_score(score)


@pytest.mark.parametrize(("score", "order"), [(L1(), 1), (L2(), 2)])
def test_magnitude_is_the_mean_of_relative_norms_over_all_members(score: Score, order: int) -> None:
    net = residual()
    graph = graph_of(net)
    stream = graph.group("stem")

    def norms(*parts: torch.Tensor) -> npt.NDArray[np.float64]:
        rows = torch.cat([part.reshape(4, -1) for part in parts], dim=1).detach().double()
        found = torch.linalg.vector_norm(rows, ord=order, dim=1).numpy()
        return np.asarray(found / found.mean())

    expected = np.mean(
        [
            norms(net.stem.weight, net.stem.bias),
            norms(net.norm.weight, net.norm.bias),
            norms(net.outer.weight),
            norms(net.inner.weight.transpose(0, 1)),
            norms(net.head.weight.reshape(3, 4, 4).transpose(0, 1)),
        ],
        axis=0,
    )
    np.testing.assert_allclose(scores(score, net, graph)[stream.slice], expected, rtol=1e-6)


@pytest.mark.parametrize("score", MAGNITUDES, ids=repr)
def test_the_mean_of_each_group_is_one_whatever_the_scale_of_a_layer(score: Score) -> None:
    net = residual()
    graph = graph_of(net)
    before = scores(score, net, graph)
    for group in graph.groups:
        assert before[group.slice].mean() == pytest.approx(1.0)
    with torch.no_grad():
        net.outer.weight *= 1000
        net.head.weight *= 0.001
    np.testing.assert_allclose(scores(score, net, graph), before, rtol=1e-5)


@pytest.mark.parametrize("score", MAGNITUDES, ids=repr)
@pytest.mark.parametrize("part", ["stem.weight", "norm.weight", "outer.weight", "inner.weight"])
def test_every_member_lowers_the_score_of_a_unit_that_it_weakens(score: Score, part: str) -> None:
    net = residual()
    graph = graph_of(net)
    unit = graph.group("stem").start + 2
    before = scores(score, net, graph)[unit]
    with torch.no_grad():
        weight = net.get_parameter(part)
        weight[(slice(None), 2) if part == "inner.weight" else (2,)] *= 0.1
    assert scores(score, net, graph)[unit] < before


@pytest.mark.parametrize("score", MAGNITUDES, ids=repr)
def test_a_unit_without_weights_scores_least_and_a_dead_layer_changes_no_order(score: Any) -> None:
    net = residual()
    graph = graph_of(net)
    group = graph.group("inner")
    with torch.no_grad():
        net.inner.weight[3] = 0
        net.inner.bias[3] = 0
        net.outer.weight[:, 3] = 0
    found = scores(score, net, graph)[group.slice]
    assert found[3] == 0
    assert found.argmin() == 3
    order = np.argsort(scores(type(score)(members=("out",)), net, graph)[group.slice])
    with torch.no_grad():
        net.outer.weight.zero_()
    np.testing.assert_array_equal(np.argsort(scores(score, net, graph)[group.slice]), order)


def test_members_choose_the_sides_that_count() -> None:
    net = residual()
    graph = graph_of(net)
    group = graph.group("inner")
    rows = torch.cat([net.inner.weight.flatten(1), net.inner.bias[:, None]], dim=1).abs().sum(dim=1)
    expected = (rows / rows.mean()).detach().numpy()
    np.testing.assert_allclose(
        scores(L1(members=("out",)), net, graph)[group.slice], expected, rtol=1e-6
    )
    with pytest.raises(ArgumentError, match=r"'inner' has no parameter of the roles .'norm'"):
        scores(L1(members=("norm",)), net, graph)


@pytest.mark.parametrize("members", [(), ("rows",), "out"])
def test_unknown_members_are_refused(members: Any) -> None:
    with pytest.raises(ArgumentError, match="members must be"):
        L2(members=members)


@pytest.mark.parametrize("score", MAGNITUDES, ids=repr)
def test_scores_follow_the_units_when_channels_change_places(score: Score) -> None:
    net = residual()
    graph = graph_of(net)
    group = graph.group("inner")
    before = scores(score, net, graph)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    with torch.no_grad():
        net.inner.weight.copy_(net.inner.weight[order].clone())
        net.inner.bias.copy_(net.inner.bias[order].clone())
        net.outer.weight.copy_(net.outer.weight[:, order].clone())
    before[group.slice] = before[group.slice][order.numpy()]
    np.testing.assert_allclose(scores(score, net, graph), before, rtol=1e-6)


@pytest.mark.parametrize("score", MAGNITUDES, ids=repr)
def test_concatenated_streams_are_scored_each_in_its_own_group(score: Score) -> None:
    class Concatenated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(1, 3, 1), nn.Conv2d(1, 5, 1)
            self.join = nn.Conv2d(8, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.join(torch.cat([self.left(x), self.right(x)], dim=1))

    torch.manual_seed(0)
    net = Concatenated().eval()
    graph = graph_of(net)
    before = scores(score, net, graph)
    with torch.no_grad():
        net.join.weight[:, :3] *= 100
    np.testing.assert_allclose(scores(score, net, graph), before, rtol=1e-5)


def test_tied_weights_count_once() -> None:
    class Tied(nn.Module):
        def __init__(self, *, tie: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first = nn.Linear(3, 4, bias=False)
            self.middle = nn.Linear(4, 4, bias=False)
            self.again = self.middle if tie else nn.Identity()
            self.last = nn.Linear(4, 2, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return self.last(x + self.middle(x))

    example = torch.zeros(2, 3)
    tied, plain = Tied(tie=True).eval(), Tied(tie=False).eval()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(tied.get_parameter(name))
    np.testing.assert_allclose(
        scores(L1(), tied, graph_of(tied, example)), scores(L1(), plain, graph_of(plain, example))
    )


def test_half_precision_does_not_overflow() -> None:
    net = residual()
    graph = graph_of(net)
    with torch.no_grad():
        net.head.weight.copy_(100 * net.head.weight.sign())
    full = scores(L2(), net, graph)
    np.testing.assert_allclose(scores(L2(), net.half(), graph), full, rtol=1e-2)


def test_random_scores_differ_between_seeds_only() -> None:
    net = residual()
    graph = graph_of(net)
    found = [scores(Random(seed), net, graph, other) for seed, other in ((0, 0), (0, 1), (1, 0))]
    assert len({tuple(numbers) for numbers in found}) == 3
    np.testing.assert_array_equal(found[0], scores(Random(), net, graph))
    with pytest.raises(ArgumentError, match="seed"):
        Random(seed=-1)


@pytest.mark.parametrize("score", MAGNITUDES, ids=repr)
def test_a_network_of_another_shape_is_refused(score: Score) -> None:
    net = residual()
    graph = graph_of(net)
    net.inner = nn.Conv2d(4, 5, 3)
    with pytest.raises(GraphMismatchError, match=r"'inner\.weight' of shape \(6, 4, 3, 3\)"):
        scores(score, net, graph)
    with pytest.raises(GraphMismatchError, match="no such tensor"):
        scores(score, nn.Linear(2, 2), graph)


def test_weights_that_are_not_finite_are_refused() -> None:
    net = residual()
    graph = graph_of(net)
    with torch.no_grad():
        net.outer.weight[0, 0] = float("nan")
    with pytest.raises(ArgumentError, match=r"'outer\.weight' holds values that are not finite"):
        scores(L1(), net, graph)
