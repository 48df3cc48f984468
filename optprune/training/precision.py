"""The number type that a gradient trainer computes a network's outputs in."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import torch
from torch import nn

from optprune.device import has_bfloat16
from optprune.errors import TrainingWarning
from optprune.surgery.calling import Inputs

__all__ = ["PRECISIONS", "Precision", "available_precision", "in_bfloat16"]

Precision: TypeAlias = Literal["float32", "bfloat16"]

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def available_precision(precision: Precision, device: torch.device) -> Precision:
    """Return the precision that is computed in on a device.

    Parameters
    ----------
    precision : {"float32", "bfloat16"}
        What is asked for.
    device : torch.device
        Where.

    Returns
    -------
    {"float32", "bfloat16"}
        ``"float32"``, with a `TrainingWarning`, for ``"bfloat16"`` on a device that only imitates
        it.
    """
    if precision == "bfloat16" and not has_bfloat16(device):
        warnings.warn(
            f"precision='bfloat16': the device {device} does not compute in bfloat16 itself, and "
            "imitating it would be slower; training computes in float32.",
            TrainingWarning,
            stacklevel=3,
        )
        return "float32"
    return precision


def in_bfloat16(
    outputs: Callable[[nn.Module, Inputs], torch.Tensor], device: torch.device
) -> Callable[[nn.Module, Inputs], torch.Tensor]:
    """Return a function that computes a network's outputs under autocast in bfloat16.

    Parameters
    ----------
    outputs : callable
        ``outputs(network, inputs)``.
    device : torch.device
        Where.

    Returns
    -------
    callable
        Of the same form; what it returns is float32.
    """

    def found(network: nn.Module, inputs: Inputs) -> torch.Tensor:
        with _lowering(network, device), torch.autocast(device.type, dtype=torch.bfloat16):
            value = outputs(network, inputs)
        return value.float() if value.dtype == torch.bfloat16 else value

    return found


@contextlib.contextmanager
def _lowering(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Let a network's forward pass run under autocast, whatever surrounds it.

    `Task.outputs` in float32 switches autocast off around the network.
    """
    with contextlib.ExitStack() as open_casts:

        def enter(*_: object) -> None:
            open_casts.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))

        def leave(*_: object) -> None:
            open_casts.close()

        before = network.register_forward_pre_hook(enter)
        after = network.register_forward_hook(leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()
