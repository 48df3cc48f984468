"""The activation score is what a group's consumers see of each unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, ScoreWarning, TaskError
from optprune.meter import Meter
from optprune.scores import L1, Activation, Random, Score, ScoreContext
from optprune.surgery import ChannelGraph, trace
from optprune.task import Task
from optprune.testing import check_score

VARIANCE, MEAN = Activation(positions=None), Activation(statistic="mean", positions=None)


class Network(nn.Module):
    """A group with two consumers, one of them behind a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 5, 3)
        self.second = nn.Conv2d(5, 4, 3)
        self.pointwise = nn.Conv2d(5, 4, 1)
        self.last = nn.Linear(4 * 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        x = self.second(x) + self.pointwise(x)[:, :, 1:-1, 1:-1]
        return self.last(torch.tanh(x).flatten(1))


def task(network: nn.Module | None = None, n: int = 40) -> Task:
    torch.manual_seed(0)
    network = Network() if network is None else network
    images = torch.randn(n, 1, 6, 6, dtype=torch.float64)
    split = (images, torch.arange(n) % 3)
    return Task(network.double().eval(), train=split, validation=split)


def scored(the_task: Task, score: Score) -> tuple[ChannelGraph, npt.NDArray[np.float64], Meter]:
    graph, meter = trace(the_task.network, the_task.example), Meter()
    return graph, score(the_task.network, graph, ScoreContext(the_task, meter=meter)), meter


@pytest.mark.parametrize("score", [Activation(), VARIANCE, MEAN], ids=repr)
def test_it_keeps_the_rules_of_a_score(score: Score) -> None:
    check_score(score)


@pytest.mark.parametrize("score", [VARIANCE, MEAN], ids=repr)
def test_it_is_the_mean_over_consumers_of_relative_statistics(score: Activation) -> None:
    the_task = task()
    network: Any = the_task.network
    calibration: Any = the_task.calibration

    def statistic(rows: torch.Tensor) -> torch.Tensor:
        variance = rows.var(0, correction=0)
        return variance if score.statistic == "variance" else rows.mean(0).abs()

    with torch.no_grad():
        hidden = torch.relu(network.first(calibration.inputs))
        patches = nn.functional.unfold(hidden, 3).transpose(1, 2).reshape(-1, 5 * 9)
        under_kernel = statistic(patches).view(5, 9).mean(1)
        pointwise = statistic(hidden.permute(0, 2, 3, 1).reshape(-1, 5))
        stream = network.second(hidden) + network.pointwise(hidden)[:, :, 1:-1, 1:-1]
        features = statistic(torch.tanh(stream).flatten(1)).view(4, 4).mean(1)
    graph, importance, meter = scored(the_task, score)
    expected = (under_kernel / under_kernel.mean() + pointwise / pointwise.mean()) / 2
    np.testing.assert_allclose(importance[graph.group("first").slice], expected, rtol=1e-9)
    found = importance[graph.group("second").slice]
    np.testing.assert_allclose(found, features / features.mean(), rtol=1e-9)
    assert (meter.forward_samples, meter.backward_samples) == (40, 0)


@pytest.mark.parametrize("score", [VARIANCE, MEAN], ids=repr)
def test_the_mean_of_each_group_is_one_whatever_the_scale_of_its_activations(
    score: Activation,
) -> None:
    the_task = task()
    graph, before, _ = scored(the_task, score)
    for group in graph.groups:
        assert before[group.slice].mean() == pytest.approx(1)
    with torch.no_grad():
        the_task.network.get_parameter("first.weight").mul_(100)
        the_task.network.get_parameter("first.bias").mul_(100)
    _, after, _ = scored(the_task, score)
    part = graph.group("first").slice
    np.testing.assert_allclose(after[part], before[part], rtol=1e-9)


def test_constants_have_no_variance_and_silence_has_neither() -> None:
    the_task = task()
    with torch.no_grad():
        for name in ("first.weight", "first.bias"):
            the_task.network.get_parameter(name)[[1, 3]] = 0
        the_task.network.get_parameter("first.bias")[3] = 2
    graph, variance, _ = scored(the_task, VARIANCE)
    _, mean, _ = scored(the_task, MEAN)
    part = graph.group("first").slice
    np.testing.assert_allclose(variance[part][[1, 3]], 0, atol=1e-12)
    assert mean[part][1] == 0
    assert mean[part][3] == mean[part].max()


def test_a_group_that_is_silent_as_a_whole_scores_zero() -> None:
    the_task = task()
    with torch.no_grad():
        the_task.network.get_parameter("first.weight").zero_()
        the_task.network.get_parameter("first.bias").fill_(-1)
    graph, importance, _ = scored(the_task, MEAN)
    np.testing.assert_array_equal(importance[graph.group("first").slice], 0)


def test_depthwise_and_grouped_consumers_are_followed() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, groups=2),
        nn.Flatten(),
        nn.Linear(24, 3),
    )
    graph, importance, _ = scored(task(network), VARIANCE)
    for group in graph.groups:
        assert importance[group.slice].mean() == pytest.approx(1)


def test_positions_and_samples_are_drawn_by_the_seed() -> None:
    the_task = task()
    found = [scored(the_task, Activation(positions=2, seed=seed))[1] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_groups_without_a_consumer_are_told_and_scored_otherwise() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(36, 6)
            self.matrix = nn.Parameter(torch.randn(6, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.first(x.flatten(1))) @ self.matrix

    the_task = task(Bare())
    with pytest.warns(ScoreWarning, match=r"no consumer of the groups 'first'; .* L1"):
        graph, importance, _ = scored(the_task, VARIANCE)
    expected = L1()(the_task.network, graph, ScoreContext(the_task))
    np.testing.assert_array_equal(importance, expected)
    with pytest.warns(ScoreWarning, match="Random"):
        scored(the_task, Activation(otherwise=Random()))


def test_it_says_what_it_lacks() -> None:
    the_task = task()
    graph = trace(the_task.network, the_task.example)
    with pytest.raises(ArgumentError, match=r"ScoreContext\(task="):
        VARIANCE(the_task.network, graph, ScoreContext())
    without = Task(the_task.network, validation=the_task.validation)
    with pytest.raises(TaskError, match=r"Task\(calibration"):
        VARIANCE(the_task.network, graph, ScoreContext(without))
    with pytest.raises(ArgumentError, match="samples"):
        Activation(samples=1)
    with pytest.raises(ArgumentError, match="'variance' or 'mean', got 'median'"):
        Activation(statistic="median")  # type: ignore[arg-type]
