"""Further training of one network, and the report on the test split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn

from optprune.errors import OptpruneError, RecoveryError, TaskError
from optprune.meter import Meter
from optprune.training import taught_by

if TYPE_CHECKING:
    from optprune.task import Split, Task
    from optprune.training import FitReport, Trainer

__all__ = ["Finished", "finish", "measured_on"]


@dataclass(frozen=True)
class Finished:
    """A network that was trained further.

    Parameters
    ----------
    network : nn.Module
        The network, in evaluation mode.
    fit : FitReport
        What the trainer reports.
    before, after : mapping of str to float
        The task's score, its loss and, for classification, the error on the validation split.
    meter : Meter
        What the training took.
    """

    network: nn.Module = field(repr=False)
    fit: FitReport = field(repr=False)
    before: Mapping[str, float]
    after: Mapping[str, float]
    meter: Meter


def finish(task: Task, network: nn.Module, trainer: Trainer, seed: int) -> Finished:
    """Train a network in place on the task's training split.

    Parameters
    ----------
    task : Task
        Gives data and loss.
    network : nn.Module
        Changed in place.
    trainer : Trainer
        How it is trained; one that learns from a teacher and has none learns from the task's dense
        network.
    seed : int
        The only source of randomness of the training.

    Returns
    -------
    Finished

    Raises
    ------
    TaskError
        If the task has no training split.
    RecoveryError
        If the trainer raises something that is no error of optprune.
    """
    if task.train is None:
        raise TaskError(
            f"task {task.name!r} has no training split, which training further needs; make the "
            "Task with train=(inputs, targets)."
        )
    meter = Meter()
    before = measured_on(task, network, task.validation, Meter())
    try:
        fit = taught_by(trainer, task.network).fit(
            network, task.train, loss=task.loss, outputs=task.outputs, seed=seed, meter=meter
        )
    except OptpruneError:
        raise
    except Exception as error:
        raise RecoveryError(
            f"trainer {trainer!r} raised {type(error).__name__}: {error}"
        ) from error
    network.eval()
    return Finished(
        network, fit, before, measured_on(task, network, task.validation, Meter()), meter
    )


def measured_on(task: Task, network: nn.Module, split: Split, meter: Meter) -> dict[str, float]:
    """Measure a network on a split.

    Parameters
    ----------
    task : Task
        Gives score and loss.
    network : nn.Module
        What to measure.
    split : Split
        On which samples.
    meter : Meter
        Counts the forward pass.

    Returns
    -------
    dict of str to float
        The task's score by its name, ``loss`` and, for classification, ``error`` (1 - accuracy).
    """
    outputs = task.predict(network, split, meter=meter)
    targets = split.labels
    values = {task.score.name: float(task.score(outputs, targets))}
    with torch.no_grad():
        values.setdefault("loss", float(task.loss(outputs, targets)))
    if task.kind == "classification":
        wrong = outputs.argmax(dim=1) != targets
        values.setdefault("error", float(wrong.double().mean()))
    return values
