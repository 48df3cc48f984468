"""Plain layers in place of PyTorch's own that cannot be narrowed.

They take over by becoming the class of an existing module: same parameters, same names, same
attributes, other code. Each is a subclass of the layer that it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from optprune.surgery.modules.attention import MultiheadAttention

__all__ = ["MultiheadAttention", "narrowable", "replace_classes"]

_PLAIN: dict[type[nn.Module], type[nn.Module]] = {nn.MultiheadAttention: MultiheadAttention}


def replace_classes(network: nn.Module) -> list[nn.Module]:
    """Let all modules that cannot be narrowed become plain ones; return these."""
    found = [module for module in network.modules() if type(module) in _PLAIN]
    for module in found:
        module.__class__ = _PLAIN[type(module)]
    return found


@contextmanager
def narrowable(network: nn.Module) -> Iterator[None]:
    """Let modules that cannot be narrowed be plain ones within the ``with`` block."""
    original = {plain: dense for dense, plain in _PLAIN.items()}
    changed = replace_classes(network)
    try:
        yield
    finally:
        for module in changed:
            module.__class__ = original[type(module)]
