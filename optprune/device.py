"""Devices and number types: where a network is and what it computes in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from optprune.errors import ArgumentError, ArgumentTypeError, TaskError

__all__ = ["floating_type", "has_bfloat16", "network_device", "resolve_device"]

_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")  # instructions of x86 and ARM


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that a name means, with its index where it is a CUDA device.

    Raises
    ------
    ArgumentError
        When there is no such device.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(f"device must name a torch device, got {device!r}.") from error
    if found.type == "meta":
        raise ArgumentError("device='meta' holds no values; use 'cpu' or 'cuda'.")
    if found.type == "cuda":
        available = torch.cuda.device_count()
        if (found.index or 0) >= available:
            raise ArgumentError(
                f"device={str(device)!r}: torch sees {available} CUDA devices here; use 'cpu'."
            )
    if found.type != "cpu" and ":" not in str(found):
        # 'cuda' and 'cuda:0' are one device, and tensors only ever say 'cuda:0'.
        index = torch.cuda.current_device() if found.type == "cuda" else 0
        found = torch.device(found.type, index)
    return found


def network_device(network: nn.Module) -> torch.device | None:
    """Return the one device that holds a network, None for a network without tensors.

    Raises
    ------
    TaskError
        When it is on several devices, on the meta device, or not initialized.
    ArgumentTypeError
        When it is no network.
    """
    if not isinstance(network, nn.Module):
        raise ArgumentTypeError(f"network must be an nn.Module, got {type(network).__name__}.")
    tensors = [*network.named_parameters(), *network.named_buffers()]
    for name, tensor in tensors:
        if is_lazy(tensor):
            raise TaskError(
                f"network has the uninitialized parameter {name!r}: call it once on real inputs."
            )
    devices = {tensor.device for _, tensor in tensors}
    if len(devices) > 1:
        raise TaskError(
            f"network has parameters on several devices, {sorted(map(str, devices))}: move it to "
            "one with network.to(device)."
        )
    device = devices.pop() if devices else None
    if device is not None and device.type == "meta":
        raise TaskError("network is on the meta device and has no values: load its weights first.")
    return device


def floating_type(network: nn.Module) -> torch.dtype:
    """Return the type of a network's first floating-point parameter, or torch's default."""
    types = (p.dtype for p in network.parameters() if p.is_floating_point())
    return next(types, torch.get_default_dtype())


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether a device computes in bfloat16 itself; imitating it would be slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older releases of torch cannot tell.
    told: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict[str, Any])()
    return device.type == "cpu" and any(told.get(name) for name in _BFLOAT16)
