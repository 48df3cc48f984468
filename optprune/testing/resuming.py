"""What every trainer with a checkpoint must do: an interrupted fit goes on to the same weights."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from optprune.meter import Meter
from optprune.task import Task
from optprune.testing.conformance import require
from optprune.testing.lessons import student
from optprune.training import FitReport, Trainer

__all__ = ["check_checkpoint"]


def check_checkpoint(
    who: str, trainer: Trainer, task: Task, expected: Mapping[str, torch.Tensor]
) -> None:
    """Interrupt a fit in its middle, and check that it goes on to the same weights.

    Parameters
    ----------
    who : str
        The trainer, for messages.
    trainer : Trainer
        Without a checkpoint. Nothing is checked if it cannot have one: if neither it nor its own
        field `trainer` is a dataclass with a field `checkpoint`.
    task : Task
        What is learned.
    expected : mapping of str to Tensor
        The network's state after an uninterrupted fit.

    Raises
    ------
    ConformanceError
        If the weights are others, or what was done is done again.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit"
        writing = _with_checkpoint(trainer, path)
        if writing is None:
            return
        network = student(task)
        with _calls(network) as calls:
            whole = _fit(writing, network, task)
        _check(f"{who}, with a checkpoint,", network, expected)
        path.unlink(missing_ok=True)
        network = student(task)
        with _calls(network, limit=calls[0] // 2 + 1), suppress(KeyboardInterrupt):
            _fit(writing, network, task)
        require(path.exists(), f"{who} writes no checkpoint before its first pass.")
        for when in ("interrupted and called again,", "called once more after its end,"):
            report = _fit(writing, network, task)
            _check(f"{who}, {when}", network, expected)
            require(
                report.losses == whole.losses,
                f"{who}, {when} reports other losses than without the interruption.",
            )
        require(
            report.resumed == report.steps,
            f"{who}, called once more after its end, trains again ({report.resumed} of "
            f"{report.steps} steps resumed).",
        )


def _with_checkpoint(trainer: Any, path: Path) -> Any:
    """Return the trainer with a file to write, or None."""
    if not dataclasses.is_dataclass(trainer) or isinstance(trainer, type):
        return None
    names = {field.name for field in dataclasses.fields(trainer)}
    if "checkpoint" in names:
        return dataclasses.replace(trainer, checkpoint=path)
    inner = _with_checkpoint(getattr(trainer, "trainer", None), path)
    return (
        None
        if inner is None or "trainer" not in names
        else dataclasses.replace(trainer, trainer=inner)
    )


@contextmanager
def _calls(network: nn.Module, limit: int | None = None) -> Iterator[list[int]]:
    """Count the calls of a network; interrupt at one more than a limit."""
    calls = [0]

    def count(*_: object) -> None:
        calls[0] += 1
        if limit is not None and calls[0] > limit:
            raise KeyboardInterrupt

    handle = network.register_forward_pre_hook(count)
    try:
        yield calls
    finally:
        handle.remove()


def _fit(trainer: Trainer, network: nn.Module, task: Task) -> FitReport:
    assert task.train is not None
    return trainer.fit(
        network, task.train, loss=task.loss, outputs=task.outputs, seed=1, meter=Meter()
    )


def _check(who: str, network: nn.Module, expected: Mapping[str, torch.Tensor]) -> None:
    state = network.state_dict()
    for name, value in expected.items():
        require(
            torch.equal(value, state[name]),
            f"{who} ends with other weights {name!r} than in one go.",
        )
