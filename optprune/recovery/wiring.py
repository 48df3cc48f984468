"""How a network's layers are wired: what normalizes, adds to and clips the outputs of each.

One pass over the example tells for every convolution and linear layer how often it is called, which
batch normalization takes its outputs, the tensor that is added to its outputs at the end of a
residual branch, and the bounds of the activation that comes last. Tensors are known by the number
of the call that made them: every pass of a network makes the same calls, so that the number finds
the tensor again.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from optprune.meter import Meter
from optprune.moments import LayerRows, row_layers
from optprune.moments.collecting import passing
from optprune.surgery.calling import batch_size
from optprune.task import Task

__all__ = ["Calls", "Wire", "wiring"]

_ADDITIONS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
_PASSING_ON = frozenset({"dropout", "dropout2d", "dropout3d", "feature_dropout", "alpha_dropout"})
_LIMITS: dict[str, tuple[tuple[str, float], tuple[str, float]]] = {
    "relu": (("", 0.0), ("", math.inf)),
    "relu6": (("", 0.0), ("", 6.0)),
    "hardtanh": (("min_val", -1.0), ("max_val", 1.0)),
    "clamp": (("min", -math.inf), ("max", math.inf)),
    "clip": (("min", -math.inf), ("max", math.inf)),
    "clamp_min": (("min", -math.inf), ("", math.inf)),
    "clamp_max": (("", -math.inf), ("max", math.inf)),
}
"""Activations that only clip: the arguments that hold their bounds, with the defaults."""

_Key: TypeAlias = tuple[int, int]
"""A tensor and how often it was written to: what is written in place is another value."""


@dataclass
class Wire:
    """What stands around one layer.

    Parameters
    ----------
    calls : int
        How often a forward pass calls the layer.
    norm : str or None
        The batch normalization that alone takes the layer's outputs, and nothing else.
    shortcut : int or None
        The call that makes what is added to the layer's outputs, after their normalization if there
        is one; None when nothing is, or when it is not made before the layer is called.
    clip : tuple of float or None
        Lower and upper bound of an activation that passes on all between them as it is (ReLU,
        ReLU6, hardtanh, clamp), and that alone takes the layer's outputs, after their normalization
        if there is one; None when there is none, or in doubt.
    after_addition : bool
        Whether that activation comes after the addition of the shortcut.
    """

    calls: int = 0
    norm: str | None = None
    shortcut: int | None = None
    clip: tuple[float, float] | None = None
    after_addition: bool = False


class Calls(TorchFunctionMode):
    """Counts the calls of a forward pass, and keeps the results of some.

    Parameters
    ----------
    wanted : iterable of int
        Numbers of the calls whose results are kept.
    seen : callable, optional
        Called as ``seen(number, function, arguments, result)`` after every call.

    Attributes
    ----------
    count : int
        Calls so far that returned tensors.
    results : dict of int to Tensor
        What the wanted calls returned.
    """

    def __init__(
        self,
        wanted: Any = (),
        seen: Callable[[int, Any, tuple[Any, ...], Any], None] | None = None,
    ) -> None:
        super().__init__()
        self.count = 0
        self.results: dict[int, torch.Tensor] = {}
        self._wanted = frozenset(wanted)
        self._seen = seen
        self._paused = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # asking for a shape is no call: hooks and checks do it too
        if self._paused or not _holds_tensors(result):
            return result
        number, self.count = self.count, self.count + 1
        if number in self._wanted:
            self.results[number] = result
        if self._seen is not None:
            with self.paused():
                self._seen(number, func, args if not kwargs else (*args, kwargs), result)
        return result

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing: what a hook computes is none of the network's calls."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before


def _holds_tensors(result: Any) -> bool:
    """Tell whether a result is a tensor, or a tuple or list with one."""
    if isinstance(result, (tuple, list)):
        return any(map(_holds_tensors, result))
    return isinstance(result, torch.Tensor)


def _tensors_in(arguments: Any) -> Iterator[torch.Tensor]:
    """Yield all tensors of nested arguments, as often as they occur."""
    if isinstance(arguments, torch.Tensor):
        yield arguments
    elif isinstance(arguments, (tuple, list)):
        for value in arguments:
            yield from _tensors_in(value)
    elif isinstance(arguments, dict):
        yield from _tensors_in(list(arguments.values()))


def _key(tensor: torch.Tensor) -> _Key:
    return id(tensor), 0 if tensor.is_inference() else tensor._version


def _bounds(name: str, arguments: tuple[Any, ...]) -> tuple[float, float] | None:
    """Return the bounds between which a call passes on its first argument as it is."""
    limits = _LIMITS.get(name.removesuffix("_"))
    if limits is None or not isinstance(arguments[0], torch.Tensor):
        return None
    named = arguments[-1] if isinstance(arguments[-1], dict) else {}
    given = [value for value in arguments[1:] if value is not named]
    bounds = []
    for argument, default in limits:
        value = default
        if argument:
            value = given.pop(0) if given else named.get(argument, default)
            value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        bounds.append(float(value))
    low, high = bounds
    clips = low > -math.inf or high < math.inf
    return (low, high) if clips and low < high else None


@dataclass
class _End:
    """A tensor that is what a layer returned, or that after its normalization."""

    layer: str
    called: int
    norm: str | None = None
    passed_on: _Key | None = None


@dataclass
class _Sum:
    """A tensor that is the end of a layer and its shortcut."""

    end: _Key
    maker: int


@dataclass
class _Wirer:
    """Watches one forward pass; it keeps every tensor, so that no identity is given twice."""

    layers: dict[str, LayerRows]
    wires: dict[str, Wire] = field(default_factory=dict)
    ends: dict[_Key, _End] = field(default_factory=dict)
    sums: dict[_Key, _Sum] = field(default_factory=dict)
    clips: dict[_Key, tuple[float, float]] = field(default_factory=dict)
    raw: dict[_Key, str] = field(default_factory=dict)
    made: dict[_Key, int] = field(default_factory=dict)
    uses: Counter[_Key] = field(default_factory=Counter)
    started: dict[str, int] = field(default_factory=dict)
    norms: dict[_Key, tuple[str, str]] = field(default_factory=dict)
    norm_calls: Counter[str] = field(default_factory=Counter)
    kept: dict[int, tuple[Any, int]] = field(default_factory=dict)

    def seen(self, number: int, function: Any, arguments: tuple[Any, ...], result: Any) -> None:
        """Note who made a tensor, additions to the end of a layer, and activations."""
        name = getattr(function, "__name__", "")
        tensors = list(_tensors_in(arguments))
        was = {id(tensor): _key(tensor) for tensor in tensors}
        written = id(result) in was and isinstance(result, torch.Tensor)
        if written:
            if id(result) in self.kept and self.kept[id(result)][1] == _key(result)[1]:
                return  # handed on as it is
            was[id(result)] = (id(result), _key(result)[1] - 1)
        self.uses.update(was[id(tensor)] for tensor in tensors)
        if not isinstance(result, torch.Tensor):
            return
        key = _key(result)
        self.kept[id(result)] = (result, key[1])
        self.made[key] = number
        operands = [value for value in arguments if isinstance(value, torch.Tensor)]
        if not operands:
            return
        source = was[id(operands[0])]
        if name in _ADDITIONS and len(operands) == 2 and not isinstance(arguments[-1], dict):
            if operands[0].shape == operands[1].shape:
                self._added(source, was[id(operands[1])], key)
        elif name in _PASSING_ON and source in self.ends and not written:
            self.ends[key] = replace(self.ends[source], passed_on=source)
        elif (bounds := _bounds(name, arguments)) is not None:
            self.clips[source] = bounds

    def used(self, outputs: torch.Tensor) -> None:
        """Note what the network returned."""
        self.uses[_key(outputs)] += 1

    def _added(self, first: _Key, second: _Key, result: _Key) -> None:
        pairs = [(first, second), (second, first)]
        found = [(a, b) for a, b in pairs if a in self.ends]
        if not found:
            return
        # the operand that comes last makes up for what the other has lost
        key, other = max(found, key=lambda pair: self.ends[pair[0]].called)
        end, maker = self.ends[key], self.made.get(other)
        if maker is not None and maker < end.called:
            self.wires[end.layer].shortcut = maker
            self.sums[result] = _Sum(key, maker)

    def layer_called(self, name: str, count: int) -> None:
        """Note that a layer is about to be called."""
        self.wires.setdefault(name, Wire()).calls += 1
        self.started[name] = count

    def layer_returned(self, name: str, outputs: torch.Tensor) -> None:
        """Note what a layer returned."""
        self.raw[_key(outputs)] = name
        self.ends[_key(outputs)] = _End(name, self.started[name])

    def norm_returned(self, name: str, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
        """Note a normalization of what a layer returned."""
        self.norm_calls[name] += 1
        layer = self.raw.get(_key(inputs))
        if layer is not None:
            self.norms[_key(inputs)] = (layer, name)
            self.ends[_key(outputs)] = _End(layer, self.started[layer], norm=name)

    def finish(self) -> dict[str, Wire]:
        """Return the wires."""
        for key, (layer, norm) in self.norms.items():
            if self.uses[key] == 1 and self.norm_calls[norm] == 1:
                self.wires[layer].norm = norm
        for addition in self.sums.values():
            end = self.ends[addition.end]
            if end.norm != self.wires[end.layer].norm:
                # what is added is on a scale that the layer's outputs have for some only
                self.wires[end.layer].shortcut = None
        for key, bounds in self.clips.items():
            total = self.sums.get(key)
            last = key if total is None else total.end
            if self.uses[key] != 1 or last not in self.ends or not self._alone(last):
                continue
            wire = self.wires[self.ends[last].layer]
            if wire.calls == 1 and wire.shortcut == (None if total is None else total.maker):
                wire.clip, wire.after_addition = bounds, total is not None
        return self.wires

    def _alone(self, key: _Key) -> bool:
        """Tell whether nothing but what follows takes the end of a layer."""
        end = self.ends[key]
        if self.uses[key] != 1 or end.norm != self.wires[end.layer].norm:
            return False
        return end.passed_on is None or self._alone(end.passed_on)


def wiring(task: Task, network: nn.Module, meter: Meter) -> dict[str, Wire]:
    """Find out how the layers of a network are wired.

    Parameters
    ----------
    task : Task
        Its example is passed through the network.
    network : nn.Module
        The task's network or a smaller one; it is left as it was.
    meter : Meter
        Counts the pass.

    Returns
    -------
    dict of str to Wire
        By the names of the layers (see `optprune.moments.row_layers`), in the order in which they
        are called first.
    """
    layers, _ = row_layers(network)
    watch = _Wirer(layers)
    calls = Calls(seen=watch.seen)
    handles = []
    for name, layer in layers.items():
        handles.append(
            layer.module.register_forward_pre_hook(
                lambda _, __, name=name: watch.layer_called(name, calls.count)
            )
        )
        handles.append(
            layer.module.register_forward_hook(
                lambda _, __, outputs, name=name: watch.layer_returned(name, outputs)
            )
        )
    for name, module in network.named_modules():
        if isinstance(module, _NormBase) and module.running_mean is not None:
            handles.append(
                module.register_forward_hook(
                    lambda _, inputs, outputs, name=name: watch.norm_returned(
                        name, inputs[0], outputs
                    )
                )
            )
    try:
        with passing(network, meter), calls:
            outputs = task.outputs(network, task.example)
        watch.used(outputs)
        meter.forward(batch_size(task.example))
    finally:
        for handle in handles:
            handle.remove()
    return watch.finish()
