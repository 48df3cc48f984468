"""The labelled samples that a score takes losses on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from optprune.errors import ArgumentError
from optprune.scores.protocol import ScoreContext
from optprune.split import Split
from optprune.task import Task

__all__ = ["LabelledSample"]


@dataclass(frozen=True)
class LabelledSample:
    """A fixed random subset of a split that has labels.

    Parameters
    ----------
    split : {"train", "validation"}
        Which split of the task.
    samples : int
        Samples, at most.
    batch_size : int
        Samples in a batch.
    seed : int
        Draws the samples and their order.

    Raises
    ------
    ArgumentError
        When a number is not a positive integer, the seed is negative, or there is no such split.
    """

    split: Literal["train", "validation"] = "train"
    samples: int = 1024
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in ("train", "validation"):
            raise ArgumentError(f"split must be 'train' or 'validation', got {self.split!r}.")
        for name, least in (("samples", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ArgumentError(
                    f"{name} must be an integer of at least {least}, got {value!r}."
                )

    def of(self, context: ScoreContext, score: str) -> tuple[Task, Split]:
        """Return a score's task and the samples.

        Parameters
        ----------
        context : ScoreContext
            Holds the task.
        score : str
            The score's name, for error messages.

        Returns
        -------
        task : Task
        samples : Split
            In random order also where all are taken: data that is sorted by class would make
            batches of one class.

        Raises
        ------
        ArgumentError
            When there is no task, or it has no such split.
        """
        task = context.task
        if task is None:
            raise ArgumentError(
                f"the score {score} needs labelled data: give ScoreContext(task=...), as "
                "op.Problem does."
            )
        split = task.train if self.split == "train" else task.validation
        if split is None:
            raise ArgumentError(
                f"the score {score} needs labelled data to learn from and the task {task.name!r} "
                "has none: give Task(train=...)."
            )
        generator = torch.Generator().manual_seed(self.seed)
        return task, split.take(torch.randperm(len(split), generator=generator)[: self.samples])
