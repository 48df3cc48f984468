"""Reading what passes through a network at some places, sample by sample, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from optprune.dependence.sources import Place
from optprune.errors import TaskError
from optprune.meter import Meter
from optprune.moments.collecting import passing, reached, wide
from optprune.split import Split
from optprune.surgery.calling import batch_size
from optprune.task import Task

__all__ = ["HELD", "read"]

HELD = 2**28
"""Bytes of features that a pass holds at most, or those of a single place."""


def read(
    task: Task, split: Split, places: Collection[Place], *, pooled: bool, meter: Meter
) -> Iterator[tuple[Place, torch.Tensor]]:
    """Pass samples through a task's network and look at some places.

    Parameters
    ----------
    task : Task
        Its network is left as it was.
    split : Split
        The samples.
    places : collection of Place
        Where to look.
    pooled : bool
        Whether features are averaged over positions.
    meter : Meter
        Counts the passes and their seconds.

    Yields
    ------
    place : Place
        Each that the forward pass comes by, in its order.
    seen : Tensor
        Shape ``(n, channels, positions)``; pooled, with one position. A module that is called
        several times has the positions of all its calls side by side.

    Raises
    ------
    TaskError
        When a value is not finite, or it cannot be told which sample it belongs to.

    Notes
    -----
    One pass, where the features of all places take no more than 256 MiB, as pooled ones nearly
    always do. Otherwise as many passes as that takes, with one place at least in each.
    """
    waiting = set(places)
    while waiting:
        reader = _Pass(len(split), pooled)
        with passing(task.network, meter), _watching(task.network, waiting, reader.look):
            for inputs, _ in split.batches(task.batch_size):
                reader.size = batch_size(inputs)
                task.outputs(task.network, inputs)
                reader.end_of_batch()
            meter.forward(len(split))
        waiting = reader.postponed
        while reader.held:
            place = next(iter(reader.held))
            yield place, _whole(place, reader.held.pop(place), len(split))


class _Pass:
    """What one pass over the samples has seen.

    Parameters
    ----------
    samples : int
        Samples of the pass.
    pooled : bool
        Whether features are averaged over positions.

    Attributes
    ----------
    size : int
        Samples in the batch that is under way.
    held : dict of Place to list of Tensor
        The features of each batch.
    postponed : set of Place
        Places that did not fit.
    """

    def __init__(self, samples: int, pooled: bool) -> None:
        self.samples = samples
        self.pooled = pooled
        self.size = 0
        self.held: dict[Place, list[torch.Tensor]] = {}
        self.postponed: set[Place] = set()
        self._bytes = 0
        self._sample_dim: dict[Place, int] = {}
        self._calls: dict[Place, list[torch.Tensor]] = {}

    def look(self, place: Place, tensor: torch.Tensor) -> None:
        """Take what passes through a place in one call."""
        if place in self.postponed:
            return
        if place not in self._sample_dim:
            self._sample_dim[place] = _sample_dim(place, tensor, self.size)
        seen = self._by_sample(place, tensor)
        seen = seen.mean(2, keepdim=True) if self.pooled else seen.clone()
        bytes_needed = seen.numel() * seen.element_size() // self.size * self.samples
        if place not in self.held:
            if self.held and self._bytes + bytes_needed > HELD:
                self.postponed.add(place)
                return
            self.held[place] = []
            self._bytes += bytes_needed
        self._calls.setdefault(place, []).append(seen)

    def end_of_batch(self) -> None:
        """Put the calls of the batch side by side."""
        for place, calls in self._calls.items():
            self.held[place].append(torch.cat(calls, dim=2))
        self._calls = {}

    def _by_sample(self, place: Place, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor as (samples, channels, positions)."""
        tensor = wide(tensor)
        if self._sample_dim[place] == 1:
            tensor = tensor.transpose(0, 1)
        if tensor.dim() < 2 or tensor.shape[0] % self.size:
            raise _unclear(place, tensor, self.size)
        if place.channels_first:
            by_call = tensor.flatten(2) if tensor.dim() > 2 else tensor[:, :, None]
            parts = by_call.reshape(self.size, -1, *by_call.shape[1:])
            return parts.transpose(1, 2).flatten(2)
        return tensor.reshape(self.size, -1, tensor.shape[-1]).transpose(1, 2)


def _sample_dim(place: Place, tensor: torch.Tensor, size: int) -> int:
    """Return the dimension of the samples: the first, which may hold several parts of each.

    Sequences may have it second, as `nn.MultiheadAttention` wants it by default.
    """
    first = tensor.shape[0] % size == 0
    second = not place.channels_first and tensor.dim() == 3 and tensor.shape[1] == size
    if first and second and size > 1:
        raise TaskError(
            f"{place.module!r}: {place.side} of shape {tuple(tensor.shape)} in a batch of {size} "
            "samples do not tell which dimension is the samples: choose another batch size, such "
            f"as Task(batch_size={size - 1})."
        )
    if not first and not second:
        raise _unclear(place, tensor, size)
    return 0 if first else 1


def _unclear(place: Place, tensor: torch.Tensor, size: int) -> TaskError:
    """Return the error that the samples are not found in a tensor."""
    return TaskError(
        f"{place.module!r}: {place.side} of shape {tuple(tensor.shape)} in a batch of {size} "
        "samples have no dimension for the samples: dependence needs each sample's own values."
    )


def _whole(place: Place, parts: list[torch.Tensor], samples: int) -> torch.Tensor:
    """Join the batches of a place, which must agree and be finite."""
    shapes = {tuple(part.shape[1:]) for part in parts}
    if len(shapes) > 1 or sum(map(len, parts)) != samples:
        raise TaskError(
            f"{place.module!r} is not called alike in each batch: features of shape "
            f"{sorted(shapes)} for {sum(map(len, parts))} of {samples} samples. All samples need "
            "the same features; pad sequences to one length."
        )
    seen = torch.cat(parts)
    if not bool(torch.isfinite(seen).all()):
        raise TaskError(
            f"{place.module!r} has {place.side} that are not finite: check the network's weights "
            "and the samples."
        )
    return seen


@contextmanager
def _watching(
    network: nn.Module, places: Collection[Place], look: Callable[[Place, torch.Tensor], None]
) -> Iterator[None]:
    """Call ``look(place, tensor)`` after every call of the module of a place."""
    modules = dict(network.named_modules())
    handles = []
    for place in places:

        def after(
            _: nn.Module,
            inputs: tuple[Any, ...],
            named: dict[str, Any],
            outputs: Any,
            place: Place = place,
        ) -> None:
            if place.side == "inputs":
                look(place, reached(inputs, named))
            else:
                look(place, outputs if isinstance(outputs, torch.Tensor) else outputs[0])

        handles.append(modules[place.module].register_forward_hook(after, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
