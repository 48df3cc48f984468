"""Global generators, lent a state of a search's own and put back.

DEAP draws from Python's global ``random`` and from numpy's legacy global generator. While its
operators run, these go on from states made of the session's generator; before and after, the
caller's draws and those of a metric are what they would be without the search.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

__all__ = ["lent", "lent_numpy", "numpy_source"]


@contextmanager
def lent(source: random.Random) -> Iterator[None]:
    """Let the global ``random`` draw from `source` inside the ``with`` block.

    On leaving, also by an exception, the global state is what it was, and `source` goes on from
    where the block ended.
    """
    outside = random.getstate()
    random.setstate(source.getstate())
    try:
        yield
    finally:
        source.setstate(random.getstate())
        random.setstate(outside)


@contextmanager
def lent_numpy(source: np.random.RandomState) -> Iterator[None]:
    """Let numpy's legacy global generator draw from `source` inside the ``with`` block.

    On leaving, also by an exception, the global state is what it was, and `source` goes on from
    where the block ended.
    """
    outside = np.random.get_state()  # noqa: NPY002 - it is what is lent
    np.random.set_state(source.get_state())  # noqa: NPY002
    try:
        yield
    finally:
        source.set_state(np.random.get_state())  # noqa: NPY002
        np.random.set_state(outside)  # noqa: NPY002


def numpy_source(generator: np.random.Generator) -> np.random.RandomState:
    """Return a legacy generator, for `lent_numpy`, that is seeded from `generator`."""
    return np.random.RandomState(generator.integers(2**32, size=4, dtype=np.uint32))
