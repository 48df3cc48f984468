"""How a network's layers are wired: which normalization follows one, and what is added to it.

One pass over the example tells for every convolution and linear layer how often it is called, which
batch normalization takes its outputs, and the tensor that is added to its outputs at the end of a
residual branch. Tensors are known by the number of the call that made them: every pass of a network
makes the same calls, so that the number finds the tensor again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

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


@dataclass
class Wire:
    """What stands around one layer.

    Parameters
    ----------
    calls : int
        How often a forward pass calls the layer.
    norm : str or None
        The batch normalization that alone takes the layer's outputs.
    shortcut : int or None
        The call that makes what is added to the layer's outputs, after their normalization if there
        is one; None when nothing is, or when it is not made before the layer is called.
    """

    calls: int = 0
    norm: str | None = None
    shortcut: int | None = None


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


@dataclass
class _End:
    """A tensor that is what a layer returned, or that after its normalization."""

    layer: str
    called: int


@dataclass
class _Wirer:
    """Watches one forward pass; it keeps every tensor, so that no identity is given twice."""

    layers: dict[str, LayerRows]
    wires: dict[str, Wire] = field(default_factory=dict)
    ends: dict[int, _End] = field(default_factory=dict)
    raw: dict[int, str] = field(default_factory=dict)
    made: dict[int, int] = field(default_factory=dict)
    uses: dict[int, int] = field(default_factory=dict)
    started: dict[str, int] = field(default_factory=dict)
    norms: dict[int, tuple[str, str]] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)

    def seen(self, number: int, function: Any, arguments: tuple[Any, ...], result: Any) -> None:
        """Note who made a tensor, and additions to the end of a layer."""
        name = getattr(function, "__name__", "")
        operands = [value for value in arguments if isinstance(value, torch.Tensor)]
        for operand in operands:
            self.uses[id(operand)] = self.uses.get(id(operand), 0) + 1
        if name in _ADDITIONS and len(operands) == 2 and not isinstance(arguments[-1], dict):
            self._added(operands[0], operands[1])
        if not isinstance(result, torch.Tensor):
            return
        self.kept.append(result)
        source = operands[0] if operands else None
        if name in _PASSING_ON and source is not None and id(source) in self.ends:
            self.ends[id(result)] = self.ends[id(source)]
        elif source is result:
            # written in place: it is no longer what the layer returned
            self.ends.pop(id(result), None)
        self.made[id(result)] = number

    def _added(self, first: torch.Tensor, second: torch.Tensor) -> None:
        if first.shape != second.shape:
            return
        pairs = [(first, second), (second, first)]
        found = [(self.ends[id(a)], b) for a, b in pairs if id(a) in self.ends]
        if not found:
            return
        # the operand that comes last makes up for what the other has lost
        end, other = max(found, key=lambda pair: pair[0].called)
        maker = self.made.get(id(other))
        if maker is not None and maker < end.called:
            self.wires[end.layer].shortcut = maker

    def layer_called(self, name: str, count: int) -> None:
        """Note that a layer is about to be called."""
        self.wires.setdefault(name, Wire()).calls += 1
        self.started[name] = count

    def layer_returned(self, name: str, outputs: torch.Tensor) -> None:
        """Note what a layer returned."""
        self.raw[id(outputs)] = name
        self.ends[id(outputs)] = _End(name, self.started[name])

    def norm_returned(self, name: str, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
        """Note a normalization of what a layer returned."""
        layer = self.raw.get(id(inputs))
        if layer is not None:
            self.norms[id(inputs)] = (layer, name)
            self.ends[id(outputs)] = _End(layer, self.started[layer])

    def finish(self) -> dict[str, Wire]:
        """Return the wires."""
        for identity, (layer, norm) in self.norms.items():
            if self.uses.get(identity, 0) == 1:
                self.wires[layer].norm = norm
        return self.wires


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
            task.outputs(network, task.example)
        meter.forward(batch_size(task.example))
    finally:
        for handle in handles:
            handle.remove()
    return watch.finish()
