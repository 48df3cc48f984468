"""Moments of all layers of a network from one forward pass over unlabelled samples."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from optprune.errors import ArgumentError, TaskError
from optprune.meter import Meter
from optprune.moments.moments import Moments
from optprune.moments.rows import LayerRows, row_layers
from optprune.split import Split
from optprune.surgery.calling import evaluating, preserving_buffers
from optprune.task import Task

__all__ = ["LayerMoments", "Sample", "collect", "passing", "reached", "wide"]


@dataclass(frozen=True)
class Sample:
    """Which rows are looked at: samples of the calibration split, and positions of each.

    Parameters
    ----------
    samples : int
        Calibration samples, at most; where there are more, a random subset.
    positions : int or None
        Output positions of each sample and layer, at most; None for all.
    batch_size : int
        Samples in a batch.
    seed : int
        Draws samples and positions.

    Raises
    ------
    ArgumentError
        When a number is not a positive integer, or the seed is negative.
    """

    samples: int = 1024
    positions: int | None = 16
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("samples", 2), ("positions", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if name == "positions" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ArgumentError(
                    f"{name} must be an integer of at least {least}, got {value!r}."
                )

    def of(self, task: Task) -> Split:
        """Return the samples of a task.

        Raises
        ------
        TaskError
            When the task has no calibration split, or one sample only.
        """
        calibration = task.calibration
        if calibration is None or len(calibration) < 2:
            have = "none" if calibration is None else "one sample"
            raise TaskError(
                f"A calibration split of at least two samples is needed and the task has {have}: "
                "give Task(calibration=...) or Task(train=...)."
            )
        if len(calibration) <= self.samples:
            return calibration
        generator = torch.Generator().manual_seed(self.seed)
        return calibration.take(
            torch.randperm(len(calibration), generator=generator)[: self.samples]
        )


@dataclass(frozen=True)
class LayerMoments:
    """The moments of one layer of a network.

    Parameters
    ----------
    layer : LayerRows
        The layer.
    moments : Moments
        Of its inputs, with its outputs (without their bias) as targets.
    """

    layer: LayerRows
    moments: Moments


def collect(
    task: Task,
    network: nn.Module,
    sample: Sample,
    *,
    meter: Meter,
    layers: Sequence[str] | None = None,
) -> tuple[dict[str, LayerMoments], dict[str, str]]:
    """Take the moments of all layers in one forward pass.

    Parameters
    ----------
    task : Task
        Its calibration split is passed through the network.
    network : nn.Module
        The task's network or a smaller one; it is left as it was.
    sample : Sample
        Which rows.
    meter : Meter
        Counts the pass and its seconds.
    layers : sequence of str, optional
        Names of the layers; all by default.

    Returns
    -------
    moments : dict of str to LayerMoments
        By the layers' names, in the order of their calls. A layer that is called several times has
        the rows of all its calls.
    reasons : dict of str to str
        Layers that have none, with the reason.

    Raises
    ------
    TaskError
        When the task has no calibration split of two samples or more.

    Notes
    -----
    Memory: :math:`8 d^2` bytes for a layer of d columns, whatever the number of samples.
    """
    split = sample.of(task)
    found, reasons = row_layers(network)
    if layers is not None:
        found = {name: layer for name, layer in found.items() if name in set(layers)}
    taken: dict[str, LayerMoments] = {}
    drawn: dict[str, torch.Tensor | None] = {}
    start = 0

    def look(layer: LayerRows, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
        name = layer.name
        if name not in drawn:
            drawn[name] = layer.positions(outputs, len(split), sample.positions, sample.seed)
        positions = drawn[name]
        if positions is not None:
            positions = positions[start : start + len(outputs)]
        rows = wide(layer.inputs(inputs, outputs.shape, positions))
        targets = (rows.transpose(0, 1) @ wide(layer.weight).mT).transpose(0, 1)
        if name not in taken:
            shape = (layer.groups, rows.shape[2], targets.shape[2])
            taken[name] = LayerMoments(layer, Moments.empty(*shape, rows.device))
        taken[name].moments.add(rows, targets)

    with passing(network, meter), watching(found, look):
        for inputs, _ in split.batches(sample.batch_size):
            task.outputs(network, inputs)
            start += sample.batch_size
        meter.forward(len(split))
    reasons |= {name: "the forward pass does not call it" for name in found if name not in taken}
    return taken, reasons


@contextlib.contextmanager
def passing(network: nn.Module, meter: Meter, *, keep_buffers: bool = True) -> Iterator[None]:
    """Prepare for passes over data in evaluation mode, counting their seconds.

    Parameters
    ----------
    network : nn.Module
        Gets back its modules' modes.
    meter : Meter
        Counts the seconds.
    keep_buffers : bool
        Whether the network gets back its buffers too.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    with contextlib.ExitStack() as stack:
        stack.enter_context(meter.timed())
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(network))
        if keep_buffers:
            stack.enter_context(preserving_buffers(network))
        # the fused encoder calls no layer of its own
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def watching(
    layers: Mapping[str, LayerRows], look: Callable[[LayerRows, torch.Tensor, torch.Tensor], None]
) -> Iterator[None]:
    """Call ``look(layer, inputs, outputs)`` after every call of a layer."""
    handles = []
    for layer in layers.values():

        def after(
            _: nn.Module,
            inputs: tuple[Any, ...],
            named: dict[str, Any],
            outputs: torch.Tensor,
            layer: LayerRows = layer,
        ) -> None:
            look(layer, reached(inputs, named), outputs)

        handles.append(layer.module.register_forward_hook(after, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def reached(inputs: tuple[Any, ...], named: Mapping[str, Any]) -> torch.Tensor:
    """Return what reached a layer, however it was handed over."""
    found: torch.Tensor = inputs[0] if inputs else named["input"]
    return found


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in float32 at least."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
