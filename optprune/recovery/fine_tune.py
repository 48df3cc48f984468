"""Fine-tuning: train the small network further, with any trainer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, RecoveryError, TrainingError
from optprune.recovery.protocol import RecoveryContext
from optprune.training import Trainer, taught_by

__all__ = ["FineTune"]


@dataclass(frozen=True)
class FineTune:
    """Trains the small network on the task's train split.

    Parameters
    ----------
    trainer : Trainer
        How, and for how long: ``FineTune(SGD(epochs=1, lr=0.01))``. One that learns from a teacher
        and has none, such as ``Distillation()``, learns from the task's dense network.

    Raises
    ------
    ArgumentError
        When `trainer` writes a checkpoint.
    ArgumentTypeError
        When `trainer` has no method ``fit``.
    """

    trainer: Trainer

    def __post_init__(self) -> None:
        if isinstance(self.trainer, type) or not isinstance(self.trainer, Trainer):
            raise ArgumentTypeError(
                "trainer must be a Trainer such as optprune.training.SGD(epochs=1), got "
                f"{self.trainer!r}."
            )
        path = getattr(self.trainer, "checkpoint", None)
        if path is not None:
            raise ArgumentError(
                f"trainer has checkpoint={str(path)!r}, and all candidates of a search would write "
                "that one file: leave checkpoint out here. The journal of a search keeps the "
                "candidates that are done; Result.finish takes a trainer with a checkpoint."
            )

    def recover(self, network: nn.Module, context: RecoveryContext) -> None:
        """Train the network in place; see `optprune.recovery.Recovery.recover`.

        Raises
        ------
        RecoveryError
            When the task has no train split, or training went wrong.
        """
        task = context.task
        if task.train is None:
            raise RecoveryError(
                "FineTune needs a train split and the task has none: give Task(train=...)."
            )
        try:
            taught_by(self.trainer, task.network).fit(
                network,
                task.train,
                loss=task.loss,
                outputs=task.outputs,
                seed=context.seed,
                meter=context.meter,
            )
        except TrainingError as error:
            raise RecoveryError(f"Fine-tuning failed: {error}") from error
