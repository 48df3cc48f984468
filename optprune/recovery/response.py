"""What the dense network answers, layer by layer: the target of a least-squares fit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from optprune.meter import Meter
from optprune.moments import LayerRows, Sample, row_layers
from optprune.moments.collecting import passing, reached
from optprune.recovery.wiring import Calls, Wire, wiring
from optprune.split import Split
from optprune.task import Task

__all__ = ["Response", "Visit", "respond", "visiting"]

MEMORY = 2**30
"""Bytes that the responses of all layers may take together."""


@dataclass(frozen=True)
class Visit:
    """A layer in the middle of a forward pass.

    Parameters
    ----------
    layer : LayerRows
        The layer.
    inputs : Tensor
        What reaches it.
    outputs : Tensor or None
        What it returned; None before its call.
    shortcut : Tensor or None
        What will be added to the end of its branch.
    """

    layer: LayerRows
    inputs: torch.Tensor
    outputs: torch.Tensor | None
    shortcut: torch.Tensor | None


@dataclass
class Response:
    """The dense network's outputs at some rows of every layer.

    Parameters
    ----------
    split : Split
        The samples.
    wires : dict of str to Wire
        How the layers are wired, in the order of their calls.
    reasons : dict of str to str
        Layers without a response, with the reason.
    positions : dict of str to (Tensor or None)
        Output positions of each sample that are rows, shape ``(samples, count)``; None for all.
    shapes : dict of str to torch.Size
        Shape of the layers' outputs for the last batch.
    outputs, shortcuts : dict of str to Tensor
        Rows of the outputs, and of what is added at the end of the branch, shape
        ``(rows, outputs)``.
    """

    split: Split
    wires: dict[str, Wire]
    reasons: dict[str, str]
    positions: dict[str, torch.Tensor | None] = field(default_factory=dict)
    shapes: dict[str, torch.Size] = field(default_factory=dict)
    outputs: dict[str, torch.Tensor] = field(default_factory=dict)
    shortcuts: dict[str, torch.Tensor] = field(default_factory=dict)

    def rows_of(self, name: str, start: int, stop: int) -> slice:
        """Return the rows of the samples from `start` to `stop` of a layer."""
        each = len(self.outputs[name]) // len(self.split)
        return slice(start * each, stop * each)

    def positions_of(self, name: str, start: int, stop: int) -> torch.Tensor | None:
        """Return the positions of the samples from `start` to `stop` of a layer."""
        positions = self.positions[name]
        return None if positions is None else positions[start:stop]


def respond(task: Task, sample: Sample, meter: Meter) -> Response:
    """Pass samples through the dense network and keep what its layers answer.

    Parameters
    ----------
    task : Task
        The network with its calibration split.
    sample : Sample
        Which rows; fewer positions are taken where the responses of all layers would take more
        than `MEMORY` bytes.
    meter : Meter
        Counts the pass.

    Raises
    ------
    TaskError
        When the task has no calibration split of two samples or more.
    """
    split = sample.of(task)
    found, reasons = row_layers(task.network)
    wires = wiring(task, task.network, meter)
    layers = {}
    for name, layer in found.items():
        calls = wires[name].calls if name in wires else 0
        if calls == 1:
            layers[name] = layer
        else:
            times = f"{calls} times" if calls else "never"
            reasons[name] = f"a forward pass calls it {times}"
    wires = {name: wire for name, wire in wires.items() if name in layers}
    response = Response(split, wires, reasons)
    sample = _bounded(sample, layers, wires, len(split))
    kept: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    added: dict[str, list[torch.Tensor]] = {n: [] for n in layers if wires[n].shortcut is not None}
    start = 0

    def after(visit: Visit) -> None:
        name, outputs = visit.layer.name, visit.outputs
        assert outputs is not None
        if name not in response.shapes:
            drawn = visit.layer.positions(outputs, len(split), sample.positions, sample.seed)
            response.positions[name] = drawn
        response.shapes[name] = outputs.shape
        positions = response.positions_of(name, start, start + len(outputs))
        kept[name].append(visit.layer.outputs(outputs, positions).clone())
        if visit.shortcut is not None:
            added[name].append(visit.layer.outputs(visit.shortcut, positions).clone())

    with passing(task.network, meter):
        for inputs, _ in split.batches(sample.batch_size):
            with visiting(layers, wires, after=after):
                task.outputs(task.network, inputs)
            start += sample.batch_size
        meter.forward(len(split))
    response.outputs = {name: torch.cat(parts) for name, parts in kept.items()}
    response.shortcuts = {name: torch.cat(parts) for name, parts in added.items() if parts}
    return response


@contextlib.contextmanager
def visiting(
    layers: Mapping[str, LayerRows],
    wires: Mapping[str, Wire],
    *,
    before: Callable[[Visit], None] | None = None,
    after: Callable[[Visit], None] | None = None,
) -> Iterator[None]:
    """Look at layers before or after their calls in one forward pass.

    Parameters
    ----------
    layers : mapping of str to LayerRows
        The layers to look at.
    wires : mapping of str to Wire
        How they are wired.
    before, after : callable, optional
        Called with a `Visit`. What `before` changes in the layer counts for its call.
    """
    shortcuts = {name: wires[name].shortcut for name in layers}
    calls = Calls(number for number in shortcuts.values() if number is not None)

    def shortcut(name: str) -> torch.Tensor | None:
        number = shortcuts[name]
        return None if number is None else calls.results.get(number)

    handles = []
    for layer in layers.values():
        if before is not None:

            def ahead(
                _: nn.Module,
                inputs: tuple[Any, ...],
                named: dict[str, Any],
                layer: LayerRows = layer,
            ) -> None:
                with calls.paused():
                    before(Visit(layer, reached(inputs, named), None, shortcut(layer.name)))

            handles.append(layer.module.register_forward_pre_hook(ahead, with_kwargs=True))
        if after is not None:

            def behind(
                _: nn.Module,
                inputs: tuple[Any, ...],
                named: dict[str, Any],
                outputs: torch.Tensor,
                layer: LayerRows = layer,
            ) -> None:
                with calls.paused():
                    after(Visit(layer, reached(inputs, named), outputs, shortcut(layer.name)))

            handles.append(layer.module.register_forward_hook(behind, with_kwargs=True))
    try:
        with calls:
            yield
    finally:
        for handle in handles:
            handle.remove()


def _bounded(
    sample: Sample, layers: Mapping[str, LayerRows], wires: Mapping[str, Wire], samples: int
) -> Sample:
    """Return the sample with as many positions as `MEMORY` allows."""
    outputs = sum(
        layer.weight.shape[0] * layer.weight.shape[1] * (1 + (wires[name].shortcut is not None))
        for name, layer in layers.items()
    )
    most = max(1, MEMORY // (4 * max(outputs, 1) * samples))
    # more than a layer has means all
    return replace(sample, positions=min(sample.positions or most, most))
