"""How many threads torch computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from optprune.errors import ArgumentError

__all__ = ["check_threads", "torch_threads"]


def check_threads(count: int | None) -> None:
    """Raise `ArgumentError` unless the number of threads is at least one, or None."""
    if count is not None and count < 1:
        raise ArgumentError(f"threads must be at least 1, or None; got {count}.")


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch compute with so many threads on the CPU for a while.

    Parameters
    ----------
    count : int or None
        None leaves it as it is.

    Raises
    ------
    ArgumentError
        If it is less than one.

    Notes
    -----
    Threads wait for each other in every layer. For a small network that takes longer than the
    layer itself, and many times longer when something else keeps a core busy.
    """
    check_threads(count)
    before = torch.get_num_threads()
    if count is not None and count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
