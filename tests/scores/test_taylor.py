"""The Taylor score is the squared derivative by a gate that nobody has to put in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import optprune as op
from optprune.errors import ArgumentError, TaskError
from optprune.meter import Meter
from optprune.scores import Oracle, ScoreContext, Taylor
from optprune.surgery import ChannelGraph, trace
from optprune.task import Task
from optprune.testing import check_score

Floats = npt.NDArray[np.float64]


class Gated(nn.Module):
    """A network with a place for an explicit gate before every consumer of one group."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: torch.Tensor | None = None

    def gated(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.gate is None else x * self.gate.reshape(-1, *[1] * (x.dim() - 2))


class Normalized(Gated):
    """Convolution, batch norm, ReLU, convolution."""

    group, width = "first", 5

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 5, 3, bias=False)
        self.norm = nn.BatchNorm2d(5)
        self.second = nn.Conv2d(5, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.gated(torch.relu(self.norm(self.first(x))))
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


class Stream(Gated):
    """A residual stream that two layers consume, at different places."""

    group, width = "stem", 4

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.inner = nn.Conv2d(4, 6, 3, padding=1)
        self.outer = nn.Conv2d(6, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.stem(x))
        x = x + self.norm(self.outer(torch.tanh(self.inner(self.gated(x)))))
        return self.head(self.gated(torch.tanh(x))).mean((2, 3))


class Flattened(Gated):
    """A convolution whose channels become several features each."""

    group, width = "first", 4

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.last = nn.Linear(4 * 16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.gated(nn.functional.gelu(self.first(x))).flatten(1))


class Grouped(Gated):
    """A depthwise convolution between producer and consumer."""

    group, width = "first", 6

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 1)
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6)
        self.last = nn.Conv2d(6, 3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.depthwise(torch.tanh(self.first(x))))
        return self.last(self.gated(x)).flatten(1)


class Summed(Gated):
    """Channels that end in a sum: no parameter consumes them."""

    group, width = "first", 5

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 5, 3)
        self.norm = nn.BatchNorm2d(5) if norm else nn.Identity()
        self.last = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.gated(self.norm(self.first(x)))
        return self.last(torch.tanh(x.sum(1)).flatten(1))


GATED: dict[str, Callable[[], Any]] = {
    "behind batch norm": Normalized,
    "residual stream with two consumers": Stream,
    "through a flatten": Flattened,
    "depthwise": Grouped,
    "normalized and summed": lambda: Summed(norm=True),
    "produced and summed": lambda: Summed(norm=False),
}


def made(build: Callable[[], Any], n: int = 30) -> Task:
    """Return a float64 task whose batch norms have statistics that matter."""
    torch.manual_seed(0)
    network = build().double()
    images = torch.randn(n, 1, 6, 6, dtype=torch.float64)
    labels = torch.arange(n) % 3
    with torch.no_grad():
        network.train()(3 * images + 1)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_()
    return Task(network.eval(), train=(images, labels), validation=(images, labels))


def scored(the_task: Task, score: Taylor) -> tuple[ChannelGraph, Floats, Meter]:
    graph, meter = trace(the_task.network, the_task.example), Meter()
    return graph, score(the_task.network, graph, ScoreContext(the_task, meter=meter)), meter


def by_explicit_gates(the_task: Task, batch_size: int) -> Floats:
    """Return the mean of squared derivatives by a parameter of ones before every consumer."""
    network: Any = the_task.network
    gate = torch.ones(network.width, dtype=torch.float64, requires_grad=True)
    _, split = Taylor(batch_size=batch_size).sample.of(ScoreContext(the_task), "Taylor")
    total = np.zeros(network.width)
    network.gate = gate
    for inputs, targets in split.batches(batch_size):
        assert targets is not None
        loss = the_task.loss(network(inputs), targets)
        (derivative,) = torch.autograd.grad(loss, gate)
        total += len(targets) * derivative.numpy() ** 2
    network.gate = None
    return total / len(split)


@pytest.mark.parametrize("batch_size", [1, 8, 30])
@pytest.mark.parametrize("name", GATED)
def test_it_is_the_squared_derivative_by_an_explicit_gate(name: str, batch_size: int) -> None:
    the_task = made(GATED[name])
    expected = by_explicit_gates(the_task, batch_size)
    graph, importance, _ = scored(the_task, Taylor(batch_size=batch_size))
    group = graph.group(the_task.network.group)  # type: ignore[arg-type]
    assert expected.min() > 0
    np.testing.assert_allclose(importance[group.slice], expected, rtol=1e-9)


def test_behind_relu_the_gates_of_norm_and_consumer_agree() -> None:
    the_task = made(Normalized)
    network: Any = the_task.network
    graph, importance, _ = scored(the_task, Taylor(batch_size=30))
    _, split = Taylor().sample.of(ScoreContext(the_task), "Taylor")
    loss = the_task.loss(network(split.inputs), split.labels)
    scale, shift = torch.autograd.grad(loss, (network.norm.weight, network.norm.bias))
    gate = scale * network.norm.weight + shift * network.norm.bias
    expected = gate.detach().numpy() ** 2
    np.testing.assert_allclose(importance[graph.group("first").slice], expected, rtol=1e-9)


def test_half_the_gate_and_twice_the_consumer_change_nothing() -> None:
    plain, scaled = made(Normalized), made(Normalized)
    network: Any = scaled.network
    with torch.no_grad():
        factors = torch.tensor([0.5, 2.0, 10.0, 1.0, 0.1], dtype=torch.float64)
        network.norm.weight *= factors
        network.norm.bias *= factors
        network.second.weight /= factors[None, :, None, None]
    np.testing.assert_allclose(
        scored(plain, Taylor())[1], scored(scaled, Taylor())[1], rtol=1e-9, atol=1e-18
    )


@pytest.mark.parametrize("score", [Taylor(), Taylor(samples=10, batch_size=4)], ids=repr)
def test_it_keeps_the_rules_of_a_score(score: Taylor) -> None:
    check_score(score)


def test_it_ranks_as_the_oracle_does() -> None:
    task = op.problems.digits.task()
    graph = trace(task.network, task.example)
    oracle = Oracle(samples=256)(task.network, graph, ScoreContext(task))

    def agreement(score: Taylor) -> float:
        importance = score(task.network, graph, ScoreContext(task))
        return float(spearmanr(importance, oracle).statistic)

    small = agreement(Taylor())
    assert small >= 0.9
    # squares of large batches forget what training has brought to zero
    assert agreement(Taylor(batch_size=1024)) < small


def test_a_unit_that_nothing_reads_scores_nothing_with_taylor_and_oracle() -> None:
    the_task = made(Stream)
    network: Any = the_task.network
    with torch.no_grad():
        network.inner.weight[:, 2] = 0
        network.head.weight[:, 2] = 0
    graph, importance, _ = scored(the_task, Taylor())
    unit = graph.group("stem").start + 2
    oracle = Oracle()(network, graph, ScoreContext(the_task))
    assert importance[unit] == 0
    assert oracle[unit] == pytest.approx(0, abs=1e-25)
    assert np.delete(importance, unit).min() > 0
    assert np.delete(oracle, unit).min() > 1e-20


def test_frozen_parameters_modes_gradients_and_attributes_stay_as_they_were() -> None:
    class Remembering(Normalized):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen = torch.relu(self.first(x))
            return super().forward(x)

    the_task = made(Remembering)
    network: Any = the_task.network
    graph, expected, _ = scored(the_task, Taylor())
    network.train()
    network.norm.eval()
    network.second.weight.requires_grad_(False)
    network.head.weight.grad = gradient = torch.ones_like(network.head.weight)
    network.seen = seen = torch.zeros(1)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        found = Taylor()(network, graph, ScoreContext(the_task))
    np.testing.assert_array_equal(found, expected)
    assert network.training
    assert not network.norm.training
    assert not network.second.weight.requires_grad
    assert network.first.weight.requires_grad
    assert network.head.weight.grad is gradient
    assert bool((gradient == 1).all())
    assert network.first.weight.grad is None
    assert network.seen is seen
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])


def test_every_pass_is_counted_forward_and_backward() -> None:
    _, _, meter = scored(made(Stream), Taylor(samples=20, batch_size=8))
    assert (meter.forward_samples, meter.backward_samples) == (20, 20)
    assert meter.seconds > 0


def test_the_seed_draws_the_samples_and_nothing_else_does() -> None:
    the_task = made(Stream)
    found = [scored(the_task, Taylor(samples=12, seed=seed))[1] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).all()


def test_tied_weights_count_once() -> None:
    class Shared(Gated):
        group, width = "first", 4

        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(36, 4)
            self.middle = nn.Linear(4, 4, bias=False)
            self.again = self.middle
            self.last = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.tanh(self.first(x.flatten(1)))
            x = x + torch.tanh(self.middle(self.gated(x)))
            x = x + torch.tanh(self.again(self.gated(x)))
            return self.last(self.gated(x))

    the_task = made(Shared)
    expected = by_explicit_gates(the_task, 8)
    graph, importance, _ = scored(the_task, Taylor())
    np.testing.assert_allclose(importance[graph.group("first").slice], expected, rtol=1e-9)


def test_recurrent_and_attending_networks_are_scored() -> None:
    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(6, 8)
            self.encoder = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
            self.recurrent = nn.LSTM(8, 5, batch_first=True)
            self.last = nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x, _ = self.recurrent(self.encoder(self.embed(x[:, 0])))
            return self.last(x[:, -1])

    graph, importance, _ = scored(made(Reading), Taylor())
    assert graph.n_groups >= 3
    assert (importance > 0).all()


def test_the_loss_must_have_a_finite_gradient() -> None:
    the_task = made(Flattened)
    graph = trace(the_task.network, the_task.example)
    the_task.pick = torch.Tensor.detach
    with pytest.raises(TaskError, match="works without gradients"):
        Taylor()(the_task.network, graph, ScoreContext(the_task))
    the_task.pick = None
    the_task.loss = lambda outputs, _: outputs.sum() * float("inf")
    with pytest.raises(TaskError, match="not finite"):
        Taylor()(the_task.network, graph, ScoreContext(the_task))


def test_it_says_what_it_lacks() -> None:
    the_task = made(Flattened)
    graph = trace(the_task.network, the_task.example)
    with pytest.raises(ArgumentError, match=r"Taylor needs labelled data: give ScoreContext"):
        Taylor()(the_task.network, graph, ScoreContext())
    without = Task(the_task.network, validation=the_task.validation, name="blind")
    with pytest.raises(ArgumentError, match=r"'blind' has none: give Task\(train=\.\.\.\)"):
        Taylor()(the_task.network, graph, ScoreContext(without))


@pytest.mark.parametrize("changes", [{"samples": 0}, {"batch_size": 1.5}, {"seed": -1}])
def test_numbers_that_cannot_be_used_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(changes))):
        Taylor(**changes)
