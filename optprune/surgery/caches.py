"""What a network remembers from one pass to the next: tensors that forward puts into a dict.

Such a memory (attention biases that are looked up once, say) was computed from the dense weights; a
smaller network must compute its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["emptied", "filled", "forget"]


def _memories(network: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield the dicts of modules that hold nothing, or tensors only: name, module, attribute."""
    for name, module in network.named_modules():
        for attribute, value in module.__dict__.items():
            if attribute.startswith("_") or type(value) is not dict:
                continue
            if all(isinstance(item, torch.Tensor) for item in value.values()):
                yield f"{name}.{attribute}" if name else attribute, module, attribute


@contextmanager
def emptied(network: nn.Module) -> Iterator[None]:
    """Let a network run as if it remembered nothing, within the ``with`` block."""
    found: list[tuple[nn.Module, str, Any]] = [
        (module, attribute, module.__dict__[attribute])
        for _, module, attribute in _memories(network)
    ]
    for module, attribute, _ in found:
        module.__dict__[attribute] = {}
    try:
        yield
    finally:
        for module, attribute, value in found:
            module.__dict__[attribute] = value


def filled(network: nn.Module) -> tuple[str, ...]:
    """Name the memories that hold something."""
    return tuple(name for name, module, key in _memories(network) if module.__dict__[key])


def forget(modules: Mapping[str, nn.Module], caches: Sequence[str]) -> None:
    """Let modules, given by name, remember nothing."""
    for full in caches:
        name, _, attribute = full.rpartition(".")
        modules[name].__dict__[attribute] = {}
