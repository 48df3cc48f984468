"""One forward pass under a dispatch mode that carries labels along with the tensors.

`Recorder` is told of every operation that the network executes. It looks up the rule of the
operation's family in `optprune.surgery.rules` and lets it hand the labels on; an operation without
a rule freezes the labels that it touches.
"""

from __future__ import annotations

import linecache
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.weak import WeakIdKeyDictionary

from optprune.errors import OptpruneError, TraceWarning
from optprune.surgery.calling import call
from optprune.surgery.fused import parts_of
from optprune.surgery.labels import LabelLedger, Layer, Reason, compact, expand, varying
from optprune.surgery.operation import (
    CostTerm,
    LabelledAxis,
    Norm,
    Operation,
    Rule,
    Statistic,
    Tracked,
)
from optprune.surgery.size_mode import SizeMode
from optprune.surgery.sizes import Size, SizeUse, remembering

__all__ = ["Recorder", "parameters_and_buffers"]

_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep

_SCALING = frozenset(
    f"aten.{name}{place}" for name in ("mul", "div", "sub", "rsub") for place in ("", "_")
)
"""Operations by which a statistic normalises the channels that it is taken over."""

_CARRYING = frozenset(
    f"aten.{name}{place}"
    for name in ("add", "sub", "mul", "div", "sqrt", "rsqrt", "reciprocal", "pow", "square", "neg")
    for place in ("", "_")
) | frozenset(
    f"aten.{name}"
    for name in (
        "clamp", "clamp_min", "_to_copy", "clone", "alias", "detach", "view", "unsqueeze",
        "squeeze", "expand", "permute", "transpose", "_unsafe_view", "maximum",
    )
)  # fmt: skip
"""Operations that make one statistic from another."""


class Recorder:
    """Carries labels through a forward pass and keeps what was learned.

    Parameters
    ----------
    network : nn.Module
        The network; its parameters and floating-point buffers get their labels here.
    samples : int
        Samples in the example; costs are divided by it.
    """

    def __init__(self, network: nn.Module, samples: int) -> None:
        self.ledger = LabelLedger()
        self.axes: list[LabelledAxis] = []
        self.costs: list[CostTerm] = []
        self.norms: list[Norm] = []
        self.sizes: list[SizeUse] = []
        self.follows: frozenset[int] = frozenset()
        self.noise_source: torch.Tensor | None = None
        self.produced: dict[int, int] = {}
        self.consumed: set[int] = set()
        self.used: set[int] = set()
        self.samples = samples
        self.counting = True
        self.operations = 0
        self.scopes: list[str] = []
        self._current: Operation
        self._calls: Counter[str] = Counter()
        self._tracked: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._first_label: dict[int, tuple[int, int]] = {}
        kernels = {
            id(tensor)
            for module in network.modules()
            if isinstance(module, _ConvNd)
            for tensor in module.parameters()
        }
        self._names = {id(module): name for name, module in network.named_modules()}
        self._modules = dict(network.named_modules())
        for name, tensor in parameters_and_buffers(network):
            self._label(name, tensor, 2 if id(tensor) in kernels else tensor.dim())
        self._keep_projected(network)

    def _keep_projected(self, network: nn.Module) -> None:
        """Keep the hidden units of an LSTM with projections.

        PyTorch tells that there are projections from two sizes that differ, so these must never
        become equal.
        """
        text = "an LSTM with projections needs more hidden units than projected ones"
        for name, module in network.named_modules():
            weight = module._parameters.get("weight_hr_l0")
            if isinstance(module, nn.RNNBase) and weight is not None:
                hidden = self.layers(weight)[-1]
                self.ledger.freeze(hidden, Reason(text, "aten.lstm", f"module {name!r}"))

    def _label(self, name: str, tensor: torch.Tensor, n_dims: int) -> None:
        """Give the first dimensions of a parameter or buffer their labels (kernels have none)."""
        layers = []
        first = self.ledger.n_labels
        factors = []
        for dim, size in enumerate(tensor.shape):
            if size > 1 and dim >= n_dims:
                factors.append(np.zeros(size, dtype=np.int64))
            elif size > 1:
                labels = self.ledger.allocate(size)
                self.axes.append(LabelledAxis(name, dim, labels.numpy()))
                view = [1] * tensor.dim()
                view[dim] = size
                layers.append(expand(labels.reshape(view), tensor.shape))
                factors.append(labels.numpy())
        self._tracked[tensor] = Tracked(layers)
        self._first_label[id(tensor)] = (first, self.ledger.n_labels)
        if isinstance(tensor, nn.Parameter):
            self.costs.append(CostTerm("parameters", 1.0, tuple(factors)))

    def inputs(self, tensors: Sequence[torch.Tensor]) -> None:
        """Note the tensors that the network is called with."""
        for tensor in tensors:
            self._tracked[tensor] = Tracked(dynamic=True)

    def tracked(self, tensor: torch.Tensor) -> Tracked:
        """Return what is known of a tensor (nothing, for one that was never seen)."""
        found = self._tracked.get(tensor, None)  # type: ignore[no-untyped-call]
        return found if isinstance(found, Tracked) else Tracked()

    def layers(self, tensor: torch.Tensor) -> list[Layer]:
        """Return the layers of a tensor that hold any label."""
        tracked = self.tracked(tensor)
        if tracked.writable:
            return [layer for layer in tracked.layers if bool((layer > 0).any())]
        return tracked.layers

    def set(self, tensor: torch.Tensor, layers: Sequence[Layer], *, writable: bool = False) -> None:
        """Give a result its layers (compact ones are expanded)."""
        dynamic = self.tracked(tensor).dynamic
        expanded = []
        for layer in layers:
            full = layer if layer.shape == tensor.shape else expand(layer, tensor.shape)
            if not writable:
                # data movement may have written it out in full
                full = expand(compact(full), tensor.shape)
            expanded.append(full)
            if not writable and len(varying(full)) > 1:
                self.ledger.rectangle(full, self._current.reason("its channels are regrouped"))
        self._tracked[tensor] = Tracked(expanded, dynamic, writable)

    def produce(self, layer: Layer) -> None:
        """Note the labels that an operation produces: the output side of its weight."""
        for label in torch.unique(compact(layer)).tolist():
            self.produced.setdefault(label, self.operations)

    def consume(self, layer: Layer) -> None:
        """Note the labels that an operation consumes: the input side of its weight."""
        self.consumed.update(torch.unique(compact(layer)).tolist())

    def cost(self, kind: str, scale: float, layers: Sequence[Layer], family: str = "") -> None:
        """Note a cost: `scale` elements where the layers are compact, times their kept counts.

        Where two layers vary along one dimension (rows and columns of a table, flattened), the
        first stands for both.
        """
        factors: list[npt.NDArray[np.int64]] = []
        taken: set[int] = set()
        for layer in layers:
            small, dims = compact(layer), set(varying(layer))
            if dims & taken:
                scale *= float(np.prod([small.shape[dim] for dim in dims - taken]))
            else:
                factors.append(small.reshape(-1).numpy().copy())
            taken |= dims
        self.costs.append(CostTerm(kind, scale, tuple(factors), family))

    def attribute(self, module: str, name: str, dim: int, layer: Layer) -> None:
        """Note that a module's attribute holds the length of a labelled dimension."""
        self.axes.append(
            LabelledAxis(f"{module}.{name}" if module else name, dim, layer.numpy().copy(), True)
        )

    def reason(self, text: str, operation: str) -> Reason:
        """Make a reason at the line of code that runs now."""
        return Reason(text, operation, self._line())

    @contextmanager
    def following(self, sizes: Iterable[int]) -> Iterator[None]:
        """Within the block, these numbers in the arguments of an operation follow a removal."""
        before, self.follows = self.follows, frozenset(map(int, sizes))
        try:
            yield
        finally:
            self.follows = before

    @contextmanager
    def following_noise(self, source: torch.Tensor) -> Iterator[None]:
        """Within the block, tensors that are made have the channels of a source."""
        before, self.noise_source = self.noise_source, source
        try:
            yield
        finally:
            self.noise_source = before

    def label_constant(self, tensor: torch.Tensor, sizes: Sequence[Any]) -> None:
        """Give a constant tensor labels along the dimensions whose sizes are remembered."""
        layers = []
        for dim, size in enumerate(sizes):
            if isinstance(size, Size) and int(size) > 1:
                view = [1] * tensor.dim()
                view[dim] = int(size)
                labels = self.ledger.allocate(int(size)).reshape(view).expand(tensor.shape)
                layers.append((dim, size.expression, labels))
        if len(layers) == 1:
            # its labels are those that are written into it by the end
            layers = [(dim, expression, labels.clone()) for dim, expression, labels in layers]
        reason = self.reason("the size of a constant tensor is a number", "constant")
        for dim, expression, labels in layers:
            self.sizes.append(SizeUse(expression, labels, dim, reason))
        if layers:
            found = [labels for _, _, labels in layers]
            # made anew in every pass, like what is computed from the input
            self._tracked[tensor] = Tracked(found, True, writable=len(found) == 1)

    def norm(self, operation: Operation, labels: Layer) -> None:
        """Note that an operation takes statistics over labelled indices."""
        name = str(operation.function)
        self.norms.append(Norm(name, self._calls[name] - 1, labels.numpy().copy()))

    def statistic(self, tensor: torch.Tensor, layer: Layer, reason: Reason) -> None:
        """Note that a tensor holds statistics over the labels of a layer."""
        tracked = self.tracked(tensor)
        labels = np.unique(compact(layer).numpy())
        found = (*tracked.statistics, Statistic(labels[labels > 0], reason))
        self._tracked[tensor] = replace(tracked, statistics=found)

    def module_of(self, name: str) -> nn.Module | None:
        """Return the module of a scope."""
        return self._modules.get(name)

    def observe(self, function: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Hand the labels on through one executed operation."""
        from optprune.surgery.rules import rule_for

        outputs = [leaf for leaf in tree_flatten(out)[0] if isinstance(leaf, torch.Tensor)]
        operation = Operation(
            name=str(function).rpartition(".")[0],
            function=function,
            args=tuple(args),
            kwargs=dict(kwargs),
            outputs=outputs,
            module=self.scopes[-1] if self.scopes else "",
            line=self._line(),
        )
        self.operations += 1
        self._calls[str(function)] += 1
        self._current = operation
        tensors = operation.tensors
        dynamic = any(self.tracked(tensor).dynamic for tensor in tensors)
        for tensor in tensors:
            if id(tensor) in self._first_label:
                self.used.add(id(tensor))
        inputs = {id(tensor) for tensor in tensors}
        fresh = [tensor for tensor in outputs if id(tensor) not in inputs]
        for tensor in fresh:
            self._tracked[tensor] = Tracked(dynamic=dynamic)
        for tensor in outputs:
            if id(tensor) in inputs and dynamic:
                self._tracked[tensor] = replace(self.tracked(tensor), dynamic=True)
                if tensor._base is not None:
                    # what is written into a part belongs to the whole
                    whole = tensor._base
                    self._tracked[whole] = replace(self.tracked(whole), dynamic=True)
        self._apply(rule_for(function), operation)
        self._carry_statistics(operation)
        if dynamic:
            returns = function._schema.returns
            views = any(value.alias_info is not None for value in returns)
            if not views and operation.name not in ("aten._unsafe_view", "aten.detach"):
                for tensor in fresh:
                    self._count_activation(tensor)

    def _apply(self, rule: Rule, operation: Operation) -> None:
        """Let a rule hand the labels on; freeze what the operation touches where the rule fails."""
        try:
            rule(self, operation)
        except OptpruneError:
            raise
        except Exception as error:  # noqa: BLE001 - what it touches is frozen, and it is told
            found = f"{type(error).__name__}: {error}"
            warnings.warn(
                f"the rule for {operation.name} fails at {operation.line or 'an unknown line'} "
                f"({found}); the channels that it touches stay whole. This is a defect of the "
                "rule, not of the network: please report it, or register a rule of your own.",
                TraceWarning,
                stacklevel=2,
            )
            reason = operation.reason(f"the rule for this operation fails ({found})")
            for tensor in operation.tensors:
                for layer in self.layers(tensor):
                    self.ledger.freeze(layer, reason)
            for output in operation.outputs:
                self._tracked[output] = Tracked(dynamic=self.tracked(output).dynamic)

    def _carry_statistics(self, operation: Operation) -> None:
        """Hand statistics on, drop them where they normalise, freeze where they do not."""
        tensors = operation.tensors
        for index, tensor in enumerate(tensors):
            for statistic in self.tracked(tensor).statistics:
                others = [other for place, other in enumerate(tensors) if place != index]
                layers = [layer for other in others for layer in self.layers(other)]
                if operation.name in _SCALING and any(
                    np.isin(compact(layer).numpy(), statistic.labels).any() for layer in layers
                ):
                    continue
                if operation.name in _CARRYING and not layers:
                    for output in operation.outputs:
                        known = self.tracked(output)
                        if statistic not in known.statistics:
                            found = (*known.statistics, statistic)
                            self._tracked[output] = replace(known, statistics=found)
                    continue
                self.ledger.freeze(torch.from_numpy(statistic.labels), statistic.reason)

    def _count_activation(self, tensor: torch.Tensor) -> None:
        """Count the bytes of a new tensor."""
        layers = [layer for layer in self.layers(tensor) if varying(layer)]
        labelled = {dim for layer in layers for dim in varying(layer)}
        rest = [size for dim, size in enumerate(tensor.shape) if dim not in labelled]
        scale = float(np.prod(rest)) * tensor.element_size() / self.samples
        if self.counting:
            self.cost("activation_bytes", scale, layers)

    def unused(self, network: nn.Module) -> list[str]:
        """Return the names of the parameters and buffers that no operation has touched."""
        return [
            name for name, tensor in parameters_and_buffers(network) if id(tensor) not in self.used
        ]

    def _line(self) -> str:
        """Return the innermost line of code that is neither PyTorch's nor ours."""
        frame: Any = sys._getframe(1)
        while frame is not None and frame.f_code is not call.__code__:
            file = frame.f_code.co_filename
            if not file.startswith((_TORCH, _HERE, "<frozen")):
                text = linecache.getline(file, frame.f_lineno).strip()
                return f"{os.path.basename(file)}:{frame.f_lineno}: {text}"
            frame = frame.f_back
        scope = self.scopes[-1] if self.scopes else ""
        return f"module {scope!r} ({type(self._modules[scope]).__name__})"

    @contextmanager
    def listening(self, network: nn.Module) -> Iterator[None]:
        """Follow a forward pass of the network: the module in which it is, and its operations."""
        handles = []

        def enter(module: nn.Module, _arguments: Any) -> None:
            self.scopes.append(self._names[id(module)])

        def leave(_module: nn.Module, _arguments: Any, _output: Any) -> None:
            self.scopes.pop()

        for module in network.modules():
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave, always_call=True))
        try:
            # attention is traced, and counted, as the products that it is made of
            with (
                remembering(network, self),
                sdpa_kernel(SDPBackend.MATH),
                self._unfused(network),
                SizeMode(self),
                _Mode(self),
            ):
                yield
        finally:
            self.scopes.clear()
            for handle in handles:
                handle.remove()

    @contextmanager
    def _unfused(self, network: nn.Module) -> Iterator[None]:
        """Let recurrent layers run as the products and gates that they are made of."""
        recurrent = any(isinstance(module, nn.RNNBase) for module in network.modules())
        backends: list[Any] = [torch.backends.mkldnn, torch.backends.cudnn] if recurrent else []
        before = [bool(backend.enabled) for backend in backends]
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        for backend in backends:
            backend.enabled = False
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            for backend, enabled in zip(backends, before, strict=True):
                backend.enabled = enabled


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Executes every operation and tells the recorder of it."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        parts = parts_of(func)
        if parts is not None:
            with self:
                return parts(*args, **kwargs)
        out = func(*args, **kwargs)
        self.recorder.observe(func, args, kwargs, out)
        return out


def parameters_and_buffers(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every parameter and floating-point buffer once, under its first name."""
    yield from network.named_parameters()
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            yield name, buffer
