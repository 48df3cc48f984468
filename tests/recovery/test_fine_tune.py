"""Fine-tuning takes any trainer, gives it the dense network as a teacher, and shares no file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, RecoveryError
from optprune.meter import Meter
from optprune.recovery import FineTune, RecoveryContext
from optprune.search.finishing import finish
from optprune.surgery import Slicer, trace
from optprune.task import Task
from optprune.testing import check_recovery
from optprune.training import EKI, ESMDA, SGD, Distillation, EnKF
from optprune.training.assimilation import CrossEntropy

SHORT = SGD(epochs=2, batch_size=20, lr=0.05)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(4, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 3)
    ).eval()


def task(**changes: Any) -> Task:
    inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
    split = (inputs, inputs[:, :3].argmax(dim=1))
    arguments: dict[str, Any] = {"train": split, "validation": split} | changes
    return Task(network(), **arguments)


def context(the_task: Task) -> tuple[nn.Module, RecoveryContext]:
    """Return a small network that lost half of its channels, and its context."""
    graph = trace(the_task.network, the_task.example)
    structure = graph.structure(np.arange(graph.n_units) % 2 == 1)
    slicer = Slicer(the_task.network, graph)
    small = slicer.load(structure, slicer.take(structure))
    return small, RecoveryContext(the_task, graph, structure, 3, Meter())


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in net.state_dict().values()]).clone()


def recovered(trainer: Any) -> torch.Tensor:
    small, its_context = context(task())
    FineTune(trainer).recover(small, its_context)
    return weights(small)


ASSIMILATION = {
    "ESMDA": ESMDA(members=30, parameters="4.*"),
    "EnKF": EnKF(members=30, batch_size=10),
    "EKI": EKI(members=30, epochs=3, observation=CrossEntropy(), momentum=0.5),
}


@pytest.mark.parametrize("trainer", ASSIMILATION.values(), ids=ASSIMILATION)
def test_assimilation_repairs_without_gradients_and_keeps_the_rules(trainer: Any) -> None:
    check_recovery(FineTune(replace(trainer, parameters="*")))
    given = task()
    assert given.train is not None
    small, its_context = context(given)
    before = float(given.loss(given.predict(small, given.train), given.train.labels))
    FineTune(trainer).recover(small, its_context)
    after = float(given.loss(given.predict(small, given.train), given.train.labels))
    assert after < 0.9 * before
    assert its_context.meter.backward_samples == 0


@pytest.mark.parametrize("cache", [False, True])
def test_distillation_keeps_the_rules_of_a_recovery(cache: bool) -> None:
    check_recovery(FineTune(Distillation(trainer=SGD(epochs=1), cache=cache)))


def test_the_dense_network_is_the_teacher_where_none_is_given() -> None:
    taught = recovered(Distillation(trainer=SHORT))
    assert torch.equal(taught, recovered(Distillation(network(), SHORT)))
    assert not torch.equal(taught, recovered(Distillation(network(seed=5), SHORT)))


def test_the_dense_network_is_not_changed_and_its_samples_are_counted() -> None:
    the_task = task()
    before, modes = weights(the_task.network), [m.training for m in the_task.network.modules()]
    small, its_context = context(the_task)
    FineTune(Distillation(trainer=SHORT)).recover(small, its_context)
    assert torch.equal(weights(the_task.network), before)
    assert [m.training for m in the_task.network.modules()] == modes
    assert its_context.meter.backward_samples == 120
    assert its_context.meter.forward_samples == 240


def test_distilling_brings_the_outputs_nearer_to_the_dense_ones() -> None:
    the_task = task()
    small, its_context = context(the_task)

    def distance() -> float:
        dense, own = (
            the_task.predict(net, the_task.validation, meter=Meter())
            for net in (the_task.network, small)
        )
        return float((dense.softmax(dim=1) - own.softmax(dim=1)).norm())

    before = distance()
    trainer = Distillation(trainer=replace(SHORT, epochs=40), weight=1.0)
    FineTune(trainer).recover(small, its_context)
    assert distance() < 0.8 * before


def test_what_cannot_be_distilled_is_an_error_of_the_recovery() -> None:
    split = (torch.randn(20, 4), torch.randn(20, 3))
    small, its_context = context(task(train=split, validation=split))
    with pytest.raises(RecoveryError, match="Fine-tuning failed: Distillation needs classific"):
        FineTune(Distillation()).recover(small, its_context)


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: Distillation(trainer=t)])
def test_a_checkpoint_is_refused_because_candidates_would_share_it(
    wrap: Any, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match="all candidates of a search would write that one file"):
        FineTune(wrap(SGD(checkpoint=tmp_path / "fit")))
    FineTune(wrap(SGD()))


def test_finishing_takes_the_dense_network_as_teacher_and_a_checkpoint(tmp_path: Path) -> None:
    found = []
    trainer = replace(SHORT, checkpoint=tmp_path / "fit")
    for teacher in (None, None, network()):
        the_task = task()
        small, _ = context(the_task)
        done = finish(the_task, small, Distillation(teacher, trainer), 3)
        found.append((weights(done.network), done.fit.resumed))
    assert [resumed for _, resumed in found] == [0, 6, 6]
    assert all(torch.equal(values, found[0][0]) for values, _ in found)
