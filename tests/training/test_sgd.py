"""Gradient descent fits, repeats itself for a seed, and says when it cannot go on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError
from optprune.meter import Meter
from optprune.split import Split
from optprune.surgery.calling import call
from optprune.training import SGD, FitReport, Hooks, Trainer, TrainingStep


def network(*, dropout: float = 0.0, normalized: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(8) if normalized else nn.Identity()
    return nn.Sequential(
        nn.Linear(3, 8), norm, nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1)
    ).eval()


def data(n: int = 40) -> Split:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(1))
    return Split(x, x[:, :1] - 2 * x[:, 1:2])


def fit(
    trainer: SGD, net: nn.Module, split: Split | None = None, *, seed: int = 0, loss: Any = None
) -> tuple[FitReport, Meter]:
    meter = Meter()
    report = trainer.fit(
        net,
        data() if split is None else split,
        loss=loss or nn.functional.mse_loss,
        outputs=call,
        seed=seed,
        meter=meter,
    )
    return report, meter


def weights(net: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach().clone()


def test_it_is_a_trainer_that_lowers_the_loss() -> None:
    trainer = SGD(epochs=30, batch_size=8, lr=0.05, weight_decay=0.0)
    assert isinstance(trainer, Trainer)
    report, _ = fit(trainer, network())
    assert report.losses[-1] < 0.05 * report.losses[0]
    assert report.reason == "finished 30 epochs"


def test_one_full_step_is_that_of_the_formula() -> None:
    net, split = network(), data()
    before = weights(net)
    loss = nn.functional.mse_loss(net(split.inputs), split.labels)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    gradient = torch.cat(
        [
            (g + (0.1 * p if p.dim() >= 2 else 0)).flatten()
            for g, p in zip(gradients, net.parameters(), strict=True)
        ]
    ).detach()
    rate, momentum = 0.2, 0.5
    fit(SGD(epochs=1, batch_size=40, lr=rate, momentum=momentum, weight_decay=0.1), net)
    torch.testing.assert_close(weights(net), before - rate * (gradient + momentum * gradient))


def test_steps_and_samples_are_counted() -> None:
    report, meter = fit(SGD(epochs=3, batch_size=16), network())
    assert (report.steps, report.epochs, len(report.losses)) == (9, 3.0, 9)
    assert meter.forward_samples == meter.backward_samples == 120
    assert meter.seconds > 0
    assert report.seconds > 0


def test_a_last_batch_of_one_is_left_out_where_batch_norm_could_not_follow() -> None:
    report, meter = fit(SGD(epochs=2, batch_size=13), network(normalized=True), data(40))
    assert report.steps == 6
    assert meter.forward_samples == 78


def test_a_seed_fixes_order_and_dropout_and_leaves_the_global_generator_alone() -> None:
    def run(seed: int, noise: int) -> torch.Tensor:
        net = network(dropout=0.3)
        torch.manual_seed(noise)
        before = torch.random.get_rng_state()
        fit(SGD(epochs=2, batch_size=8), net, seed=seed)
        assert torch.equal(before, torch.random.get_rng_state())
        return weights(net)

    assert torch.equal(run(1, 10), run(1, 20))
    assert not torch.equal(run(1, 10), run(2, 10))


def test_modes_and_gradients_are_left_as_before() -> None:
    net = network(dropout=0.3)
    net[3].train()
    net[0].bias.requires_grad_(False)
    bias = net[0].bias.clone()
    fit(SGD(epochs=1), net)
    assert [m.training for m in net.modules()] == [isinstance(m, nn.Dropout) for m in net.modules()]
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(bias, net[0].bias)


def test_cosine_schedule_falls_from_the_full_rate_to_nearly_zero() -> None:
    rates: list[float] = []
    hooks = Hooks(after_step=lambda step: rates.append(step.learning_rate))
    fit(SGD(epochs=4, batch_size=4, lr=0.1, hooks=hooks), network())
    assert rates[0] == 0.1
    assert rates == sorted(rates, reverse=True)
    assert rates[len(rates) // 2] == pytest.approx(0.05)
    assert 0 < rates[-1] < 0.001
    rates.clear()
    fit(SGD(epochs=1, batch_size=8, lr=0.1, schedule="constant", hooks=hooks), network())
    assert rates == [0.1] * 5


def test_hooks_are_called_in_order_and_see_the_step() -> None:
    calls: list[tuple[str, int]] = []

    def on_loss(loss: torch.Tensor, step: TrainingStep) -> torch.Tensor:
        calls.append(("loss", step.step))
        assert float(loss.detach()) == step.loss
        assert step.outputs.shape == step.targets.shape == (10, 1)
        return loss

    def on_grad(step: TrainingStep) -> None:
        assert all(p.grad is not None for p in step.network.parameters())
        calls.append(("grad", step.step))

    hooks = Hooks(
        on_loss=on_loss,
        on_grad=on_grad,
        after_step=lambda step: calls.append(("after", step.step)),
        every=(2, lambda step: calls.append(("every", step.step))),
    )
    fit(SGD(epochs=1, batch_size=10, hooks=hooks), network())
    one = [("loss", 0), ("grad", 0), ("after", 0)]
    assert calls[:3] == one
    assert [step for name, step in calls if name == "every"] == [1, 3]
    assert len(calls) == 3 * 4 + 2


def test_a_penalty_on_the_loss_is_differentiated_but_not_reported() -> None:
    def penalty(loss: torch.Tensor, step: TrainingStep) -> torch.Tensor:
        return loss + 10 * sum(p.square().sum() for p in step.network.parameters())

    plain, shrunk = network(), network()
    free, _ = fit(SGD(epochs=1, batch_size=40, lr=0.01), plain)
    penalized, _ = fit(SGD(epochs=1, batch_size=40, lr=0.01, hooks=Hooks(on_loss=penalty)), shrunk)
    assert free.losses == penalized.losses
    assert weights(shrunk).norm() < 0.9 * weights(plain).norm()


def test_gradient_and_step_hooks_can_hold_parameters_fixed() -> None:
    def still(step: TrainingStep) -> None:
        for parameter in step.network.parameters():
            assert parameter.grad is not None
            parameter.grad.zero_()

    @torch.no_grad()
    def sparse(step: TrainingStep) -> None:
        weight = next(step.network.parameters())
        weight[:4] = 0

    net = network()
    before = weights(net)
    fit(SGD(epochs=2, weight_decay=0.0, hooks=Hooks(on_grad=still)), net)
    assert torch.equal(weights(net), before)
    fit(SGD(epochs=2, hooks=Hooks(after_step=sparse)), net)
    assert not net[0].weight[:4].any()
    assert net[0].weight[4:].all()


def test_hooks_of_two_methods_are_joined() -> None:
    calls: list[str] = []
    left = Hooks(after_step=lambda step: calls.append("left"))
    right = Hooks(
        after_step=lambda step: calls.append("right"), every=((1, lambda s: calls.append("e")),)
    )
    fit(SGD(epochs=1, batch_size=40, hooks=left + right), network())
    assert calls == ["left", "right", "e"]


def test_a_hook_can_end_training() -> None:
    def enough(step: TrainingStep) -> bool:
        return step.step >= 3

    report, meter = fit(SGD(epochs=10, batch_size=8, hooks=Hooks(every=(2, enough))), network())
    assert report.steps == 4
    assert report.reason == "stopped by enough after step 4"
    assert report.epochs == pytest.approx(4 / 5)
    assert meter.backward_samples == 32


def test_clipping_bounds_the_step() -> None:
    net = network()
    before = weights(net)
    fit(SGD(epochs=1, batch_size=40, lr=1.0, momentum=0.0, weight_decay=0.0, clip=0.01), net)
    assert float((weights(net) - before).norm()) == pytest.approx(0.01, rel=1e-3)


def test_a_loss_that_is_not_finite_ends_with_an_error_that_says_where() -> None:
    with pytest.raises(TrainingError, match=r"The loss is (nan|inf) at step .* lower lr"):
        fit(SGD(epochs=50, lr=1e6, weight_decay=0.0), network())
    net = network().train()
    with pytest.raises(TrainingError, match="at step 1 of 1"):
        fit(SGD(epochs=1), net, loss=lambda o, t: (o - t).sum() * float("nan"))
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())


def test_parameters_that_are_not_finite_after_the_last_step_are_an_error() -> None:
    def spoil(step: TrainingStep) -> None:
        for parameter in step.network.parameters():
            assert parameter.grad is not None
            parameter.grad.fill_(float("inf"))

    with pytest.raises(TrainingError, match="not finite"):
        fit(SGD(epochs=1, hooks=Hooks(on_grad=spoil)), network())


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(TrainingError, match="no parameter to train"):
        fit(SGD(), network().requires_grad_(False))
    with pytest.raises(TrainingError, match="no targets"):
        fit(SGD(), network(), Split(torch.zeros(4, 3)))


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"batch_size": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"momentum": 1.0},
        {"weight_decay": -1e-4},
        {"schedule": "triangle"},
        {"clip": 0.0},
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(changes))):
        SGD(**changes)


@pytest.mark.parametrize(
    ("hooks", "error"),
    [
        ({"on_loss": 3}, ArgumentTypeError),
        ({"after_step": (print, "x")}, ArgumentTypeError),
        ({"every": (print,)}, ArgumentTypeError),
        ({"every": (2, "x")}, ArgumentTypeError),
        ({"every": (0, print)}, ArgumentError),
    ],
)
def test_wrong_hooks_are_named(hooks: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(hooks))):
        Hooks(**hooks)


def test_equal_settings_are_equal_trainers() -> None:
    assert SGD(epochs=3) == SGD(epochs=3) != SGD(epochs=4)
    assert hash(SGD(epochs=3)) == hash(SGD(epochs=3))
