"""Early stopping keeps the weights that are best on data that training never sees."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, TrainingError
from optprune.split import Split
from optprune.surgery.calling import Inputs, call
from optprune.training import SGD, Hooks, TrainingStep
from optprune.training.stopping import hold_out
from tests.training.cases import classifier, equal, fit, labelled, state


def mean_loss(network: nn.Module, data: Split) -> float:
    with torch.no_grad():
        return float(nn.functional.cross_entropy(network(data.inputs), data.labels))


def overfitting() -> SGD:
    """A trainer that learns the few samples of `noise` by heart."""
    return SGD(epochs=40, batch_size=10, lr=0.2, weight_decay=0.0, held_out=0.5, patience=3)


def noise(n: int = 40) -> Split:
    generator = torch.Generator().manual_seed(2)
    return Split(
        torch.randn(n, 4, generator=generator), torch.randint(3, (n,), generator=generator)
    )


@pytest.mark.parametrize(("fraction", "size"), [(0.2, 12), (0.001, 1), (0.99, 59)])
def test_held_out_and_train_share_no_sample_and_miss_none(fraction: float, size: int) -> None:
    data = Split(torch.arange(60.0)[:, None], torch.arange(60))
    train, held = hold_out(data, fraction, torch.Generator().manual_seed(0))
    assert held is not None
    assert len(held) == size
    assert torch.equal(torch.cat([train.labels, held.labels]).sort().values, torch.arange(60))
    again = hold_out(data, fraction, torch.Generator().manual_seed(0))[1]
    assert again is not None
    assert torch.equal(again.labels, held.labels)


def test_nothing_held_out_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    before, data = generator.get_state(), labelled()
    assert hold_out(data, 0.0, generator) == (data, None)
    assert torch.equal(generator.get_state(), before)


def test_training_sees_no_held_out_sample() -> None:
    data = Split(torch.randn(50, 4), torch.arange(50) % 3)
    trained: set[float] = set()
    evaluated: set[float] = set()

    def outputs(network: nn.Module, inputs: Inputs) -> torch.Tensor:
        assert isinstance(inputs, torch.Tensor)
        (trained if network.training else evaluated).update(inputs[:, 0].tolist())
        found: torch.Tensor = call(network, inputs)
        return found

    fit(SGD(epochs=3, batch_size=10, held_out=0.2), classifier(), data, outputs=outputs)
    assert (len(trained), len(evaluated)) == (40, 10)
    assert not trained & evaluated


def test_training_stops_and_keeps_the_best_weights() -> None:
    net = classifier()
    report, _ = fit(overfitting(), net, noise())
    losses = report.held_out_losses
    best = losses.index(min(losses)) + 1
    assert report.best_epoch == best
    assert len(losses) == best + 3 == report.epochs < 40
    assert report.reason == (
        f"stopped after epoch {best + 3}: no lower loss on held-out data for 3 epochs; "
        f"kept the weights of epoch {best}, the best on held-out data"
    )
    held = hold_out(noise(), 0.5, torch.Generator().manual_seed(0))[1]
    assert held is not None
    assert mean_loss(net, held) == pytest.approx(min(losses), rel=1e-5)


def test_best_weights_are_those_of_a_fit_that_a_hook_ends_there() -> None:
    net, other = classifier(dropout=0.2), classifier(dropout=0.2)
    report, _ = fit(overfitting(), net, noise())
    assert report.best_epoch is not None
    hooks = Hooks(every=(report.best_epoch * 2, lambda step: True))
    stopped, _ = fit(
        SGD(epochs=40, batch_size=10, lr=0.2, weight_decay=0.0, held_out=0.5, hooks=hooks),
        other,
        noise(),
    )
    assert stopped.reason.startswith("stopped by <lambda>")
    assert stopped.best_epoch == report.best_epoch
    assert equal(state(net), state(other))


def test_without_patience_all_epochs_are_done_and_the_best_kept() -> None:
    trainer = SGD(epochs=20, batch_size=10, lr=0.2, weight_decay=0.0, held_out=0.5)
    report, _ = fit(trainer, classifier(), noise())
    assert report.epochs == len(report.held_out_losses) == 20
    assert report.best_epoch is not None
    assert report.best_epoch < 20
    assert report.reason == (
        f"finished 20 epochs; kept the weights of epoch {report.best_epoch}, the best on held-out "
        "data"
    )


def test_held_out_passes_are_counted_forward_only() -> None:
    _, meter = fit(SGD(epochs=3, batch_size=16, held_out=0.2), classifier())
    assert meter.backward_samples == 3 * 48
    assert meter.forward_samples == 3 * (48 + 12)


def test_modes_survive_and_dropout_is_off_on_held_out_data() -> None:
    modes: list[bool] = []

    def outputs(network: nn.Module, inputs: Inputs) -> torch.Tensor:
        modes.append(network.training)
        found: torch.Tensor = call(network, inputs)
        return found

    net = classifier(dropout=0.5)
    net[3].train()
    fit(SGD(epochs=2, batch_size=24, held_out=0.2), net, outputs=outputs)
    assert modes == [True, True, False] * 2
    assert [m.training for m in net.modules()] == [isinstance(m, nn.Dropout) for m in net.modules()]


def test_a_loss_on_held_out_data_that_is_not_finite_is_an_error() -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        value = nn.functional.cross_entropy(outputs, targets)
        return value if outputs.requires_grad else value * float("inf")

    with pytest.raises(TrainingError, match="held-out data is inf after epoch 1"):
        fit(SGD(epochs=2, held_out=0.2), classifier(), loss=loss)


def test_too_few_samples_are_an_error_that_says_so() -> None:
    with pytest.raises(TrainingError, match=r"held_out=0.5 of 1 samples"):
        fit(SGD(held_out=0.5), classifier(), labelled(1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"held_out": 1.0}, "held_out must be"),
        ({"held_out": -0.1}, "held_out must be"),
        ({"held_out": 0.1, "patience": 0}, "patience must be"),
        ({"patience": 3}, "give held_out="),
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        SGD(**changes)


def test_a_hook_that_stops_in_the_middle_of_an_epoch_is_judged_too() -> None:
    def enough(step: TrainingStep) -> bool:
        return step.step >= 2

    report, _ = fit(
        SGD(epochs=5, batch_size=8, held_out=0.2, hooks=Hooks(every=(1, enough))), classifier()
    )
    assert (report.steps, len(report.held_out_losses), report.best_epoch) == (3, 1, 1)
    assert report.reason == "stopped by enough after step 3"
