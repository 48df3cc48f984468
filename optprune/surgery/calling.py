"""How a network is called: inputs are one tensor, a tuple of tensors, or a dict of tensors.

Everything that hands inputs to a network goes through `call`, so that no other file distinguishes
the three forms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import nn

from optprune.errors import ArgumentTypeError

__all__ = [
    "Inputs",
    "at_least_two",
    "batch_size",
    "call",
    "evaluating",
    "input_tensors",
    "map_inputs",
    "preserving_buffers",
    "take",
    "to_device",
    "to_dtype",
]

Inputs: TypeAlias = torch.Tensor | tuple[torch.Tensor, ...] | dict[str, torch.Tensor]
"""What a network is called with: a tensor, a tuple of them, or a dict of them by argument."""


def call(network: nn.Module, inputs: Inputs) -> Any:
    """Call a network: ``network(x)``, ``network(*xs)`` or ``network(**xs)``.

    Parameters
    ----------
    network : nn.Module
        Any network.
    inputs : Tensor, tuple of Tensor, or dict of str to Tensor
        One argument, positional arguments, or keyword arguments.

    Returns
    -------
    Any
        Whatever the network returns.
    """
    if isinstance(inputs, dict):
        return network(**inputs)
    if isinstance(inputs, tuple):
        return network(*inputs)
    return network(inputs)


def input_tensors(inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """Return the tensors of an input in order.

    Parameters
    ----------
    inputs : Tensor, tuple of Tensor, or dict of str to Tensor
        What a network is called with.

    Returns
    -------
    tuple of Tensor
        One tensor, the tuple itself, or the dict's values.

    Raises
    ------
    ArgumentTypeError
        When `inputs` is none of the three forms, or holds something else than tensors.
    """
    tensors: tuple[Any, ...]
    if isinstance(inputs, torch.Tensor):
        tensors = (inputs,)
    elif isinstance(inputs, tuple):
        tensors = inputs
    elif isinstance(inputs, dict):
        tensors = tuple(inputs.values())
    else:
        raise ArgumentTypeError(
            "inputs must be a tensor, a tuple of tensors or a dict of tensors, got "
            f"{type(inputs).__name__}."
        )
    for tensor in tensors:
        if not isinstance(tensor, torch.Tensor):
            raise ArgumentTypeError(
                f"inputs must hold tensors only, got a {type(tensor).__name__} in a "
                f"{type(inputs).__name__}; bind other arguments in the network itself."
            )
    if not tensors:
        raise ArgumentTypeError(f"inputs must hold at least one tensor, got {inputs!r}.")
    return tensors


def map_inputs(function: Callable[[torch.Tensor], torch.Tensor], inputs: Inputs) -> Inputs:
    """Apply a function to every tensor of an input and keep its form.

    Parameters
    ----------
    function : callable
        Takes a tensor, returns a tensor.
    inputs : Tensor, tuple of Tensor, or dict of str to Tensor
        What a network is called with.

    Returns
    -------
    Tensor, tuple of Tensor, or dict of str to Tensor
        The same form as `inputs`.
    """
    if isinstance(inputs, dict):
        return {name: function(tensor) for name, tensor in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(function(tensor) for tensor in inputs)
    return function(inputs)


def to_device(inputs: Inputs, device: torch.device | str) -> Inputs:
    """Return the inputs on a device (the same tensors where they are there already)."""
    return map_inputs(lambda tensor: tensor.to(device), inputs)


def to_dtype(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """Return the inputs with their floating-point tensors in another type, integers untouched."""
    return map_inputs(
        lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor, inputs
    )


def take(inputs: Inputs, index: torch.Tensor | slice) -> Inputs:
    """Return the samples at `index` along the first dimension of every tensor."""
    return map_inputs(lambda tensor: tensor[index], inputs)


def batch_size(inputs: Inputs) -> int:
    """Return the number of samples: the first dimension of every tensor.

    Raises
    ------
    ArgumentTypeError
        When the tensors have no first dimension or disagree about its size.
    """
    tensors = input_tensors(inputs)
    sizes = {tensor.shape[0] if tensor.dim() else -1 for tensor in tensors}
    if len(sizes) != 1 or -1 in sizes:
        shapes = [tuple(tensor.shape) for tensor in tensors]
        raise ArgumentTypeError(
            "all input tensors must share their first dimension (the samples), got shapes "
            f"{shapes}."
        )
    return sizes.pop()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and every module back into its own mode afterwards.

    Parameters
    ----------
    network : nn.Module
        Any network; its modules may be in different modes.
    """
    modes = [(module, module.training) for module in network.modules()]
    if any(training for _, training in modes):
        network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def preserving_buffers(network: nn.Module) -> Iterator[None]:
    """Give a network's buffers back the values that they had before the ``with`` block.

    Parameters
    ----------
    network : nn.Module
        Any network, also one that writes or replaces buffers in its forward pass.
    """
    saved = [
        (module, name, buffer, buffer.detach().clone())
        for module in network.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        # not no_grad: a buffer that was made in inference mode is written to in inference mode only
        with torch.inference_mode():
            for module, name, buffer, values in saved:
                # Always: batch normalization writes without raising the tensor's version.
                if buffer.shape != values.shape:
                    buffer.resize_(values.shape)
                buffer.copy_(values)
                if getattr(module, name, None) is not buffer:
                    setattr(module, name, buffer)


def at_least_two(inputs: Inputs) -> Inputs:
    """Repeat a single sample: statistics over a batch need two."""
    if batch_size(inputs) > 1:
        return inputs
    return map_inputs(lambda tensor: torch.cat((tensor, tensor)), inputs)
