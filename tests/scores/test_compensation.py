"""The compensation-aware ranking is greedy, and knows what the others can make up for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, ScoreWarning
from optprune.meter import Meter
from optprune.scores import L1, Compensation, Random, Score, ScoreContext
from optprune.surgery import ChannelGraph, trace
from optprune.task import Task
from optprune.testing import check_score

ALL = Compensation(positions=None)


def task(network: nn.Module, n: int = 80) -> Task:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 1, 6, 6, generator=generator, dtype=torch.float64)
    split = (images + nn.functional.avg_pool2d(images, 3, 1, 1), torch.arange(n) % 3)
    return Task(network.double().eval(), train=split, validation=split)


def chain(width: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3),
        nn.ReLU(),
        nn.Conv2d(width, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def scored(
    the_task: Task, score: Score = ALL
) -> tuple[ChannelGraph, npt.NDArray[np.float64], Meter]:
    graph, meter = trace(the_task.network, the_task.example), Meter()
    return graph, score(the_task.network, graph, ScoreContext(the_task, meter=meter)), meter


def rows_and_answer(the_task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """Return patches before the second convolution, by channel, and what it answers."""
    network: Any = the_task.network
    calibration: Any = the_task.calibration
    with torch.no_grad():
        hidden = network[1](network[0](calibration.inputs))
        patches = nn.functional.unfold(hidden, 3).transpose(1, 2).reshape(-1, hidden.shape[1], 9)
        return patches, network[2](hidden).permute(0, 2, 3, 1).reshape(-1, 4)


def unexplained(patches: torch.Tensor, answer: torch.Tensor, kept: list[int]) -> float:
    """Return the share of the variance that a refit on some channels leaves."""
    design = torch.cat([patches[:, kept].flatten(1), torch.ones(len(patches), 1)], 1)
    left = answer - design @ torch.linalg.lstsq(design, answer).solution
    return float(left.square().sum() / (answer - answer.mean(0)).square().sum())


@pytest.mark.parametrize("score", [Compensation(), ALL], ids=["sampled", "all"])
@pytest.mark.filterwarnings("error")
def test_it_keeps_the_rules_of_a_score(score: Score) -> None:
    check_score(score)


def test_every_pick_is_the_best_of_a_brute_force_refit() -> None:
    the_task = task(chain())
    graph, importance, meter = scored(the_task)
    patches, answer = rows_and_answer(the_task)
    shares = importance[graph.group("0").slice]
    kept: list[int] = []
    for step, chosen in enumerate(np.argsort(-shares, kind="stable")):
        left = unexplained(patches, answer, kept)
        assert shares[chosen] == pytest.approx(left, rel=1e-3, abs=1e-5)
        after = {
            unit: unexplained(patches, answer, [*kept, unit])
            for unit in range(6)
            if unit not in kept
        }
        assert after[int(chosen)] <= min(after.values()) + 1e-6, step
        kept.append(int(chosen))
    assert meter.forward_samples == 80


def test_the_error_never_rises_as_units_are_added_along_the_ranking() -> None:
    the_task = task(chain(12))
    graph, importance, _ = scored(the_task)
    for group in graph.groups:
        shares = np.sort(importance[group.slice])[::-1]
        assert shares[0] == pytest.approx(1)
        assert (np.diff(shares) <= 0).all()
        assert (shares >= 0).all()


def test_duplicates_and_constants_leave_first() -> None:
    network = chain(8)
    first: Any = network[0]
    with torch.no_grad():
        first.weight[5] = 3 * first.weight[2]
        first.bias[5] = 3 * first.bias[2]
        first.weight[6] = 0
        first.bias[6] = 2.0
    graph, importance, _ = scored(task(network))
    shares = importance[graph.group("0").slice]
    assert shares[6] < 1e-4
    assert min(shares[2], shares[5]) < 1e-4
    others = np.delete(shares, [2, 5, 6])
    assert others.min() > 10 * max(shares[6], min(shares[2], shares[5]))


def test_what_other_groups_deliver_counts_as_kept() -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(1, 4, 3)
            self.two = nn.Conv2d(1, 5, 3)
            self.last = nn.Conv2d(9, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.cat([torch.relu(self.one(x)), torch.relu(self.two(x))], 1)
            return self.last(x).mean((2, 3))

    torch.manual_seed(0)
    network = Joined()
    with torch.no_grad():  # all of `two` but its last channel is in `one` already
        network.two.weight[:4] = network.one.weight
        network.two.bias[:4] = network.one.bias
    graph, importance, _ = scored(task(network))
    shares = importance[graph.group("two").slice]
    assert 0 < shares[4] < 1  # the share of what the last layer answers
    assert (shares[:4] < 1e-3 * shares[4]).all()


def test_a_scale_that_the_consumer_undoes_changes_nothing() -> None:
    plain, scaled = chain(), chain()
    factors = torch.tensor([1.0, 100.0, 0.01, 3.0, 1.0, 7.0], dtype=torch.float64)
    first, second = scaled.double()[0], scaled[2]
    with torch.no_grad():
        first.weight *= factors[:, None, None, None]  # type: ignore[operator]
        first.bias *= factors  # type: ignore[operator]
        second.weight /= factors[None, :, None, None]  # type: ignore[operator]
    _, one, _ = scored(task(plain))
    _, other, _ = scored(task(scaled))
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_depthwise_and_grouped_consumers_are_followed() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, groups=2),
        nn.Flatten(),
        nn.Linear(24, 3),
    )
    graph, importance, _ = scored(task(network))
    assert np.isfinite(importance).all()
    for group in graph.groups:
        assert importance[group.slice].max() == pytest.approx(1)


def test_groups_without_a_consumer_are_told_and_scored_otherwise() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(36, 6)
            self.matrix = nn.Parameter(torch.randn(6, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.first(x.flatten(1))) @ self.matrix

    torch.manual_seed(0)
    the_task = task(Bare())
    with pytest.warns(ScoreWarning, match=r"no consumer of the groups 'first'; .* L1"):
        graph, importance, _ = scored(the_task)
    expected = L1()(the_task.network, graph, ScoreContext(the_task))
    np.testing.assert_array_equal(importance, expected)
    with pytest.warns(ScoreWarning, match="Random"):
        scored(the_task, Compensation(otherwise=Random()))


def test_positions_are_a_sample() -> None:
    the_task = task(chain())
    _, some, _ = scored(the_task, Compensation(positions=3))
    _, all_of_them, _ = scored(the_task)
    assert 0 < np.abs(some - all_of_them).max() < 0.2


def test_it_says_what_it_lacks() -> None:
    the_task = task(chain())
    graph = trace(the_task.network, the_task.example)
    with pytest.raises(ArgumentError, match=r"ScoreContext\(task="):
        ALL(the_task.network, graph, ScoreContext())
    with pytest.raises(ArgumentError, match="samples"):
        Compensation(samples=1)
