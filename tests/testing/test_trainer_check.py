"""The check of trainers passes what is shipped and finds each broken rule."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.errors import TrainingError
from optprune.surgery.calling import batch_size
from optprune.testing import ConformanceError, check_trainer
from optprune.testing.lessons import lessons
from optprune.training import EKI, ESMDA, SGD, Distillation, EnKF, FitReport
from optprune.training.assimilation import CrossEntropy

REGRESSION, CLASSIFICATION = lessons()
SHORT = SGD(epochs=3, batch_size=16)


@pytest.mark.parametrize(
    "trainer",
    [
        SHORT,
        SGD(epochs=4, batch_size=16, held_out=0.2, patience=2, schedule="step", clip=1.0),
        Distillation(trainer=SHORT),
        Distillation(trainer=SHORT, cache=True),
        ESMDA(members=20),
        EnKF(members=20, batch_size=12, passes=2),
        EKI(members=20, epochs=3),
        EKI(members=20, epochs=3, batch_size=16, observation=CrossEntropy(), momentum=0.5),
    ],
    ids=lambda trainer: type(trainer).__name__,
)
def test_shipped_trainers_keep_the_rules(trainer):
    check_trainer(trainer)


@pytest.mark.parametrize("trainer", [Distillation(), EKI(observation=CrossEntropy())], ids=repr)
def test_a_trainer_that_only_takes_classes_fits_nothing_where_there_are_none(trainer):
    with pytest.raises(ConformanceError, match=r"fits none of the tasks. 'small regression': \w"):
        check_trainer(trainer, tasks=[REGRESSION])


@dataclass
class Descent:
    """Steps of gradient descent on all data, right but for one fault."""

    fault: str = ""
    calls: int = field(default=0, repr=False)

    def fit(self, network, data, *, loss, outputs, seed, meter):
        self.calls += 1
        if self.fault == "refuses":
            raise TrainingError("no.")
        inputs, losses = data.inputs, []
        modes = {module: module.training for module in network.modules()}
        network.eval()
        with meter.timed():
            for _ in range(5):
                found = network(inputs) if self.fault == "own outputs" else outputs(network, inputs)
                value = loss(found, data.targets)
                if self.fault != "forward":
                    meter.forward(batch_size(inputs))
                value.backward()
                if self.fault != "backward":
                    meter.backward(batch_size(inputs))
                with torch.no_grad():
                    for parameter in network.parameters():
                        if self.fault != "still":
                            parameter -= 0.1 * parameter.grad
                        if self.fault != "gradients":
                            parameter.grad = None
                losses.append(float(value.detach()))
        if self.fault != "modes":
            for module, mode in modes.items():
                module.training = mode
        report = FitReport(tuple(losses), 5, 5.0, 0.1, "done")
        return self.spoil(network, data, meter, report)

    def spoil(self, network, data, meter, report):
        """Add the faults that come after training."""
        with torch.no_grad():
            weight = next(network.parameters())
            if self.fault == "unseeded":
                weight.add_(1e-6 * self.calls)
            if self.fault == "global":
                weight.add_(1e-6 * np.random.standard_normal())  # noqa: NPY002
            if self.fault == "not finite":
                weight[0] = float("nan")
            if self.fault == "data":
                data.inputs.mul_(2.0)
            if self.fault == "changes and refuses":
                raise TrainingError("too late.")
        if self.fault == "seconds":
            meter.seconds = 0.0
        if self.fault == "disabled":
            torch.set_grad_enabled(False)
        if self.fault == "new parameters":
            network.hidden.weight = nn.Parameter(network.hidden.weight.detach().clone())
        if self.fault == "frozen":
            network.hidden.weight.requires_grad_(False)
        if self.fault == "type":
            network.register_buffer("seen", torch.zeros(1))
        if self.fault == "narrow" and network.hidden.out_features < 8:
            raise TrainingError("eight units are the least.")
        if self.fault == "configuration":
            self.fault = f"configuration {self.calls}"
        return REPORTS.get(self.fault, lambda report: report)(report)


REPORTS = {
    "no report": lambda report: None,
    "steps": lambda report: dataclasses.replace(report, steps=4),
    "no losses": lambda report: dataclasses.replace(report, losses=(), steps=0),
    "losses": lambda report: dataclasses.replace(report, losses=(float("nan"),) * 5),
    "tensors": lambda report: dataclasses.replace(report, losses=(torch.ones(()),) * 5),
    "epochs": lambda report: dataclasses.replace(report, epochs=0.0),
    "reason": lambda report: dataclasses.replace(report, reason=""),
}


def test_a_plain_loop_keeps_the_rules():
    check_trainer(Descent())


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("refuses", "fits none of the tasks. 'small regression': no."),
        ("changes and refuses", "changes the network and then refuses it (too late.)"),
        ("own outputs", "outputs it computes by outputs(network, inputs)"),
        ("forward", "passes 240 samples through the network and counts 0"),
        ("backward", "passes 240 samples back through the network and counts 0"),
        ("seconds", "counts no seconds"),
        ("modes", "leaves module 'dropout' in another mode"),
        ("gradients", "leaves a gradient, or another requires_grad, on 'hidden.weight'"),
        ("frozen", "leaves a gradient, or another requires_grad, on 'hidden.weight'"),
        ("new parameters", "replaces parameters of the network"),
        ("type", "changes names, shapes or types"),
        ("not finite", "leaves 'hidden.weight' not finite"),
        ("configuration", "changes its own configuration"),
        ("still", "leaves the loss on the training data at"),
        ("unseeded", "other weights or losses for the same seed"),
        ("narrow", "as a recovery by FineTune: Fine-tuning failed: eight units are the least."),
        ("no report", "must return an optprune.training.FitReport, not NoneType"),
        ("steps", "reports 4 steps and 5 losses"),
        ("no losses", "reports 0 steps and 0 losses"),
        ("losses", "reports losses that are not finite numbers"),
        ("tensors", "reports losses that are not finite numbers"),
        ("epochs", "reports 0.0 epochs"),
        ("reason", "must report as `reason` why it ended"),
    ],
)
def test_a_faulty_trainer_is_named(fault, words):
    with pytest.raises(ConformanceError) as caught:
        check_trainer(Descent(fault))
    assert words in str(caught.value)


def test_a_trainer_with_another_aim_need_not_lower_the_loss():
    check_trainer(Descent("still"), lowers=False)


def test_a_trainer_that_draws_from_a_global_generator_is_named():
    state = np.random.get_state()  # noqa: NPY002
    with pytest.raises(ConformanceError, match="numpy's global generator"):
        check_trainer(Descent("global"))
    np.random.set_state(state)  # noqa: NPY002


def test_a_trainer_that_switches_gradients_off_is_named():
    try:
        with pytest.raises(ConformanceError, match="leaves gradients on or off"):
            check_trainer(Descent("disabled"))
    finally:
        torch.set_grad_enabled(True)


def test_a_trainer_that_writes_to_the_data_is_named():
    with pytest.raises(ConformanceError, match="writes to the data"):
        check_trainer(Descent("data"), tasks=lessons())


@dataclass(frozen=True)
class ChangesItsTeacher(Distillation):
    """Pulls its teacher along."""

    def fit(self, network, data, **context):
        report = Distillation.fit(self, network, data, **context)
        with torch.no_grad():
            next(self.teacher.parameters()).mul_(0.99)
        return report


def test_a_trainer_that_changes_its_teacher_is_named():
    with pytest.raises(ConformanceError, match="changes its teacher"):
        check_trainer(ChangesItsTeacher(trainer=SHORT))


@dataclass
class Locked(Descent):
    """Holds what no other process can have."""

    lock: Any = field(default_factory=threading.Lock, repr=False)


def test_a_trainer_that_cannot_be_pickled_is_named():
    with pytest.raises(ConformanceError, match="cannot be pickled"):
        check_trainer(Locked())


def test_a_trainer_without_a_repr_is_told_to_be_a_dataclass():
    class Plain:
        fit = Descent.fit

    with pytest.raises(ConformanceError, match="make it a frozen dataclass"):
        check_trainer(Plain())


@pytest.mark.parametrize("wrong", [SGD, "SGD", nn.Identity()], ids=repr)
def test_what_is_no_trainer_is_named(wrong):
    with pytest.raises(ConformanceError, match="lacks `fit`, or is a class"):
        check_trainer(wrong)


@dataclass(frozen=True)
class Resuming(SGD):
    """Gradient descent with a fault in its checkpoints."""

    fault: str = ""

    def fit(self, network, data, **context):
        if self.fault == "silent" or self.checkpoint is None:
            plain = dataclasses.replace(self, checkpoint=None)
            return SGD.fit(plain, network, data, **context)
        if self.fault == "begins anew":
            Path(self.checkpoint).unlink(missing_ok=True)
        report = SGD.fit(self, network, data, **context)
        if self.fault == "alters":
            with torch.no_grad():
                network.last.bias.add_(1e-3)
        if self.fault == "forgets losses" and report.resumed:
            return dataclasses.replace(report, losses=report.losses[-1:])
        return dataclasses.replace(report, resumed=0) if self.fault == "denies" else report


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("silent", "writes no checkpoint before its first pass"),
        ("alters", "with a checkpoint, ends with other weights 'last.bias' than in one go"),
        ("begins anew", "interrupted and called again, ends with other weights"),
        ("forgets losses", "interrupted and called again, reports other losses"),
        ("denies", "trains again (0 of 9 steps resumed)"),
    ],
)
def test_a_faulty_checkpoint_is_named(fault, words):
    with pytest.raises(ConformanceError) as caught:
        check_trainer(Resuming(epochs=3, batch_size=16, fault=fault), tasks=[CLASSIFICATION])
    assert words in str(caught.value)


def test_a_checkpoint_of_the_inner_trainer_is_checked_too():
    inner = Resuming(epochs=3, batch_size=16, fault="silent")
    with pytest.raises(ConformanceError, match="writes no checkpoint"):
        check_trainer(Distillation(trainer=inner))
