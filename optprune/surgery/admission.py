"""Which networks surgery takes in: plain ones, with all their tensors at hand.

A wrapper around a network, a compiled network, or parameters without values would fail somewhere
deep in a trace, with an error that tells nothing. `admit` looks first, and says what to do instead.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from optprune.errors import ArgumentTypeError, TraceError

__all__ = ["admit"]

_SHARDED = (
    "holds a part of its parameters only (FSDP); gather the full state dict into a network that is "
    "not sharded, and hand that over"
)
_WRAPPED = {
    "torch.nn.parallel.data_parallel.DataParallel": ("wrapped in DataParallel", "module"),
    "torch.nn.parallel.distributed.DistributedDataParallel": (
        "wrapped in DistributedDataParallel",
        "module",
    ),
    "torch._dynamo.eval_frame.OptimizedModule": ("compiled (by torch.compile)", "_orig_mod"),
}
_SHARDING = (
    "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel",
    "torch.distributed.fsdp.FSDPModule",
)
_QUANTIZED = (
    "torch.ao.nn.quantized.",
    "torch.ao.nn.intrinsic.quantized.",
    "torch.ao.nn.sparse.quantized.",
)


def admit(network: nn.Module) -> None:
    """Raise unless a network can be traced and cut as it is.

    Parameters
    ----------
    network : nn.Module
        What the caller hands over. Modes, hooks, frozen and tied parameters, and the precision do
        not matter.

    Raises
    ------
    ArgumentTypeError
        If it is no network.
    TraceError
        If it, or a module in it, is a wrapper (`DataParallel`, `DistributedDataParallel`, FSDP),
        compiled, scripted or quantized; if a parameter or buffer is not initialised, has no values
        (the meta device), or is of a kind of its own; if the parameters are on several devices; or
        if a `forward` was replaced by a function that runs the original in every copy.
    """
    if not isinstance(network, nn.Module):
        raise ArgumentTypeError(f"network must be a torch.nn.Module, got {type(network).__name__}.")
    for name, module in network.named_modules():
        subject = f"the network's module {name!r}" if name else "the network"
        trouble = _trouble_of_module(module, name)
        if trouble:
            raise TraceError(f"{subject} {trouble}.")
        if "forward" in vars(module) and _holds(vars(module)["forward"], set(network.modules())):
            raise TraceError(
                f"{subject} has a forward that was replaced by a function around the original, "
                "which every copy would run in its own stead; write it as a method, or bind it: "
                "module.forward = types.MethodType(function, module)."
            )
    for kind, name, tensor in _tensors(network):
        trouble = _trouble_of_tensor(tensor)
        if trouble:
            raise TraceError(f"the network's {kind} {name!r} {trouble}.")
    devices = {str(parameter.device) for parameter in network.parameters()}
    if len(devices) > 1:
        raise TraceError(
            f"the network's parameters are on several devices ({', '.join(sorted(devices))}); move "
            "the network to one with .to(device)."
        )


def _trouble_of_module(module: nn.Module, name: str) -> str:
    """Say why a module cannot be taken in and what to do; nothing if it can."""
    # by their names, so that none of these parts of PyTorch need be imported
    classes = [f"{cls.__module__}.{cls.__qualname__}" for cls in type(module).__mro__]
    for cls in classes:
        if cls in _WRAPPED:
            how, inner = _WRAPPED[cls]
            remedy = f"put its .{inner} in its place" if name else f"hand over network.{inner}"
            return f"is {how}; {remedy}"
        if cls in _SHARDING:
            return _SHARDED
    if isinstance(module, torch.jit.ScriptModule):
        return (
            "is a ScriptModule (torch.jit), whose code surgery cannot follow; use the Python "
            "module that it was made from"
        )
    if module._compiled_call_impl is not None:
        place = f"network.get_submodule({name!r})" if name else "network"
        return (
            f"is compiled in place (by .compile()); set {place}._compiled_call_impl = None, and "
            "compile the smaller network instead"
        )
    if type(module).__module__.startswith(_QUANTIZED):
        return (
            f"is quantized ({type(module).__name__}); prune the floating-point network, and "
            "quantize the smaller one"
        )
    return ""


def _holds(function: Any, modules: set[nn.Module]) -> bool:
    """Tell whether a function holds on to one of the modules where copying does not follow."""
    pending, seen = [function], set()
    while pending:
        found = pending.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, functools.partial):
            # its arguments are copied along
            pending.append(found.func)
        elif isinstance(found, types.FunctionType):
            for cell in found.__closure__ or ():
                try:
                    held = cell.cell_contents
                except ValueError:  # not assigned yet
                    continue
                held = getattr(held, "__self__", held)
                if isinstance(held, nn.Module) and held in modules:
                    return True
                pending.append(held)
    return False


def _tensors(network: nn.Module) -> Iterator[tuple[str, str, torch.Tensor]]:
    """Yield every parameter and buffer with its name."""
    for name, parameter in network.named_parameters():
        yield "parameter", name, parameter
    for name, buffer in network.named_buffers():
        yield "buffer", name, buffer


def _trouble_of_tensor(tensor: torch.Tensor) -> str:
    """Say why a tensor cannot be taken in and what to do; nothing if it can."""
    if is_lazy(tensor):
        return "has no shape yet; call the network on the example once, which gives it one"
    if tensor.is_meta:
        return (
            "is on the meta device and has no values; make room for them with "
            ".to_empty(device='cpu') and load a state dict"
        )
    subclass: bool = is_traceable_wrapper_subclass(tensor)
    if subclass:
        return (
            f"is a {type(tensor).__name__}, not a plain tensor; prune the network before it is "
            "quantized or distributed"
        )
    if tensor.is_quantized or tensor.layout is not torch.strided:
        kind = "quantized" if tensor.is_quantized else f"stored as {tensor.layout}"
        return f"is {kind}, not dense; prune the network with dense floating-point tensors"
    return ""
