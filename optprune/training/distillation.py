"""Knowledge distillation: a network learns from labels and from the outputs of a teacher."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import kl_div, log_softmax

from optprune.device import network_device
from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError
from optprune.losses import kind_of
from optprune.meter import Meter
from optprune.split import Split
from optprune.surgery.calling import (
    Inputs,
    batch_size,
    evaluating,
    map_inputs,
    preserving_buffers,
)
from optprune.training.protocol import FitReport, Trainer
from optprune.training.sgd import SGD

__all__ = ["Distillation", "soft_loss"]

_CACHE_BATCH = 256


@dataclass(frozen=True)
class Distillation:
    r"""Trains a classifier towards the outputs of a teacher.

    Parameters
    ----------
    teacher : nn.Module, optional
        A network on the same inputs with the same classes, on the same device; used in evaluation
        mode and not changed. None means the dense network in a recovery
        (`optprune.recovery.FineTune`) and in ``Result.finish``; elsewhere it must be given.
    trainer : Trainer
        Minimizes the loss; its hooks, schedule, checkpoint and so on act as always.
    temperature : float
        T, divides the logits of both networks; larger ones show more of the classes that the
        teacher thinks unlikely.
    weight : float
        In [0, 1]: how much the teacher counts against the labels.
    cache : bool
        Whether the teacher's outputs are computed once for a whole fit rather than for every
        batch. Right only where the network sees the same inputs in each epoch: not where
        `outputs` augments them in training. Memory: samples x classes numbers. Hooks then see
        targets of shape ``(n, 2)``: label, and index of the sample in the data.

    Raises
    ------
    ArgumentError
        When `temperature` or `weight` is out of its range.
    ArgumentTypeError
        When `teacher` is no network or `trainer` no trainer.

    Notes
    -----
    With logits s of the network and t of the teacher, labels y, weight :math:`\alpha` and the loss
    of the fit L (cross-entropy for a `Task` with labels), each a mean over samples, what is
    minimized and reported, also on held-out data, is [1]_

    .. math:: (1 - \alpha)\, L(s, y) + \alpha\, T^2\, \mathrm{KL}\bigl(
              \mathrm{softmax}(t / T) \,\|\, \mathrm{softmax}(s / T)\bigr).

    The gradient of the divergence falls as :math:`1 / T^2`; with the factor it tends to
    :math:`(\bar s - \bar t) / C` for large T, the logits centered over C classes: that of half the
    mean squared error between them.

    The teacher gets exactly what the network is called with, so that random changes that `outputs`
    makes to the inputs are the same for both. Its samples are counted on the meter as forward
    samples: one more for each of the network's, or with `cache` one for each of the data.

    In fingerprints and checkpoints a teacher that was given counts by its class, weights and mode.

    References
    ----------
    .. [1] G. Hinton, O. Vinyals and J. Dean, Distilling the knowledge in a neural network, 2015,
       arXiv:1503.02531.
    """

    teacher: nn.Module | None = None
    trainer: Trainer = field(default_factory=SGD)
    temperature: float = 4.0
    weight: float = 0.9
    cache: bool = False

    def __post_init__(self) -> None:
        if self.teacher is not None and not isinstance(self.teacher, nn.Module):
            raise ArgumentTypeError(
                f"teacher must be an nn.Module or None, got {type(self.teacher).__name__}."
            )
        if isinstance(self.trainer, type) or not isinstance(self.trainer, Trainer):
            raise ArgumentTypeError(
                "trainer must be a Trainer such as optprune.training.SGD(epochs=1), got "
                f"{self.trainer!r}."
            )
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ArgumentError(f"temperature must be a positive number, got {self.temperature!r}.")
        if not 0 <= self.weight <= 1:
            raise ArgumentError(f"weight must be between 0 and 1, got {self.weight!r}.")

    def __repr__(self) -> str:
        """Show the configuration, the teacher by its class alone."""
        shown = {f.name: repr(getattr(self, f.name)) for f in dataclasses.fields(self)}
        if self.teacher is not None:
            shown["teacher"] = f"{type(self.teacher).__name__}(...)"
        return f"Distillation({', '.join(f'{name}={text}' for name, text in shown.items())})"

    @property
    def checkpoint(self) -> str | Path | None:
        """The file that the trainer writes while training, if any."""
        found: str | Path | None = getattr(self.trainer, "checkpoint", None)
        return found

    def with_teacher(self, network: nn.Module) -> Distillation:
        """Return this with a network as its teacher; itself where it has one already."""
        return self if self.teacher is not None else dataclasses.replace(self, teacher=network)

    def fit(
        self,
        network: nn.Module,
        data: Split,
        *,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        outputs: Callable[[nn.Module, Inputs], torch.Tensor],
        seed: int,
        meter: Meter,
    ) -> FitReport:
        """Fit a network in place; see `optprune.training.Trainer.fit`.

        Raises
        ------
        ArgumentError
            When there is no teacher, it is the network itself, or it is on another device.
        TrainingError
            When the task is no classification, the teacher has other classes, or the trainer
            cannot go on.
        """
        teacher = self._checked_teacher(network, data)
        if data.targets is None or data.targets.dim() != 1 or data.targets.is_floating_point():
            shown = "none" if data.targets is None else _shown(data.targets)
            raise TrainingError(
                "Distillation needs classification, with integer labels of shape (n,) as targets; "
                f"the targets are {shown}. Use the trainer alone, such as SGD()."
            )
        lesson = _Lesson(
            teacher, loss, self.temperature, self.weight, self.cache, outputs, meter, data
        )
        with evaluating(teacher), preserving_buffers(teacher):
            return self.trainer.fit(
                network, lesson.data, loss=lesson, outputs=lesson.outputs, seed=seed, meter=meter
            )

    def _checked_teacher(self, network: nn.Module, data: Split) -> nn.Module:
        if self.teacher is None:
            raise ArgumentError(
                "Distillation has no teacher: give one, Distillation(teacher=network); only "
                "FineTune and Result.finish take the dense network where there is none."
            )
        if self.teacher is network:
            raise ArgumentError(
                "teacher is the network in training itself: give a copy, copy.deepcopy(network)."
            )
        device = network_device(self.teacher)
        if device is not None and device != data.device:
            raise ArgumentError(
                f"teacher is on {device} and the data on {data.device}: move it there with "
                f"teacher.to({str(data.device)!r})."
            )
        return self.teacher


def soft_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the divergence of the student's softened outputs from the teacher's, times T squared.

    Parameters
    ----------
    student, teacher : Tensor, shape ``(n, classes)``
        Logits.
    temperature : float
        T.

    Returns
    -------
    Tensor
        One number, the mean over samples, in nats times T squared; 0 where both are equal.
    """
    own = log_softmax(student / temperature, dim=1)
    aim = log_softmax(teacher / temperature, dim=1)
    return temperature**2 * kl_div(own, aim, reduction="batchmean", log_target=True)


@dataclass
class _Lesson:
    """The loss of one fit, with the teacher's outputs for the batch under way.

    Its fields are what decides the loss, and are what a checkpoint remembers of it.
    """

    teacher: nn.Module
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    temperature: float
    weight: float
    cache: bool
    student_outputs: InitVar[Callable[[nn.Module, Inputs], torch.Tensor]]
    meter: InitVar[Meter]
    samples: InitVar[Split]

    def __post_init__(
        self,
        student_outputs: Callable[[nn.Module, Inputs], torch.Tensor],
        meter: Meter,
        samples: Split,
    ) -> None:
        self._outputs, self._meter, self._samples = student_outputs, meter, samples
        self._known: torch.Tensor | None = None
        self._latest: list[torch.Tensor] = []

    @property
    def data(self) -> Split:
        """The data of the fit; where outputs are cached, its targets are (label, position)."""
        if not self.cache:
            return self._samples
        labels = self._samples.labels
        positions = torch.arange(len(labels), device=labels.device)
        return Split(self._samples.inputs, torch.stack((labels.long(), positions), dim=1))

    def outputs(self, network: nn.Module, inputs: Inputs) -> torch.Tensor:
        """Return the student's outputs, and keep the teacher's for the same inputs."""
        self._latest.clear()
        if self.cache:
            return self._outputs(network, inputs)
        # At the call itself: before it, what `outputs` makes of the inputs is not known; after it,
        # the network may have written into them.
        handle = network.register_forward_pre_hook(self._see, prepend=True, with_kwargs=True)
        try:
            return self._outputs(network, inputs)
        finally:
            handle.remove()

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch."""
        if self.cache:
            labels, position = targets.unbind(1)
            aim, labels = self._all()[position], labels.to(self._samples.labels.dtype)
        else:
            aim, labels = self._one(), targets
        if kind_of(outputs, labels) != "classification" or aim.shape != outputs.shape:
            raise TrainingError(
                "Distillation needs outputs of shape (n, classes), the same of network and "
                f"teacher; the network's are {_shown(outputs)}, the teacher's {_shown(aim)}."
            )
        total = self.weight * soft_loss(outputs, aim, self.temperature)
        if self.weight < 1:
            total = total + (1 - self.weight) * self.loss(outputs, labels)
        return total

    def _see(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Ask the teacher about whatever a network is called with."""
        if args and kwargs:
            raise TrainingError(
                "outputs calls the network with positional and with keyword arguments, and a "
                "teacher can be given either only: use Distillation(cache=True), if the network "
                "sees the same inputs in each epoch."
            )
        seen: Inputs = kwargs or (args[0] if len(args) == 1 else args)
        with torch.no_grad():
            copied = map_inputs(torch.Tensor.clone, seen)
            self._latest.append(self._outputs(self.teacher, copied).detach())
        self._meter.forward(batch_size(seen))

    def _one(self) -> torch.Tensor:
        if len(self._latest) != 1:
            raise TrainingError(
                f"outputs calls the network {len(self._latest)} times for a batch, and the teacher "
                "answers to one call: use Distillation(cache=True), if the network sees the same "
                "inputs in each epoch."
            )
        return self._latest[0]

    def _all(self) -> torch.Tensor:
        if self._known is None:
            with torch.no_grad():
                batches = self._samples.batches(_CACHE_BATCH)
                self._known = torch.cat([self._outputs(self.teacher, x) for x, _ in batches])
            self._meter.forward(len(self._samples))
        return self._known


def _shown(tensor: torch.Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"
