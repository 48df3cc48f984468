"""Random numbers that depend on what is evaluated, never on when.

The randomness of a candidate (the order of data in fine-tuning, an ensemble, a user's metric) is
seeded by the run's seed and the proposal's digest, inside a block after which the global
generators are where they were before.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["seed_from", "seeded"]


def seed_from(*parts: int | str) -> int:
    """Derive a seed from numbers and texts.

    Parameters
    ----------
    *parts : int or str
        What the seed depends on, in order.

    Returns
    -------
    int
        From 0 to 2⁶³ - 1, the same in every process.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    number = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(number, "big") >> 1


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python for a ``with`` block.

    Parameters
    ----------
    seed : int
        Not negative, below 2⁶³.
    device : torch.device
        If it is a CUDA device, its generator too.

    Notes
    -----
    Afterwards all of them are in the state in which they were before.
    """
    cuda = device.type == "cuda"
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002 - users' code may draw from it
    torch_state = torch.get_rng_state()
    cuda_state = torch.cuda.get_rng_state(device) if cuda else None
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)
        if cuda_state is not None:
            torch.cuda.set_rng_state(cuda_state, device)
