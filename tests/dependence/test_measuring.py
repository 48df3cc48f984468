"""The representations of groups are what their consumers receive, read in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import optprune as op
from optprune.dependence import (
    Dependence,
    DependenceMap,
    category_gram,
    gaussian_gram,
    hsic,
    linear_gram,
    normalized,
)
from optprune.dependence import reading as reading_module
from optprune.errors import TaskError
from optprune.meter import Meter
from optprune.surgery import trace
from optprune.task import Task
from optprune.testing.networks import chain_task, residual_task


def images_task(network: nn.Module, n: int = 30, batch_size: int = 256, side: int = 6) -> Task:
    """A task on random images in float64, labels that go with them."""
    torch.manual_seed(0)
    labels = torch.arange(n) % 3
    images = torch.randn(n, 1, side, side, dtype=torch.float64) + labels[:, None, None, None]
    split = (images, labels)
    network = network.double().eval()
    return Task(network, train=split, validation=split, batch_size=batch_size)


def images_of(task: Task) -> torch.Tensor:
    assert task.train is not None
    assert isinstance(task.train.inputs, torch.Tensor)
    return task.train.inputs


def expected(task: Task, representations: list[list[torch.Tensor]]) -> np.ndarray:
    """Normalized unbiased HSIC of the inputs, each group's features by consumer, the labels."""
    assert task.train is not None
    grams = []
    for parts in [[images_of(task).flatten(1)], *representations]:
        own = [linear_gram(part) for part in parts]
        grams.append(torch.stack([gram / gram.trace() for gram in own]).sum(0))
    grams.append(category_gram(task.train.labels[:, None]))
    return normalized(hsic(grams, "unbiased")).numpy()


class Small(nn.Module):
    """A group with two consumers, and one that a linear layer takes in behind a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 5, 3)
        self.second = nn.Conv2d(5, 4, 3)
        self.pointwise = nn.Conv2d(5, 4, 1)
        self.last = nn.Linear(4 * 4, 3)

    def seen(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = torch.relu(self.first(x))
        second = self.second(first) + self.pointwise(first)[:, :, 1:-1, 1:-1]
        return first, torch.tanh(second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.seen(x)[1].flatten(1))


@pytest.mark.parametrize("pooled", [True, False])
def test_representations_are_what_consumers_receive(pooled: bool) -> None:
    task = images_task(Small())
    network: Any = task.network
    with torch.no_grad():
        first, second = network.seen(images_of(task))
    features = [x.mean((2, 3)) if pooled else x.flatten(1) for x in (first, second)]
    found = Dependence(features="pooled" if pooled else "flattened").measure(task)
    # both consumers of the first group receive the same
    np.testing.assert_allclose(
        found.normalized, expected(task, [[f] for f in features]), atol=1e-10
    )
    assert found.names == ("first", "second")


class TwoScales(nn.Module):
    """One group that a branch receives times 1000 and another through a sine."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 5, 3)
        self.large = nn.Conv2d(5, 3, 1)
        self.small = nn.Conv2d(5, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return (self.large(1000 * x) + self.small(torch.sin(5 * x))).mean((2, 3))


def test_no_consumer_drowns_another() -> None:
    task = images_task(TwoScales())
    network: Any = task.network
    with torch.no_grad():
        x = network.first(images_of(task))
    parts = [(1000 * x).mean((2, 3)), torch.sin(5 * x).mean((2, 3))]
    found = Dependence().measure(task)
    np.testing.assert_allclose(found.normalized, expected(task, [parts]), atol=1e-10)
    alone = expected(task, [parts[:1]])
    assert abs(found.with_inputs[0] - alone[0, 1]) > 0.01


def test_the_gaussian_kernel_is_taken_of_the_scaled_features() -> None:
    task = images_task(TwoScales())
    network: Any = task.network
    with torch.no_grad():
        x = network.first(images_of(task))
    parts = [(1000 * x).mean((2, 3)), torch.sin(5 * x).mean((2, 3))]
    scaled = [(p - p.mean(0)) / (p - p.mean(0)).norm() for p in parts]
    grams = [gaussian_gram(images_of(task).flatten(1)), gaussian_gram(torch.cat(scaled, 1))]
    found = Dependence(kernel="gaussian").measure(task)
    expected_value = float(normalized(hsic(grams))[0, 1])
    assert found.with_inputs[0] == pytest.approx(expected_value, abs=1e-9)


@pytest.mark.parametrize("features", ["pooled", "flattened"])
def test_the_batch_size_does_not_matter(features: Any) -> None:
    network = Small()
    found = [
        Dependence(features=features).measure(images_task(network, batch_size=size)).hsic
        for size in (256, 30, 7, 1)
    ]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-9)


def test_what_does_not_fit_is_read_in_further_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    task, meter = images_task(Small()), Meter()
    whole = Dependence(features="flattened").measure(task, meter=meter)
    assert meter.forward_samples == 30
    monkeypatch.setattr(reading_module, "HELD", 1)
    parts = Dependence(features="flattened").measure(task, meter=meter)
    assert meter.forward_samples == 30 + 3 * 30
    np.testing.assert_allclose(parts.hsic, whole.hsic, rtol=1e-12)


def test_twins_tell_all_of_each_other() -> None:
    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Conv2d(1, 5, 3), nn.Conv2d(1, 5, 3)
            self.after_one, self.after_other = nn.Conv2d(5, 3, 3), nn.Conv2d(5, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            one, other = self.one(x), self.other(x)
            return self.after_one(one).mean((2, 3)) + self.after_other(other).mean((2, 3))

    task = images_task(Twins())
    before = Dependence().measure(task)
    network: Any = task.network
    network.other.load_state_dict(network.one.state_dict())
    after = Dependence().measure(task)
    assert before.between[0, 1] < 0.999
    assert after.between[0, 1] == pytest.approx(1, abs=1e-12)


def test_a_silent_group_depends_on_nothing_and_has_no_importance() -> None:
    task = images_task(Small())
    network: Any = task.network
    with torch.no_grad():
        network.first.weight.zero_()
        network.first.bias.fill_(0.1)
    found = Dependence().measure(task)
    np.testing.assert_array_equal(found.between, 0)
    # what is behind it is silent too
    np.testing.assert_array_equal(found.importance(), [0, 0])


@pytest.mark.parametrize("make", [chain_task, residual_task])
def test_the_networks_of_the_checks_are_measured(make: Any) -> None:
    task, meter = make(), Meter()
    found = Dependence().measure(task, meter=meter)
    assert meter.forward_samples == len(task.train)
    assert meter.seconds > 0
    assert np.isfinite(found.hsic).all()
    assert found.between.shape == (len(found.names),) * 2


def test_the_calls_of_a_layer_stand_side_by_side() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again = nn.Linear(36, 5), nn.Linear(5, 5)
            self.last = nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.first(x.flatten(1)))
            for _ in range(2):
                x = torch.tanh(self.again(x))
            return self.last(x)

    task = images_task(Twice())
    network: Any = task.network
    with torch.no_grad():
        x = torch.relu(network.first(images_of(task).flatten(1)))
        y = torch.tanh(network.again(x))
        z = torch.tanh(network.again(y))
    found = Dependence().measure(task)
    assert found.names == ("first",)
    parts = [torch.cat((x, y), 1), z]
    np.testing.assert_allclose(found.normalized, expected(task, [parts]), atol=1e-10)


@pytest.mark.parametrize("dims", [1, 3])
def test_convolutions_of_other_dimensions(dims: int) -> None:
    kind: Any = {1: nn.Conv1d, 3: nn.Conv3d}[dims]
    network = nn.Sequential(
        nn.Flatten(),
        nn.Unflatten(1, (1, 36) if dims == 1 else (1, 4, 3, 3)),
        kind(1, 4, 3, padding=1),
        nn.ReLU(),
        kind(4, 3, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * 36, 3),
    )
    task = images_task(network)
    with torch.no_grad():
        first = network[:4](images_of(task)).flatten(2).mean(2)
        second = network[:6](images_of(task)).flatten(2).mean(2)
    found = Dependence().measure(task)
    np.testing.assert_allclose(found.normalized, expected(task, [[first], [second]]), atol=1e-10)


def test_grouped_convolutions_are_followed() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, groups=2),
        nn.Flatten(),
        nn.Linear(6 * 16, 3),
    )
    task = images_task(network)
    with torch.no_grad():
        first = network[:2](images_of(task)).mean((2, 3))
        # two channels a unit: what the flatten spreads cannot be told from them
        second = network[:3](images_of(task)).flatten(1)
    found = Dependence().measure(task)
    np.testing.assert_allclose(found.normalized, expected(task, [[first], [second]]), atol=1e-10)


class Encoder(nn.Module):
    """A transformer encoder on four tokens."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.embed = nn.Linear(9, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x.reshape(len(x), 4, 9))
        if self.batch_first:
            return self.head(self.encoder(x).mean(1))
        return self.head(self.encoder(x.transpose(0, 1)).mean(0))


def test_a_transformer_reads_alike_with_samples_first_or_second() -> None:
    first, second = images_task(Encoder()), images_task(Encoder(batch_first=False))
    second.network.load_state_dict(first.network.state_dict())
    found, other = Dependence().measure(first), Dependence().measure(second)
    assert found.names == other.names
    assert len(found.names) == 3
    np.testing.assert_allclose(other.hsic, found.hsic, rtol=1e-9)
    assert (np.diagonal(found.between) == 1).all()
    flattened = Dependence(features="flattened").measure(second)
    same = Dependence(features="flattened").measure(first)
    np.testing.assert_allclose(flattened.hsic, same.hsic, rtol=1e-9)


def test_heads_of_attention_are_what_attention_returns() -> None:
    task, meter = images_task(Encoder()), Meter()
    graph = trace(task.network, task.example)
    found = Dependence().measure(task, graph, meter=meter)
    heads = next(i for i, name in enumerate(found.names) if "in_proj" in name)
    network: Any = task.network
    with torch.no_grad():
        tokens = network.embed(images_of(task).reshape(-1, 4, 9))
        attention = network.encoder.layers[0].self_attn
        seen = attention(tokens, tokens, tokens)[0].mean(1)
    grams = [linear_gram(images_of(task).flatten(1)), linear_gram(seen)]
    assert found.with_inputs[heads] == pytest.approx(float(normalized(hsic(grams))[0, 1]))
    assert meter.forward_samples == 60, "a second pass for the heads"


def test_a_batch_as_large_as_its_sequences_is_not_guessed_at() -> None:
    task = images_task(Encoder(), batch_size=4)
    with pytest.raises(TaskError, match=r"which dimension is the samples.*Task\(batch_size=3\)"):
        Dependence().measure(task)


def test_tokens_that_a_layer_gets_as_rows_go_back_to_their_samples() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(9, 5), nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = torch.relu(self.first(x.reshape(-1, 9)))
            return self.last(rows).view(len(x), 4, 3).mean(1)

    task = images_task(Rows())
    network: Any = task.network
    with torch.no_grad():
        seen = torch.relu(network.first(images_of(task).reshape(-1, 4, 9))).mean(1)
    found = Dependence().measure(task)
    np.testing.assert_allclose(found.normalized, expected(task, [[seen]]), atol=1e-10)


def test_frames_that_a_convolution_gets_as_samples_go_back_to_theirs() -> None:
    class Frames(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(1, 5, 1), nn.Conv2d(5, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            frames = torch.tanh(self.first(x.reshape(-1, 1, 2, 6)))
            return self.last(frames).mean((2, 3)).view(len(x), 3, 3).mean(1)

    task = images_task(Frames())
    network: Any = task.network
    with torch.no_grad():
        frames = torch.tanh(network.first(images_of(task).reshape(-1, 1, 2, 6)))
    seen = frames.view(30, 3, 5, 2, 6)
    found = Dependence().measure(task)
    pooled = seen.mean((1, 3, 4))
    np.testing.assert_allclose(found.normalized, expected(task, [[pooled]]), atol=1e-10)
    found = Dependence(features="flattened").measure(task)
    whole = expected(task, [[seen.flatten(1)]])
    np.testing.assert_allclose(found.normalized, whole, atol=1e-10)


def test_several_inputs_weigh_the_same_and_tokens_are_one_hot() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.first = nn.Embedding(5, 4), nn.Linear(7, 6)
            self.last = nn.Linear(6, 2)

        def forward(self, tokens: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            both = torch.cat((self.embed(tokens).mean(1), x), 1)
            return self.last(torch.tanh(self.first(both)))

    torch.manual_seed(0)
    tokens, x = torch.randint(5, (30, 3)), 100 * torch.randn(30, 3, dtype=torch.float64)
    split = ((tokens, x), torch.arange(30) % 2)
    network: Any = Two().double().eval()
    found = Dependence().measure(Task(network, train=split, validation=split))
    one_hot = torch.nn.functional.one_hot(tokens, 5).double().flatten(1)
    inputs = [linear_gram(part) for part in (one_hot, x)]
    with torch.no_grad():
        hidden = torch.tanh(network.first(torch.cat((network.embed(tokens).mean(1), x), 1)))
    own = linear_gram(hidden)
    together = torch.stack([gram / gram.trace() for gram in inputs]).sum(0)
    expected_value = float(normalized(hsic([together, own]))[0, 1])
    index = found.names.index("first")
    assert found.with_inputs[index] == pytest.approx(expected_value)


def test_digits() -> None:
    task = op.problems.digits.task()
    for how in (Dependence(), Dependence(kernel="gaussian", estimator="biased", samples=100)):
        found = how.measure(task)
        assert isinstance(found, DependenceMap)
        assert np.isfinite(found.normalized).all()
        assert np.abs(found.normalized).max() <= 1
        assert (np.diagonal(found.normalized) == 1).all()
        assert found.with_labels is not None
        assert found.with_labels[-1] > found.with_labels[0]
        assert found.samples == how.samples


def test_one_seed_one_result() -> None:
    task = images_task(Small())
    found = [Dependence(samples=20, seed=seed).measure(task).hsic for seed in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_without_train_the_labels_are_not_known() -> None:
    task = images_task(Small())
    without = Task(
        task.network, validation=task.validation, calibration=images_of(task), batch_size=8
    )
    found = Dependence().measure(without)
    assert found.with_labels is None
    assert not found.labelled
    known = Dependence().measure(task)
    np.testing.assert_allclose(found.hsic, known.hsic[:-1, :-1], rtol=1e-9)


def test_targets_of_a_regression_are_numbers() -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 3, dtype=torch.float64)
    network = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).double().eval()
    targets = torch.stack((x[:, 0], x[:, 1] * x[:, 2]), 1)
    found = Dependence().measure(Task(network, train=(x, targets), validation=(x, targets)))
    with torch.no_grad():
        grams = [linear_gram(network[:2](x)), linear_gram(targets)]
    assert found.with_labels is not None
    assert found.with_labels[0] == pytest.approx(float(normalized(hsic(grams))[0, 1]))
