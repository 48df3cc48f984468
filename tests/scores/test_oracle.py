"""The oracle measures what the loss says once a unit is gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, TaskError
from optprune.meter import Meter
from optprune.scores import Oracle, ScoreContext
from optprune.surgery import mask, trace
from optprune.task import Task
from optprune.testing import check_score
from optprune.testing.networks import residual_task


def linear_task(width: int = 4) -> Task:
    """Return two linear layers with the mean squared error: every change is known."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2)).double()
    inputs = torch.randn(40, 3, dtype=torch.float64)
    targets = network(inputs).detach() + torch.randn(40, 2, dtype=torch.float64)
    return Task(network.eval(), train=(inputs, targets), validation=(inputs[:9], targets[:9]))


@pytest.mark.parametrize("score", [Oracle(), Oracle("validation", squared=False)], ids=repr)
def test_it_keeps_the_rules_of_a_score(score: Oracle) -> None:
    check_score(score)


def test_it_is_the_change_of_the_loss_of_a_linear_network() -> None:
    task = linear_task()
    network: Any = task.network
    graph = trace(network, task.example)
    assert task.train is not None
    with torch.no_grad():
        hidden = network[0](task.train.inputs)
        wrong = network[1](hidden) - task.train.labels
        parts = hidden[:, :, None] * network[1].weight.T
        each = (wrong[:, None] - parts).square().mean(2) - wrong.square().mean(1)[:, None]
    changes = each.mean(0).numpy()
    signed = Oracle(squared=False)(network, graph, ScoreContext(task))
    np.testing.assert_allclose(signed, changes, rtol=1e-9)
    whole = Oracle(batch_size=40)(network, graph, ScoreContext(task))
    np.testing.assert_allclose(whole, changes**2, rtol=1e-9)
    single = Oracle(batch_size=1)(network, graph, ScoreContext(task))
    np.testing.assert_allclose(single, each.square().mean(0).numpy(), rtol=1e-9)


def test_the_squares_are_those_of_batches_weighted_by_their_samples() -> None:
    task = linear_task()
    graph = trace(task.network, task.example)
    assert task.train is not None
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    expected = np.zeros(4)
    for part in order.split(16):  # 16, 16 and 8 samples
        batch = (task.train.inputs[part], task.train.labels[part])
        own = Task(task.network, train=batch, validation=batch)
        signed = Oracle(squared=False)(task.network, graph, ScoreContext(own))
        expected += signed**2 * len(part) / 40
    found = Oracle(batch_size=16, seed=3)(task.network, graph, ScoreContext(task))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_unit_that_is_left_out_is_a_unit_that_is_zeroed() -> None:
    task = residual_task()
    graph = trace(task.network, task.example)
    found = Oracle("validation", squared=False)(task.network, graph, ScoreContext(task))

    def loss(network: nn.Module) -> float:
        outputs = task.predict(network, task.validation, meter=Meter())
        return float(task.loss(outputs, task.validation.labels))

    for unit in (0, graph.n_units // 2, graph.n_units - 1):
        kept = np.arange(graph.n_units) != unit
        expected = loss(mask(task.network, graph, graph.structure(kept))) - loss(task.network)
        assert found[unit] == pytest.approx(expected, abs=1e-6)


def test_it_costs_one_pass_for_each_unit_and_one_more() -> None:
    task, meter = linear_task(), Meter()
    graph = trace(task.network, task.example)
    Oracle(samples=30)(task.network, graph, ScoreContext(task, meter=meter))
    assert (meter.forward_samples, meter.backward_samples) == (30 * 5, 0)
    assert meter.seconds > 0


def test_the_signed_change_depends_on_the_samples_alone() -> None:
    task = linear_task()
    graph = trace(task.network, task.example)

    def importance(**changes: Any) -> Any:
        score = Oracle(samples=20, squared=False, **changes)
        return score(task.network, graph, ScoreContext(task))

    np.testing.assert_array_equal(importance(), importance())
    np.testing.assert_allclose(importance(batch_size=7), importance(), rtol=1e-9)
    assert (importance(seed=1) != importance()).all()


def test_no_unit_is_the_last_of_its_group() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 4), nn.Linear(4, 2)).double().eval()
    inputs = torch.randn(12, 3, dtype=torch.float64)
    split = (inputs, torch.randn(12, 2, dtype=torch.float64))
    task = Task(network, train=split, validation=split)
    graph = trace(network, task.example)
    assert list(graph.widths) == [4]
    assert (Oracle()(network, graph, ScoreContext(task)) > 0).all()


def test_losses_that_are_not_finite_are_told_or_count_as_the_worst() -> None:
    task = linear_task()
    graph = trace(task.network, task.example)
    whole = task.predict(task.network, task.validation, meter=Meter())
    plain = task.loss
    oracle = Oracle("validation", batch_size=9)
    expected = oracle(task.network, graph, ScoreContext(task))
    fewest = int(np.argmin(expected))
    kept = graph.structure(np.arange(4) != fewest)
    without = task.predict(mask(task.network, graph, kept), task.validation, meter=Meter())

    def fragile(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        gone = torch.allclose(outputs.sum(), without.sum())
        return plain(outputs, targets) * (float("nan") if gone else 1.0)

    task.loss = fragile
    found = oracle(task.network, graph, ScoreContext(task))
    assert found[fewest] == np.delete(expected, fewest).max()
    task.loss = lambda *_: whole.sum() * float("nan")
    with pytest.raises(TaskError, match="validation split is nan"):
        Oracle("validation")(task.network, graph, ScoreContext(task))


def test_it_says_what_it_lacks() -> None:
    task = linear_task()
    graph = trace(task.network, task.example)
    with pytest.raises(ArgumentError, match=r"Oracle needs labelled data: give ScoreContext"):
        Oracle()(task.network, graph, ScoreContext())
    without = Task(task.network, validation=task.validation)
    with pytest.raises(ArgumentError, match=r"give Task\(train=\.\.\.\)"):
        Oracle()(task.network, graph, ScoreContext(without))
    Oracle("validation")(task.network, graph, ScoreContext(without))
    for changes in ({"split": "test"}, {"samples": 0}, {"seed": -1}):
        with pytest.raises(ArgumentError, match=next(iter(changes))):
            Oracle(**changes)  # type: ignore[arg-type]
