"""What stands around a pass: settings that must not leak in, and a network that stays as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn

from optprune.surgery.calling import preserving_buffers

__all__ = ["keeping_generators", "plain_settings", "untouched"]

_AUTOCAST = ("cpu", "cuda", "mps", "xpu")
_REGISTERED = ("_parameters", "_buffers", "_modules")


@contextmanager
def plain_settings() -> Iterator[None]:
    """Work as if the caller had switched on neither autocast nor inference mode.

    Under autocast a trace would count bytes of another precision; what is made in inference mode
    can never be trained.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for kind in _AUTOCAST:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def keeping_generators() -> Iterator[None]:
    """Put the global random generators of torch, numpy and Python back afterwards."""
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if on_gpu else []
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002  (a user's own code)
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and leave it as it was.

    Modes, values of buffers, and what the forward pass assigned to attributes (a cache, a counter,
    attention maps kept for a look) are put back. The mode is set module by module: a `train` of
    the network's own may do more than that, such as merging weights.
    """
    saved = [
        (module, dict(module.__dict__), [dict(module.__dict__[kind]) for kind in _REGISTERED])
        for module in network.modules()
    ]
    try:
        with preserving_buffers(network):
            for module, _, _ in saved:
                module.__dict__["training"] = False
            yield
    finally:
        for module, attributes, registered in saved:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            for kind, content in zip(_REGISTERED, registered, strict=True):
                attributes[kind].clear()
                attributes[kind].update(content)
