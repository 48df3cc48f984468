"""What every trainer must do: the checks that a plug-in's author runs."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import cloudpickle
import torch
from torch import nn

from optprune.errors import OptpruneError, TrainingError
from optprune.meter import Meter
from optprune.recovery import FineTune
from optprune.surgery.calling import Inputs, input_tensors
from optprune.task import Task
from optprune.testing.conformance import ConformanceError, leaves_randomness_alone, require
from optprune.testing.lessons import lessons, student
from optprune.testing.networks import passes_counted
from optprune.testing.recovery import check_recovery
from optprune.testing.resuming import check_checkpoint
from optprune.training import FitReport, Trainer, taught_by

__all__ = ["check_trainer"]


def check_trainer(
    trainer: Trainer, *, tasks: Sequence[Task] | None = None, lowers: bool = True
) -> None:
    """Fit small networks and check that a trainer keeps the rules.

    Parameters
    ----------
    trainer : Trainer
        What to check. A trainer that learns from a teacher and has none gets one.
    tasks : sequence of Task, optional
        What is learned, from the train split; the task's network is the teacher, and a copy of
        other weights the student. By default a regression and a classification on 48 samples of
        3 numbers, with a network of 59 weights.
    lowers : bool
        Whether the loss on the training data must be lower at the end. A trainer with another aim
        (sparse weights, say) is checked with False.

    Raises
    ------
    ConformanceError
        With the rule that was broken.

    Notes
    -----
    The rules: it fits one of the tasks at least, and refuses the others by a `TrainingError` before
    it changes anything; outputs come from ``outputs(network, inputs)``; the network is fitted in
    place: its tensors stay the same objects, keep names, shapes and types and are finite, modules
    get back their modes, parameters their ``requires_grad``, and no gradients are left; data,
    global generators, the teacher and the trainer itself stay as they are; every pass is counted
    on the meter, forward and backward; the report says how many finite losses there were and why
    it ended; the loss is lower at the end; one seed gives one result, bit for bit; it can be
    pickled, and its ``repr`` is its configuration; it works in `optprune.recovery.FineTune` by the
    rules of `check_recovery`; and if it has a field ``checkpoint`` (or its own trainer has), a fit
    that was interrupted goes on to the same weights.
    """
    who = f"trainer {trainer!r}"
    require(
        isinstance(trainer, Trainer) and not isinstance(trainer, type),
        f"{who} lacks `fit`, or is a class and not a trainer; see optprune.training.Trainer.",
    )
    require(
        " object at 0x" not in repr(trainer),
        f"repr({type(trainer).__name__}) must be its configuration, by which a journal tells "
        "problems apart; make it a frozen dataclass.",
    )
    fitted, refusals = [], []
    for task in tasks if tasks is not None else lessons():
        check = _Check(f"{who} on the task {task.name!r}", trainer, task, lowers)
        refusal = check.all()
        if refusal is None:
            fitted.append(task)
        else:
            refusals.append(f"{task.name!r}: {refusal}")
    require(bool(fitted), f"{who} fits none of the tasks. {' '.join(refusals)}")


class _Check:
    """The rules of one trainer on one task."""

    def __init__(self, who: str, trainer: Trainer, task: Task, lowers: bool) -> None:
        require(task.train is not None, f"the task {task.name!r} has no train split.")
        self.who, self.task, self.lowers = who, task, lowers
        self.trainer = taught_by(trainer, task.network)
        self.given = trainer

    def all(self) -> TrainingError | None:
        """Check every rule; return the error by which the task is refused, if it is."""
        network = student(self.task)
        before = _state(network)
        try:
            with leaves_randomness_alone(self.who), self._leaves_the_rest_alone(network):
                report, loss = self._fit(network)
        except TrainingError as error:
            self._require(
                _same(before, _state(network)),
                f"changes the network and then refuses it ({error}).",
            )
            return error
        self._report(report)
        self._state(before, network)
        self._learns(loss, network)
        self._repeats(report, network)
        try:
            check_recovery(FineTune(self.given), task=self.task)
        except OptpruneError as error:
            raise ConformanceError(f"{self.who}, as a recovery by FineTune: {error}") from error
        check_checkpoint(self.who, self.trainer, self.task, _state(network))
        return None

    def _require(self, holds: bool, message: str) -> None:
        require(holds, f"{self.who} {message}")

    def _fit(self, network: nn.Module) -> tuple[FitReport, float]:
        """Fit a network; return the report, and the loss before."""
        assert self.task.train is not None
        loss, meter, backward = self._loss(network), Meter(), 0

        def outputs(module: nn.Module, inputs: Inputs) -> torch.Tensor:
            found = self.task.outputs(module, inputs)
            if found.requires_grad:
                found.register_hook(seen)  # type: ignore[no-untyped-call]
            return found

        def seen(gradient: torch.Tensor) -> None:
            nonlocal backward
            backward += len(gradient)

        try:
            with passes_counted(self.who, network, meter):
                report = self.trainer.fit(
                    network,
                    self.task.train,
                    loss=self.task.loss,
                    outputs=outputs,
                    seed=1,
                    meter=meter,
                )
        except OptpruneError:
            raise
        except Exception as error:
            raise ConformanceError(
                f"{self.who} raises {type(error).__name__}: {error}. What it cannot fit it refuses "
                "by a TrainingError; outputs it computes by outputs(network, inputs)."
            ) from error
        self._require(
            meter.backward_samples >= backward,
            f"passes {backward} samples back through the network and counts "
            f"{meter.backward_samples}; count every backward pass with `meter.backward(n)`.",
        )
        self._require(
            meter.seconds > 0, "counts no seconds on the meter; fit within `with meter.timed():`."
        )
        return report, loss

    def _loss(self, network: nn.Module) -> float:
        """Return the loss on the training data, in evaluation mode, on a copy."""
        assert self.task.train is not None
        predicted = self.task.predict(copy.deepcopy(network).eval(), self.task.train, meter=Meter())
        return float(self.task.loss(predicted, self.task.train.labels))

    @contextmanager
    def _leaves_the_rest_alone(self, network: nn.Module) -> Iterator[None]:
        """Check that modes, gradients, data, teacher and trainer are as they were."""
        assert self.task.train is not None
        modes = {name: module.training for name, module in network.named_modules()}
        parameters = dict(network.named_parameters())
        data = self.task.train
        tensors = (*input_tensors(data.inputs), data.labels)
        samples = [tensor.clone() for tensor in tensors]
        teacher, enabled = _state(self.task.network), torch.is_grad_enabled()
        configuration = repr(self.trainer)
        yield
        self._require(
            torch.is_grad_enabled() == enabled, "leaves gradients on or off that were not so."
        )
        for name, module in network.named_modules():
            self._require(
                module.training == modes.get(name),
                f"leaves module {name!r} in another mode (training or evaluation); put it back.",
            )
        now = dict(network.named_parameters())
        self._require(
            now.keys() == parameters.keys()
            and all(now[name] is parameter for name, parameter in parameters.items()),
            "replaces parameters of the network; write into them, as with `copy_`.",
        )
        for name, parameter in now.items():
            self._require(
                parameter.requires_grad and parameter.grad is None,
                f"leaves a gradient, or another requires_grad, on {name!r}.",
            )
        self._require(
            all(torch.equal(a, b) for a, b in zip(tensors, samples, strict=True)),
            "writes to the data.",
        )
        self._require(_same(teacher, _state(self.task.network)), "changes its teacher.")
        self._require(
            repr(self.trainer) == configuration,
            "changes its own configuration while it fits; keep what a fit needs in variables.",
        )

    def _report(self, report: FitReport) -> None:
        """Check what a fit says of itself."""
        self._require(
            isinstance(report, FitReport),
            f"must return an optprune.training.FitReport, not {type(report).__name__}.",
        )
        self._require(
            report.steps == len(report.losses) >= 1,
            f"reports {report.steps} steps and {len(report.losses)} losses; there is a loss for "
            "each step.",
        )
        for name, values in (
            ("losses", report.losses),
            ("held_out_losses", report.held_out_losses),
            ("epochs", (report.epochs,)),
            ("seconds", (report.seconds,)),
        ):
            self._require(
                all(isinstance(v, (int, float)) and math.isfinite(v) for v in values),
                f"reports {name} that are not finite numbers: {values}.",
            )
        self._require(
            report.epochs > 0 and report.seconds >= 0,
            f"reports {report.epochs} epochs and {report.seconds} seconds.",
        )
        self._require(
            isinstance(report.reason, str) and report.reason != "",
            f"must report as `reason` why it ended, in words; it reports {report.reason!r}.",
        )

    def _state(self, before: Mapping[str, torch.Tensor], network: nn.Module) -> None:
        """Check names, shapes, types and values of the fitted network."""
        after = _state(network)
        self._require(
            {n: (v.shape, v.dtype) for n, v in before.items()}
            == {n: (v.shape, v.dtype) for n, v in after.items()},
            "changes names, shapes or types of the network's tensors; only values may change.",
        )
        for name, value in after.items():
            self._require(bool(torch.isfinite(value).all()), f"leaves {name!r} not finite.")

    def _learns(self, before: float, network: nn.Module) -> None:
        """Check that the loss is lower."""
        after = self._loss(network)
        self._require(
            not self.lowers or after < before,
            f"leaves the loss on the training data at {after:.4g}, it was {before:.4g}; take other "
            "settings for the check, or lowers=False if that is not its aim.",
        )

    def _repeats(self, report: FitReport, network: nn.Module) -> None:
        """Check that another fit, by a copy of the trainer, gives the same."""
        try:
            self.trainer = cloudpickle.loads(cloudpickle.dumps(self.trainer))
        except Exception as error:
            raise ConformanceError(
                f"{self.who} cannot be pickled ({type(error).__name__}: {error}), so that no "
                "worker could fit with it."
            ) from error
        other = student(self.task)
        again, _ = self._fit(other)
        self._require(
            _same(_state(network), _state(other)) and again.losses == report.losses,
            "gives other weights or losses for the same seed; draw from generators that are seeded "
            "with `seed`, and begin each fit anew.",
        )


def _state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
