"""The state of a network under canonical names, and putting another state into it.

A parameter or buffer that a network holds under several names has one canonical name: the first.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from optprune.errors import TraceError
from optprune.surgery.modules import replace_classes

__all__ = ["Slot", "dense_state", "empty_copy", "install", "own_storage", "slots"]


@dataclass(frozen=True)
class Slot:
    """A place of a module that holds a parameter or a buffer."""

    module: str
    name: str
    tensor: str
    parameter: bool
    requires_grad: bool


def dense_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return every parameter and buffer once, under its canonical name, without copying."""
    state: dict[str, torch.Tensor] = dict(network.named_parameters())
    state.update(network.named_buffers())
    return {name: tensor.detach() for name, tensor in state.items()}


def slots(network: nn.Module) -> list[Slot]:
    """List every place that holds a parameter or buffer, tied ones under their canonical name."""
    canonical: dict[int, str] = {}
    found = []
    modules = list(network.named_modules())
    for kind in ("_parameters", "_buffers"):
        for module_name, module in modules:
            for name, tensor in getattr(module, kind).items():
                if tensor is None:
                    continue
                full = f"{module_name}.{name}" if module_name else name
                known = canonical.setdefault(id(tensor), full)
                parameter = kind == "_parameters"
                found.append(Slot(module_name, name, known, parameter, tensor.requires_grad))
    return found


def empty_copy(network: nn.Module) -> nn.Module:
    """Copy a network's modules but not its parameters and buffers, which the copy still shares.

    Raises
    ------
    TraceError
        If the network cannot be copied.
    """
    shared: dict[int, object] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        shared[id(tensor)] = tensor
    for module in network.modules():
        for value in vars(module).values():
            # what a forward pass left in an attribute (activations, pruned weights)
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                shared[id(value)] = value.detach()
    try:
        copied = copy.deepcopy(network, shared)
    except Exception as error:
        raise TraceError(
            f"the network cannot be copied ({type(error).__name__}: {error}); give it a "
            "__deepcopy__, or keep what cannot be copied out of its attributes."
        ) from error
    replace_classes(copied)
    return copied


def install(
    modules: Mapping[str, nn.Module], places: list[Slot], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Put tensors into a network, tied ones as one parameter; their storage is not copied.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        The network's modules, by name.
    places : list of Slot
        Where its tensors are.
    tensors : mapping of str to Tensor
        What goes there, by canonical names.
    """
    made: dict[str, nn.Parameter] = {}
    for slot in places:
        module = modules[slot.module]
        tensor = tensors[slot.tensor]
        if slot.parameter:
            if slot.tensor not in made:
                made[slot.tensor] = nn.Parameter(tensor, requires_grad=slot.requires_grad)
            module._parameters[slot.name] = made[slot.tensor]
        else:
            module._buffers[slot.name] = tensor
    for module in modules.values():
        if isinstance(module, nn.RNNBase):
            # recurrent layers keep a list of their weights besides
            module._flat_weights = [getattr(module, n, None) for n in module._flat_weights_names]


def own_storage(network: nn.Module) -> None:
    """Give every parameter and buffer of a network storage of its own, in place.

    What a `Slicer` takes are pieces of larger tensors, which is fast in a search. A network to keep
    is handed out without them: what saves or exports it would meet tensors that share storage.

    Parameters
    ----------
    network : nn.Module
        Its tensors stay the same objects, so tied ones stay tied.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        size = tensor.numel() * tensor.element_size()
        if tensor.layout == torch.strided and tensor.untyped_storage().nbytes() > size:
            tensor.data = tensor.data.clone()
