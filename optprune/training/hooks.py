"""Hooks: how a method takes part in training without a training loop of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.surgery.calling import Inputs

__all__ = ["Hooks", "LossHook", "StepHook", "TrainingStep", "check_without_gradients"]


@dataclass
class TrainingStep:
    """What a hook sees of the step under way.

    Parameters
    ----------
    network : nn.Module
        The network in training, in data assimilation that of the mean weights; a hook may change
        its parameters (under ``torch.no_grad()``) and their gradients in place.
    step, steps : int
        Steps done before this one, and steps in all; the most there may be where the trainer finds
        its end itself.
    epoch : int
        Epochs done before this one.
    learning_rate : float, optional
        Of this step; None where the trainer has none, as in data assimilation.
    inputs : Tensor, tuple of Tensor, or dict of str to Tensor
        The batch.
    targets : Tensor
        The batch's targets.
    outputs : Tensor
        The network's outputs for the batch, before the step.
    loss : float
        The task's loss for the batch, without what hooks added.
    """

    network: nn.Module
    step: int
    steps: int
    epoch: int
    learning_rate: float | None
    inputs: Inputs
    targets: torch.Tensor
    outputs: torch.Tensor
    loss: float

    @property
    def progress(self) -> float:
        """Fraction of all steps that will be done when this one is."""
        return (self.step + 1) / self.steps


LossHook: TypeAlias = Callable[[torch.Tensor, TrainingStep], torch.Tensor]
StepHook: TypeAlias = Callable[[TrainingStep], object]


@dataclass(frozen=True)
class Hooks:
    """Functions that a trainer calls at fixed places of every step, in the order given.

    Hooks of several methods are joined by ``+``. Trainers without gradients (`ESMDA`, `EnKF`,
    `EKI`) know `after_step` and `every`, and refuse the others.

    Parameters
    ----------
    on_loss : callable or tuple of callable
        ``on_loss(loss, step) -> loss``: what is differentiated; for penalties. Each gets what the
        one before returned.
    on_grad : callable or tuple of callable
        ``on_grad(step)``: the gradients are there, the step is not done yet; for masked or
        projected gradients.
    after_step : callable or tuple of callable
        ``after_step(step)``: the parameters have moved; for proximal operators and projections.
    every : tuple of (int, callable), or one such pair
        ``(n, function)``: ``function(step)`` after each n-th step, after `after_step`. When it
        returns True, training ends there.

    Raises
    ------
    ArgumentTypeError
        When something cannot be called, or `every` holds something else than pairs.
    ArgumentError
        When an ``n`` of `every` is not a positive integer.
    """

    on_loss: LossHook | tuple[LossHook, ...] = ()
    on_grad: StepHook | tuple[StepHook, ...] = ()
    after_step: StepHook | tuple[StepHook, ...] = ()
    every: tuple[int, StepHook] | tuple[tuple[int, StepHook], ...] = ()

    def __post_init__(self) -> None:
        for name in ("on_loss", "on_grad", "after_step"):
            given = getattr(self, name)
            functions = given if isinstance(given, tuple) else (given,)
            for function in functions:
                if not callable(function):
                    raise ArgumentTypeError(
                        f"{name} must be a function or a tuple of functions, got {function!r}."
                    )
            object.__setattr__(self, name, functions)
        pairs = self.every
        if len(pairs) == 2 and not isinstance(pairs[0], tuple):
            pairs = (pairs,)
        for pair in pairs:
            if not isinstance(pair, tuple) or len(pair) != 2 or not callable(pair[1]):
                raise ArgumentTypeError(
                    f"every must hold pairs (number of steps, function), got {pair!r}."
                )
            if isinstance(pair[0], bool) or not isinstance(pair[0], int) or pair[0] < 1:
                raise ArgumentError(
                    f"every must call after a positive number of steps, got {pair[0]!r}."
                )
        object.__setattr__(self, "every", pairs)

    def __add__(self, other: Hooks) -> Hooks:
        """Join two sets of hooks; the left ones are called first."""
        names = ("on_loss", "on_grad", "after_step", "every")
        return Hooks(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def loss(self, loss: torch.Tensor, step: TrainingStep) -> torch.Tensor:
        """Pass a loss through all `on_loss` hooks."""
        for function in cast(tuple[LossHook, ...], self.on_loss):
            loss = function(loss, step)
        return loss

    def gradients(self, step: TrainingStep) -> None:
        """Call all `on_grad` hooks."""
        for function in cast(tuple[StepHook, ...], self.on_grad):
            function(step)

    def stepped(self, step: TrainingStep) -> str | None:
        """Call what is due after a step; return why training is to end, or None."""
        for function in cast(tuple[StepHook, ...], self.after_step):
            function(step)
        done, reason = step.step + 1, None
        for n, function in cast(tuple[tuple[int, StepHook], ...], self.every):
            if done % n == 0 and function(step) is True:
                name = getattr(function, "__name__", type(function).__name__)
                reason = f"stopped by {name} after step {done}"
        return reason


def check_without_gradients(owner: str, hooks: Hooks) -> None:
    """Refuse hooks that a trainer without gradients would never call.

    Parameters
    ----------
    owner : str
        Which trainer; for messages.
    hooks : Hooks
        Its hooks.

    Raises
    ------
    ArgumentTypeError
        If they are no `Hooks`.
    ArgumentError
        If there is a hook on the loss or on the gradients.
    """
    if not isinstance(hooks, Hooks):
        raise ArgumentTypeError(
            f"{owner}: `hooks` must be optprune.training.Hooks(...), got {hooks!r}."
        )
    for name in ("on_loss", "on_grad"):
        if getattr(hooks, name):
            raise ArgumentError(
                f"{owner}: `hooks` has `{name}`, which would never be called: no loss is "
                "differentiated here. Use `after_step` or `every`, or train by gradients, with SGD."
            )
