"""What a task's outputs are measured by: its loss, its score, and their defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, TaskError

__all__ = [
    "Kind",
    "Loss",
    "TaskScore",
    "accuracy",
    "check_labels",
    "check_loss",
    "cross_entropy",
    "default_loss",
    "default_score",
    "kind_of",
    "mse",
    "r2",
    "rmse",
]

Kind: TypeAlias = Literal["classification", "regression", "other"]
Loss: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class TaskScore:
    """How well a network does its task, in the task's own words.

    Parameters
    ----------
    name : str
        For example ``"accuracy"``.
    direction : {"maximize", "minimize"}
        Which values are better.
    function : callable
        ``function(outputs, targets) -> float`` on the outputs and targets of a whole split.

    Raises
    ------
    ArgumentError
        When `direction` is neither of the two.
    ArgumentTypeError
        When `function` cannot be called.
    """

    name: str
    direction: Literal["maximize", "minimize"]
    function: Callable[[torch.Tensor, torch.Tensor], Any]

    def __post_init__(self) -> None:
        if self.direction not in ("maximize", "minimize"):
            raise ArgumentError(
                f"direction must be 'maximize' or 'minimize', got {self.direction!r}."
            )
        if not callable(self.function):
            raise ArgumentTypeError(
                f"function must be callable as function(outputs, targets), got "
                f"{type(self.function).__name__}."
            )

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> float:
        """Return the score of the outputs of a whole split."""
        return float(self.function(outputs, targets))


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy in nats of logits ``(n, classes)`` and labels ``(n,)``."""
    return nn.functional.cross_entropy(outputs, targets.long())


def mse(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of outputs and targets of the same shape."""
    return nn.functional.mse_loss(outputs, targets)


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the fraction of samples whose largest output is that of the target class."""
    return float((outputs.argmax(dim=1) == targets).double().mean())


def rmse(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the root of the mean squared error, in the unit of the targets.

    Raises
    ------
    TaskError
        When outputs and targets have different shapes.
    """
    return float(_residuals(outputs, targets).square().mean().sqrt())


def r2(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    r"""Return the coefficient of determination: the share of the targets' variance explained.

    Parameters
    ----------
    outputs, targets : Tensor, shape ``(n_samples, ...)``
        Of the same shape.

    Returns
    -------
    float
        1 for outputs that are the targets, 0 for outputs that are the targets' mean, below 0 for
        worse ones.

    Raises
    ------
    TaskError
        When outputs and targets have different shapes, or no target varies.

    Notes
    -----
    .. math:: R^2 = 1 - \frac{\sum_{ik} (y_{ik} - \hat y_{ik})^2}{\sum_{ik} (y_{ik} - \bar y_k)^2}

    over samples i and outputs k, with the mean :math:`\bar y_k` of each output: with several
    outputs, the mean of their :math:`R^2` weighted by their variances. An output whose targets are
    constant adds its errors to the numerator and nothing to the denominator.
    """
    squares = _residuals(outputs, targets).square().sum()
    if bool((targets == targets[0]).all()):
        raise TaskError(
            f"The {len(targets)} targets are all the same: without variance there is no R². Use "
            "rmse, or give samples whose targets differ."
        )
    y = targets.double()
    return float(1 - squares / (y - y.mean(dim=0)).square().sum())


def _residuals(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return outputs minus targets, as float64."""
    if outputs.shape != targets.shape:
        raise TaskError(
            f"Outputs of shape {tuple(outputs.shape)} cannot be compared with targets of shape "
            f"{tuple(targets.shape)} one by one: give targets of the outputs' shape, for one "
            "output (n_samples, 1)."
        )
    return outputs.double() - targets.double()


def kind_of(outputs: torch.Tensor, targets: torch.Tensor) -> Kind:
    """Return what kind of task outputs and targets make.

    Parameters
    ----------
    outputs : Tensor
        Outputs of some samples.
    targets : Tensor
        Targets of any number of samples.

    Returns
    -------
    {"classification", "regression", "other"}
        Integer targets ``(n,)`` against outputs ``(n, classes)``; floating-point targets;
        anything else.
    """
    if targets.is_floating_point():
        return "regression"
    integer = not targets.is_complex() and targets.dtype != torch.bool
    labels = integer and targets.dim() == 1 and outputs.dim() == 2
    return "classification" if labels else "other"


def default_loss(outputs: torch.Tensor, targets: torch.Tensor) -> Loss:
    """Return cross-entropy for classification, the mean squared error for regression.

    Raises
    ------
    TaskError
        When there is no default for such outputs and targets.
    """
    kind = kind_of(outputs, targets)
    if kind == "classification":
        return cross_entropy
    if kind == "regression" and targets.shape[1:] == outputs.shape[1:]:
        return mse
    raise TaskError(
        f"There is no default loss for {targets.dtype} targets of shape {tuple(targets.shape)} "
        f"and outputs of shape {('n', *outputs.shape[1:])}: give loss= and score=, or targets of "
        "the outputs' shape."
    )


def default_score(outputs: torch.Tensor, targets: torch.Tensor) -> TaskScore:
    """Return accuracy for classification, the root mean squared error for regression.

    Raises
    ------
    TaskError
        When there is no default for such outputs and targets.
    """
    kind = kind_of(outputs, targets)
    if kind == "classification":
        return TaskScore("accuracy", "maximize", accuracy)
    if kind == "regression" and targets.shape[1:] == outputs.shape[1:]:
        return TaskScore("rmse", "minimize", rmse)
    raise TaskError(
        f"There is no default score for {targets.dtype} targets of shape {tuple(targets.shape)} "
        f"and outputs of shape {('n', *outputs.shape[1:])}: give "
        "score=TaskScore(name=..., direction=..., function=...)."
    )


def check_labels(name: str, labels: torch.Tensor, n_outputs: int) -> None:
    """Check that a split's labels are of several classes and name outputs that exist.

    Parameters
    ----------
    name : str
        The split's name, for error messages.
    labels : Tensor
        Integers, shape ``(n_samples,)``.
    n_outputs : int
        Outputs of the network.

    Raises
    ------
    TaskError
        When there is one class only, or a label below 0 or above ``n_outputs - 1``.
    """
    low, high = int(labels.min()), int(labels.max())
    if low == high:
        raise TaskError(
            f"{name} holds one class only ({low}): a network that always answers it is always "
            "right; give samples of at least two classes."
        )
    if low < 0 or high >= n_outputs:
        raise TaskError(
            f"{name} has labels from {low} to {high} and the network {n_outputs} outputs: labels "
            f"must lie between 0 and {n_outputs - 1}. Targets that are no labels are given as "
            "floating-point numbers."
        )


def check_loss(loss: Loss, outputs: torch.Tensor, targets: torch.Tensor) -> None:
    """Check that a loss gives one number.

    Raises
    ------
    TaskError
        When it raises, or returns something else than a tensor with one number.
    """
    try:
        value: Any = loss(outputs, targets)
    except Exception as error:
        raise TaskError(
            f"loss fails on outputs of shape {tuple(outputs.shape)} and targets of shape "
            f"{tuple(targets.shape)}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        shown = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
        raise TaskError(f"loss must return a tensor with one number, got {shown}.")
