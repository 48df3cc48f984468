"""The metrics that come with optprune.

`error`, `loss`, `score`, `rmse` and `r2` are measured on the validation split, `divergence` on the
calibration split, without labels. `macs`, `parameters`
and `activation_memory` are fractions of the dense network, ``.absolute`` gives MACs (FLOPs = 2 ×
MACs), counts and bytes; they follow from the widths alone, so a whole population costs one array
operation. `latency` is measured.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import kl_div

from optprune.errors import ArgumentError, MetricError
from optprune.formulation.decorator import metric
from optprune.formulation.metric import Metric
from optprune.losses import r2 as coefficient_of_determination
from optprune.losses import rmse as root_mean_squared_error
from optprune.surgery.calling import take

if TYPE_CHECKING:
    from optprune.formulation.candidate import Candidate
    from optprune.surgery import ChannelGraph, CostPolynomial
    from optprune.task import Task

__all__ = [
    "Latency",
    "activation_memory",
    "divergence",
    "error",
    "latency",
    "loss",
    "macs",
    "metric",
    "parameters",
    "r2",
    "rmse",
    "score",
]


@dataclass(frozen=True)
class ErrorRate:
    """1 - accuracy: the fraction of validation samples of which the class is wrong."""

    def check(self, task: Task) -> None:
        """Refuse a task that is no classification."""
        if task.kind != "classification":
            raise ArgumentError(
                "metrics.error is 1 - accuracy, which only a classification has; the task "
                f"{task.name!r} is of kind {task.kind!r}. Use metrics.loss or metrics.score "
                f"({task.score.name}) instead."
            )

    def __call__(self, candidate: Candidate) -> float:
        """Measure a candidate."""
        self.check(candidate.task)
        wrong = _finite_outputs("error", candidate).argmax(dim=1) != candidate.targets
        return float(wrong.double().mean())


@dataclass(frozen=True)
class RootMeanSquaredError:
    """The root of the mean squared error over the validation split."""

    def check(self, task: Task) -> None:
        """Refuse a task that is no regression."""
        _check_regression("rmse", task)

    def __call__(self, candidate: Candidate) -> float:
        """Measure a candidate."""
        self.check(candidate.task)
        return root_mean_squared_error(_finite_outputs("rmse", candidate), candidate.targets)


@dataclass(frozen=True)
class CoefficientOfDetermination:
    """1 - residual sum of squares / total sum of squares over the validation split."""

    def check(self, task: Task) -> None:
        """Refuse a task that is no regression, or of which the targets do not vary."""
        _check_regression("r2", task)
        targets = task.validation.labels
        if bool((targets == targets[0]).all()):
            raise ArgumentError(
                f"metrics.r2 is the share of the targets' variance that is explained, and the "
                f"validation targets of task {task.name!r} are all the same. Use metrics.rmse "
                "instead."
            )

    def __call__(self, candidate: Candidate) -> float:
        """Measure a candidate."""
        self.check(candidate.task)
        return coefficient_of_determination(_finite_outputs("r2", candidate), candidate.targets)


def _check_regression(name: str, task: Task) -> None:
    """Refuse a task that is no regression."""
    if task.kind != "regression":
        others = "metrics.error, metrics.loss" if task.kind == "classification" else "metrics.loss"
        raise ArgumentError(
            f"metrics.{name} compares outputs with floating-point targets, which only a regression "
            f"has; the task {task.name!r} is of kind {task.kind!r}. Use {others} or metrics.score "
            f"({task.score.name}) instead."
        )


def _finite_outputs(name: str, candidate: Candidate) -> torch.Tensor:
    """Return a candidate's predictions, all finite."""
    outputs = candidate.predictions
    if not torch.isfinite(outputs).all():
        raise MetricError(f"metric {name!r}: the network's outputs are not all finite.")
    return outputs


@dataclass(frozen=True)
class TaskLoss:
    """The task's loss over the validation split."""

    def __call__(self, candidate: Candidate) -> torch.Tensor:
        """Measure a candidate."""
        return candidate.task.loss(candidate.predictions, candidate.targets)


@dataclass(frozen=True)
class Divergence:
    """How far the predicted distributions are from the dense network's, without a label."""

    def check(self, task: Task) -> None:
        """Refuse a task that is no classification, or has no calibration split."""
        if task.kind != "classification":
            raise ArgumentError(
                "metrics.divergence compares distributions over classes, which only a "
                f"classification has; the task {task.name!r} is of kind {task.kind!r}. Use "
                "metrics.loss instead."
            )
        if task.calibration is None:
            raise ArgumentError(
                f"metrics.divergence is measured on the calibration split, which the task "
                f"{task.name!r} does not have: give Task(calibration=...)."
            )

    def __call__(self, candidate: Candidate) -> torch.Tensor:
        """Measure a candidate."""
        task = candidate.task
        self.check(task)
        split = task.calibration
        assert split is not None
        aim = candidate.problem.shared.once(
            "divergence",
            lambda meter: task.predict(task.network, split, meter=meter).log_softmax(1),
        )
        found = task.predict(candidate.network, split, meter=candidate.meter).log_softmax(1)
        return kl_div(found, aim, reduction="batchmean", log_target=True)


@dataclass(frozen=True)
class ScoreOfTask:
    """The task's score over the validation split."""

    def __call__(self, candidate: Candidate) -> Any:
        """Measure a candidate."""
        return candidate.task.score.function(candidate.predictions, candidate.targets)


@dataclass(frozen=True)
class Cost:
    """A cost that follows from the widths.

    Parameters
    ----------
    kind : {"macs", "parameters", "activation_bytes"}
        Which polynomial of the graph.
    absolute : bool
        False for the fraction of the dense network's cost.
    """

    kind: Literal["macs", "parameters", "activation_bytes"]
    absolute: bool

    def polynomial(self, graph: ChannelGraph) -> CostPolynomial:
        """Return the polynomial of a graph."""
        polynomial: CostPolynomial = getattr(graph.costs, self.kind)
        return polynomial

    def population(
        self, graph: ChannelGraph, widths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Measure a population from its widths, shape (n, n_groups); returns shape (n,)."""
        polynomial = self.polynomial(graph)
        values = polynomial(widths)
        # A network without contractions has no MACs at all; nothing of nothing is kept.
        return values if self.absolute else values / (polynomial.dense or 1.0)

    def __call__(self, candidate: Candidate) -> float:
        """Measure a candidate."""
        return float(self.population(candidate.graph, candidate.widths[None, :])[0])


@dataclass(frozen=True)
class Stopwatch:
    """The median time of repeated forward passes, in milliseconds.

    Parameters
    ----------
    batch_size : int
        Samples a pass.
    repeats : int
        Passes that are timed.
    warmup : int
        Passes before, which are not.
    threads : int or None
        Threads that torch uses on a CPU; None leaves them as they are.
    """

    batch_size: int
    repeats: int
    warmup: int
    threads: int | None

    def __call__(self, candidate: Candidate) -> float:
        """Measure a candidate."""
        task = candidate.task
        rows = torch.arange(self.batch_size, device=task.device) % len(task.validation)
        inputs = take(task.validation.inputs, rows)
        network = candidate.network
        threads = torch.get_num_threads()
        cuda = task.device.type == "cuda"
        times = []
        try:
            if self.threads is not None and self.threads != threads:
                torch.set_num_threads(self.threads)
            with torch.no_grad():
                for repeat in range(self.warmup + self.repeats):
                    if cuda:
                        torch.cuda.synchronize(task.device)
                    start = time.perf_counter()
                    task.outputs(network, inputs)
                    if cuda:
                        torch.cuda.synchronize(task.device)
                    if repeat >= self.warmup:
                        times.append(time.perf_counter() - start)
        finally:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
        candidate.meter.forward(self.batch_size * (self.warmup + self.repeats))
        return 1e3 * statistics.median(times)


def Latency(
    batch_size: int = 1,
    *,
    repeats: int = 30,
    warmup: int = 5,
    threads: int | None = 1,
    name: str = "latency",
) -> Metric:
    """Make a metric: the median time of a forward pass on the task's device, in milliseconds.

    Parameters
    ----------
    batch_size : int, default 1
        Samples a pass, taken from the validation split (again from its start if it is shorter).
    repeats : int, default 30
        Passes that are timed.
    warmup : int, default 5
        Passes before, which are not.
    threads : int or None, default 1
        Threads that torch uses on a CPU while it is measured; None leaves them as they are.
    name : str, default "latency"
        Name of the metric; two latencies in one problem need different ones.

    Returns
    -------
    Metric
        In milliseconds, measured with no other worker busy.

    Raises
    ------
    ArgumentError
        If a number is too small.

    Notes
    -----
    A time is measured, not computed: unlike all other metrics it differs a little from one run to
    the next. On CUDA the device is synchronized before and after each pass.
    """
    for argument, value, least in (
        ("batch_size", batch_size, 1),
        ("repeats", repeats, 1),
        ("warmup", warmup, 0),
        ("threads", 1 if threads is None else threads, 1),
    ):
        if not isinstance(value, int) or value < least:
            raise ArgumentError(f"{argument} must be an int of at least {least}, got {value!r}.")
    return Metric(
        name=name,
        function=Stopwatch(batch_size, repeats, warmup, threads),
        unit="ms",
        needs="network",
        limits=(0.0, float("inf")),
        alone=True,
    )


def _cost(name: str, kind: Literal["macs", "parameters", "activation_bytes"], unit: str) -> Metric:
    """Make a cost metric, with its absolute form."""
    absolute = Metric(
        name=f"{name}.absolute",
        function=Cost(kind, absolute=True),
        unit=unit,
        needs="structure",
        limits=(0.0, float("inf")),
    )
    return Metric(
        name=name,
        function=Cost(kind, absolute=False),
        unit="of dense",
        needs="structure",
        limits=(0.0, 1.0),
        reference=1.0,
        in_absolute=absolute,
    )


error = Metric(name="error", function=ErrorRate(), limits=(0.0, 1.0), reference=0.9)
"""1 - accuracy on the validation split, for classification."""

rmse = Metric(name="rmse", function=RootMeanSquaredError(), limits=(0.0, float("inf")))
"""Root of the mean squared error on the validation split, in the targets' unit, for regression."""

r2 = Metric(
    name="r2",
    function=CoefficientOfDetermination(),
    direction="maximize",
    limits=(-float("inf"), 1.0),
)
"""R² = 1 - residual / total sum of squares on the validation split, for regression.

Over all samples and outputs, with the mean of each output: with several outputs, the mean of their
R² weighted by their variances. 1 is best, 0 is what the targets' mean gets, worse is below 0.
"""

loss = Metric(name="loss", function=TaskLoss())
"""The task's loss on the validation split."""

divergence = Metric(name="divergence", function=Divergence(), unit="nats", needs="network")
"""Mean Kullback-Leibler divergence of the predicted from the dense network's distribution over
classes, on the calibration split: what a structure costs, told without a label."""

score = Metric(name="score", function=ScoreOfTask(), direction="as the task says")
"""The task's own score on the validation split (accuracy, RMSE, …), in its own direction."""

macs = _cost("macs", "macs", "MACs")
"""Multiply–accumulate operations of one sample, as a fraction of dense."""

parameters = _cost("parameters", "parameters", "parameters")
"""Number of parameters, as a fraction of dense."""

activation_memory = _cost("activation_memory", "activation_bytes", "bytes")
"""Bytes of the activations of one sample, as a fraction of dense."""

latency = Latency()
"""Median time of a forward pass of one sample on the task's device, in milliseconds."""
