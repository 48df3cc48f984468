"""Distillation pulls a network towards a teacher's outputs, by the formula."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, LoadError, TrainingError
from optprune.fingerprint import describe
from optprune.split import Split
from optprune.surgery.calling import Inputs, call
from optprune.training import (
    SGD,
    Distillation,
    Hooks,
    TaughtTrainer,
    Trainer,
    TrainingStep,
    taught_by,
)
from optprune.training.distillation import soft_loss
from tests.training.cases import classifier, equal, fit, labelled, state

PLAIN = SGD(epochs=1, batch_size=60, lr=0.1, momentum=0.0, weight_decay=0.0)


def linear(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3))


def test_it_is_a_trainer_that_learns_from_a_teacher() -> None:
    trainer = Distillation(linear())
    assert isinstance(trainer, Trainer)
    assert isinstance(trainer, TaughtTrainer)
    assert not isinstance(SGD(), TaughtTrainer)


def test_a_student_that_equals_its_teacher_has_no_loss_and_stays() -> None:
    net = linear()
    before = state(net)
    report, _ = fit(Distillation(copy.deepcopy(net), PLAIN, weight=1.0), net)
    assert report.losses == (0.0,)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=1e-7, rtol=0.0)


def test_the_loss_is_the_formula() -> None:
    net, teacher, data = linear(0), linear(1), labelled()
    with torch.no_grad():
        s, t = net(data.inputs).double(), teacher(data.inputs).double()
    p, q = (t / 3).softmax(dim=1), (s / 3).softmax(dim=1)
    soft = 9 * (p * (p / q).log()).sum(dim=1).mean()
    hard = -s.log_softmax(dim=1)[torch.arange(60), data.labels].mean()
    report, _ = fit(Distillation(teacher, PLAIN, temperature=3.0, weight=0.7), net)
    assert report.losses[0] == pytest.approx(float(0.3 * hard + 0.7 * soft), rel=1e-5)


def test_without_weight_it_is_training_by_the_labels() -> None:
    taught, alone = linear(), linear()
    trainer = SGD(epochs=3, batch_size=16)
    fit(Distillation(linear(1), trainer, weight=0.0), taught)
    fit(trainer, alone)
    for name, value in taught.state_dict().items():
        torch.testing.assert_close(value, alone.state_dict()[name])


def test_for_large_temperatures_the_gradient_is_that_of_centered_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    s, t = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    difference = s - t
    limit = (difference - difference.mean(dim=1, keepdim=True)) / 7 / 5
    norms = []
    for temperature in (50.0, 100.0, 1000.0):
        student = s.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(soft_loss(student, t, temperature), student)
        torch.testing.assert_close(gradient, limit, rtol=0, atol=3 / temperature * 0.1)
        norms.append(float(gradient.norm()))
    assert norms == pytest.approx([float(limit.norm())] * 3, rel=0.05)
    expected = (difference - difference.mean(dim=1, keepdim=True)).square().mean() / 2
    assert float(soft_loss(s, t, 1000.0)) == pytest.approx(float(expected), rel=1e-2)


def test_the_divergence_ignores_shifts_of_all_logits_and_is_not_negative() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        s, t = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
        found = soft_loss(s, t, 2.0)
        assert float(found) > 0
        torch.testing.assert_close(soft_loss(s + 3, t - 5, 2.0), found)
        torch.testing.assert_close(soft_loss(s, s - 5, 2.0), torch.zeros((), dtype=torch.float64))


@pytest.mark.parametrize("cache", [False, True])
def test_a_student_comes_to_agree_with_its_teacher(cache: bool) -> None:
    net, teacher, data = classifier(), classifier(seed=1), labelled()
    aim = teacher(data.inputs).argmax(dim=1)
    trainer = Distillation(teacher, SGD(epochs=60, batch_size=20, lr=0.2), weight=1.0, cache=cache)
    fit(trainer, net)
    assert float((net(data.inputs).argmax(dim=1) == aim).double().mean()) > 0.9


def test_the_cache_changes_no_weight_but_the_cost() -> None:
    one, other = classifier(dropout=0.2), classifier(dropout=0.2)
    trainer = Distillation(classifier(seed=1), SGD(epochs=3, batch_size=20))
    _, each_batch = fit(trainer, one)
    _, once = fit(replace(trainer, cache=True), other)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name])
    assert each_batch.backward_samples == once.backward_samples == 180
    assert each_batch.forward_samples == 180 + 180
    assert once.forward_samples == 180 + 60


def test_teacher_samples_of_held_out_data_are_counted_too() -> None:
    trainer = Distillation(linear(1), SGD(epochs=2, batch_size=16, held_out=0.2))
    report, meter = fit(trainer, linear())
    assert len(report.held_out_losses) == 2
    assert meter.forward_samples == 2 * 2 * 60


def test_a_teacher_is_evaluated_and_not_changed() -> None:
    teacher = classifier(seed=1, dropout=0.5).train()
    teacher[1].eval()
    before, modes = state(teacher), [module.training for module in teacher.modules()]
    seen: list[bool] = []
    handle = teacher.register_forward_hook(
        lambda module, x, y: seen.append(module.training or torch.is_grad_enabled())
    )
    fit(Distillation(teacher, SGD(epochs=2, batch_size=16)), classifier())
    handle.remove()
    assert seen
    assert not any(seen)
    assert equal(state(teacher), before)
    assert [module.training for module in teacher.modules()] == modes
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_network_and_teacher_see_the_same_augmented_inputs() -> None:
    seen: dict[str, list[torch.Tensor]] = {"student": [], "teacher": []}

    def outputs(network: nn.Module, inputs: Inputs) -> torch.Tensor:
        assert isinstance(inputs, torch.Tensor)
        if network.training:
            inputs = inputs + torch.randn_like(inputs)
        found: torch.Tensor = call(network, inputs)
        return found

    net, teacher = linear(), linear(1)
    for name, module in (("student", net), ("teacher", teacher)):
        module[0].register_forward_pre_hook(lambda m, x, name=name: seen[name].append(x[0].clone()))
    fit(Distillation(teacher, SGD(epochs=2, batch_size=20)), net, outputs=outputs)
    assert len(seen["student"]) == 6
    pairs = zip(seen["student"], seen["teacher"], strict=True)
    assert all(torch.equal(own, its) for own, its in pairs)
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(seen["student"]))


class InPlace(nn.Module):
    """Writes into its inputs, which come by name."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, *, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.linear(x.mul_(0.5))
        return found


def test_networks_that_write_into_their_inputs_do_not_disturb_each_other() -> None:
    def outputs(network: nn.Module, inputs: Inputs) -> torch.Tensor:
        assert isinstance(inputs, dict)
        found: torch.Tensor = call(network, {"x": inputs["x"].clone()})
        return found

    torch.manual_seed(0)
    net = InPlace()
    data = Split({"x": labelled().inputs}, labelled().labels)  # type: ignore[dict-item]
    report, _ = fit(Distillation(copy.deepcopy(net), PLAIN, weight=1.0), net, data, outputs=outputs)
    assert report.losses == (0.0,)


def test_hooks_of_the_trainer_see_the_loss_and_the_outputs_of_the_student() -> None:
    steps: list[TrainingStep] = []
    trainer = replace(PLAIN, hooks=Hooks(after_step=steps.append))
    for cache in (False, True):
        fit(Distillation(linear(1), trainer, cache=cache), linear())
    assert [step.outputs.shape for step in steps] == [(60, 3)] * 2
    assert [step.targets.shape for step in steps] == [(60,), (60, 2)]
    assert steps[0].loss == pytest.approx(steps[1].loss)
    assert torch.equal(labelled().labels[steps[1].targets[:, 1]], steps[1].targets[:, 0])


@pytest.mark.parametrize("cache", [False, True])
def test_an_interrupted_distillation_goes_on_and_knows_its_teacher(
    cache: bool, tmp_path: Path
) -> None:
    armed = [False]

    def interrupt(step: TrainingStep) -> None:
        if armed[0] and step.step == 7:
            raise KeyboardInterrupt

    whole, net = classifier(dropout=0.2), classifier(dropout=0.2)
    sgd = SGD(epochs=4, batch_size=20, hooks=Hooks(after_step=interrupt))
    trainer = Distillation(classifier(seed=1), sgd, cache=cache)
    fit(trainer, whole)
    trainer = replace(trainer, trainer=replace(sgd, checkpoint=tmp_path / "fit"))
    assert trainer.checkpoint == tmp_path / "fit"
    armed[0] = True
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, net)
    for changes in ({"teacher": classifier(seed=2)}, {"temperature": 2.0}, {"weight": 0.5}):
        with pytest.raises(LoadError, match="loss is"):
            fit(replace(trainer, **changes), net)
    armed[0] = False
    report, _ = fit(trainer, net)
    assert report.resumed == 6
    assert equal(state(net), state(whole))


def test_a_teacher_counts_by_its_weights_in_a_fingerprint() -> None:
    one, same, other = (describe(Distillation(classifier(seed=seed))) for seed in (1, 1, 2))
    assert one == same != other
    assert describe(Distillation()) not in (one, other)


def test_a_given_teacher_stays_and_a_missing_one_is_filled_in() -> None:
    dense, own = linear(1), linear(2)
    assert Distillation().with_teacher(dense) == Distillation(dense)
    assert Distillation(own).with_teacher(dense).teacher is own
    assert taught_by(Distillation(), dense) == Distillation(dense)
    trainer = SGD()
    assert taught_by(trainer, dense) is trainer


def test_the_configuration_is_shown_with_the_teacher_by_name() -> None:
    assert repr(Distillation(linear(), weight=0.5)).startswith(
        "Distillation(teacher=Sequential(...), trainer=SGD("
    )
    assert repr(Distillation()).startswith("Distillation(teacher=None, ")


def test_a_missing_or_impossible_teacher_is_an_error() -> None:
    net = linear()
    with pytest.raises(ArgumentError, match=r"no teacher: give one, Distillation\(teacher="):
        fit(Distillation(), net)
    with pytest.raises(ArgumentError, match="deepcopy"):
        fit(Distillation(net), net)
    with pytest.raises(TrainingError, match="the same of network and teacher"):
        fit(Distillation(nn.Linear(4, 5)), net)


@pytest.mark.parametrize(
    "targets", [None, torch.zeros(60), torch.zeros(60, 1, dtype=torch.long)], ids=str
)
def test_only_classification_is_distilled(targets: torch.Tensor | None) -> None:
    with pytest.raises(TrainingError, match="Distillation needs classification"):
        fit(Distillation(linear(1)), linear(), Split(torch.randn(60, 4), targets))


def test_outputs_of_another_shape_are_refused() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3)))
    with pytest.raises(TrainingError, match=r"outputs of shape \(n, classes\)"):
        fit(Distillation(copy.deepcopy(net)), net)


def test_two_calls_for_a_batch_need_the_cache() -> None:
    def outputs(network: nn.Module, inputs: Inputs) -> torch.Tensor:
        found: torch.Tensor = (call(network, inputs) + call(network, inputs)) / 2
        return found

    trainer = Distillation(linear(1), PLAIN)
    with pytest.raises(TrainingError, match=r"calls the network 2 times.*cache=True"):
        fit(trainer, linear(), outputs=outputs)
    report, _ = fit(replace(trainer, cache=True), linear(), outputs=outputs)
    assert report.steps == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"temperature": 0.0}, ArgumentError),
        ({"temperature": float("inf")}, ArgumentError),
        ({"weight": 1.1}, ArgumentError),
        ({"weight": float("nan")}, ArgumentError),
        ({"teacher": "resnet"}, ArgumentTypeError),
        ({"trainer": SGD}, ArgumentTypeError),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(changes))):
        Distillation(**changes)
