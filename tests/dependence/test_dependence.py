"""What a dependence map says, what may go wrong, and that the network stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.dependence import Dependence, DependenceMap
from optprune.errors import ArgumentError, GraphMismatchError, TaskError
from optprune.surgery import trace
from optprune.task import Task, TaskScore
from optprune.testing.conformance import leaves_unchanged
from optprune.testing.networks import chain_task, residual_task


def a_map(values: Any, **more: Any) -> DependenceMap:
    """A map of three groups with the given normalized values."""
    return DependenceMap(("a", "b", "c"), np.array(values, dtype=np.float64), 100, **more)


VALUES = np.array(
    [
        [1.0, 0.9, 0.5, 0.1, 0.2],
        [0.9, 1.0, 0.6, -0.1, 0.3],
        [0.5, 0.6, 1.0, 0.2, 0.4],
        [0.1, -0.1, 0.2, 1.0, 0.7],
        [0.2, 0.3, 0.4, 0.7, 1.0],
    ]
)


def test_a_map_is_inputs_groups_and_labels() -> None:
    scale = np.array([1.0, 2, 3, 4, 5])
    found = a_map(VALUES * scale * scale[:, None])
    np.testing.assert_allclose(found.normalized, VALUES)
    np.testing.assert_allclose(found.between, VALUES[1:4, 1:4])
    np.testing.assert_allclose(found.with_inputs, [0.9, 0.5, 0.1])
    assert found.with_labels is not None
    np.testing.assert_allclose(found.with_labels, [0.3, 0.4, 0.7])
    assert list(found.frame) == list(found.frame.index) == ["(inputs)", "a", "b", "c", "(labels)"]
    assert found.frame.loc["a", "c"] == pytest.approx(-0.1)
    assert repr(found) == "DependenceMap(3 groups, 100 samples, linear, unbiased, pooled)"


def test_a_map_without_labels() -> None:
    found = a_map(VALUES[:4, :4])
    assert found.with_labels is None
    assert list(found.frame) == ["(inputs)", "a", "b", "c"]
    with pytest.raises(ArgumentError, match=r"relevance needs labels.*Task\(train="):
        found.relevance()


def test_importance_is_the_rule_of_the_paper_with_another_beta() -> None:
    found = a_map(np.abs(VALUES))
    sums = (np.abs(VALUES[1:4, 1:4]) - np.eye(3)).sum(1)
    theirs = np.exp(-9 * sums / sums.sum())
    np.testing.assert_allclose(found.importance(9 / 3), theirs)
    relative = -np.log(found.importance())
    assert relative.mean() == pytest.approx(1)


def test_importance_takes_negative_estimates_for_zero() -> None:
    sums = np.array([0.6, 0.8, 0.2])
    np.testing.assert_allclose(a_map(VALUES).importance(), np.exp(-sums / sums.mean()))


def test_importance_where_nothing_depends_or_varies() -> None:
    assert a_map(np.eye(5)).importance(3).tolist() == [1, 1, 1]
    silent = VALUES.copy()
    silent[2] = silent[:, 2] = 0
    found = a_map(silent).importance()
    assert found.tolist() == [1, 0, 1], "the silent one says nothing, the others do not depend"
    silent = VALUES.copy()
    silent[3] = silent[:, 3] = 0
    np.testing.assert_allclose(a_map(silent).importance(), [np.exp(-1), np.exp(-1), 0])
    assert a_map(np.zeros((5, 5))).importance().tolist() == [0, 0, 0]


def test_at_beta_zero_all_groups_are_equal() -> None:
    assert a_map(VALUES).importance(0).tolist() == [1, 1, 1]


def test_relevance_is_what_labels_gain_over_what_inputs_cost() -> None:
    np.testing.assert_allclose(a_map(VALUES).relevance(0.5), [0.3 - 0.45, 0.4 - 0.25, 0.7 - 0.05])


def test_a_map_says_what_is_wrong() -> None:
    with pytest.raises(ArgumentError, match=r"the 3 groups .* got shape \(3, 3\)"):
        a_map(np.eye(3))
    for beta in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ArgumentError, match="beta"):
            a_map(VALUES).importance(beta)


def test_a_map_draws_itself() -> None:
    ax = a_map(VALUES).plot()
    assert [label.get_text() for label in ax.get_yticklabels()][1:4] == ["a", "b", "c"]


@pytest.mark.parametrize("features", ["pooled", "flattened"])
@pytest.mark.parametrize("make", [chain_task, residual_task])
def test_the_network_is_left_as_it_was(make: Any, features: Any) -> None:
    task = make()
    task.network.train()
    with leaves_unchanged("measure", task.network):
        Dependence(features=features).measure(task)
    assert task.network.training
    assert not any(module._forward_hooks for module in task.network.modules())


class Failing(nn.Module):
    """Fails in a pass over more samples than it was tried with; counts its passes in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 2)
        self.register_buffer("passes", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.get_buffer("passes").add_(1)
        x = self.last(torch.relu(self.first(x)))
        if len(x) > 5:
            raise RuntimeError("too many")
        return x


def test_also_when_it_fails() -> None:
    x = torch.randn(20, 4)
    split = (x, torch.arange(20) % 2)
    task = Task(Failing().train(), train=split, validation=split)
    graph = trace(task.network, task.example)
    fast = torch.backends.mha.get_fastpath_enabled()
    with leaves_unchanged("measure", task.network), pytest.raises(RuntimeError, match="too many"):
        Dependence().measure(task, graph)
    assert task.network.training
    assert not any(module._forward_hooks for module in task.network.modules())
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_what_is_kept_is_a_copy() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.tanh(self.first(x))
            y = self.last(x)
            x.zero_()
            return y.mean((2, 3))

    x = torch.randn(20, 1, 2, 2)
    split = (x, torch.arange(20) % 2)
    task = Task(InPlace().eval(), train=split, validation=split)
    graph = trace(task.network, task.example, verify=False)
    found = Dependence(features="flattened").measure(task, graph)
    assert found.between.tolist() == [[1]]


def test_values_that_are_not_finite_are_named() -> None:
    task = residual_task()
    network: Any = task.network
    graph = trace(task.network, task.example)
    with torch.no_grad():
        network.inner_norm.bias[0] = float("nan")
    with pytest.raises(TaskError, match=r"'outer' has inputs that are not finite"):
        Dependence().measure(task, graph)


def test_data_that_are_not_finite_are_named() -> None:
    x = torch.randn(20, 4)
    targets = torch.ones(20, 2)
    targets[15] = float("nan")
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    good = (x, torch.zeros(20, 2))
    with pytest.raises(TaskError, match="the targets of the samples must be finite"):
        Dependence().measure(Task(network, train=(x, targets), validation=good))
    x = x.clone()
    x[15] = float("inf")
    with pytest.raises(TaskError, match="the input 0 of the samples must be finite"):
        Dependence().measure(Task(network, train=(x, good[1]), validation=good))


def test_targets_that_are_neither_classes_nor_numbers_are_left_out() -> None:
    x = torch.randn(20, 4)
    pixels = (torch.arange(40) % 3).view(20, 2)
    network = nn.Sequential(
        nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.Unflatten(1, (3, 2))
    ).eval()

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        return float((outputs.argmax(1) == targets).double().mean())

    score = TaskScore("pixel accuracy", "maximize", accuracy)
    split = (x, pixels)
    task = Task(network, train=split, validation=split, loss=loss, score=score)
    assert Dependence().measure(task).with_labels is None


def test_calls_that_differ_between_batches_are_named() -> None:
    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv1d(1, 4, 1), nn.Conv1d(4, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x[:, :, : 4 if len(x) == 8 else 5]
            return self.last(torch.relu(self.first(x))).mean(2)

    x = torch.randn(20, 1, 6)
    split = (x, torch.arange(20) % 2)
    task = Task(Growing().eval(), train=split, validation=split, batch_size=8)
    with pytest.raises(TaskError, match="'last' is not called alike in each batch"):
        Dependence(features="flattened").measure(task)
    assert np.isfinite(Dependence().measure(task).hsic).all()


def test_a_group_that_is_seen_nowhere_is_named() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.matrix = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.ones(6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (torch.relu(x @ self.first) @ self.matrix)[:, None]

    x = torch.randn(20, 4)
    task = Task(Bare().eval(), train=(x, x[:, :1]), validation=(x, x[:, :1]))
    assert trace(task.network, task.example).n_groups == 1
    with pytest.raises(TaskError, match="groups 'first' have no representation"):
        Dependence().measure(task)


def test_a_group_that_no_layer_takes_in_is_seen_where_it_is_made() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.matrix = nn.Linear(4, 6), nn.Parameter(torch.randn(6, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.first(x)) @ self.matrix

    x = torch.randn(20, 4)
    task = Task(Bare().eval(), train=(x, x[:, :2]), validation=(x, x[:, :2]))
    found = Dependence().measure(task)
    network: Any = task.network
    with torch.no_grad():
        seen = network.first(x)
    from optprune.dependence import hsic, linear_gram, normalized

    expected = float(normalized(hsic([linear_gram(x), linear_gram(seen)]))[0, 1])
    assert found.with_inputs[0] == pytest.approx(expected, abs=1e-6)


def test_the_graph_of_another_network_is_refused() -> None:
    graph = trace(chain_task((5, 5)).network, chain_task((5, 5)).example)
    with pytest.raises(GraphMismatchError, match=r"'hidden0.weight' of shape \(5, 6\)"):
        Dependence().measure(chain_task((4, 5)), graph)


def test_few_samples_are_refused_where_they_do_not_do() -> None:
    x = torch.randn(3, 4)
    split = (x, torch.tensor([0, 1, 0]))
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    task = Task(network, train=split, validation=split)
    with pytest.raises(TaskError, match=r"unbiased estimator needs 4 .* has 3"):
        Dependence().measure(task)
    assert Dependence(estimator="biased").measure(task).samples == 3
    with pytest.raises(TaskError, match="calibration"):
        Dependence().measure(Task(network, validation=split))
    with pytest.raises(TaskError, match=r"needs 4 .* has 3"):
        Dependence().measure(Task(network, validation=split, calibration=x))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("kernel", "rbf"),
        ("estimator", "hsic"),
        ("features", "raw"),
        ("samples", 3),
        ("samples", 10.0),
        ("samples", True),
        ("seed", -1),
    ],
)
def test_arguments_are_checked(argument: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=argument):
        Dependence(**{argument: value})
    assert Dependence(estimator="biased", samples=3).samples == 3
