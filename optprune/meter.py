"""The meter: what every pass over data costs, wherever it happens.

Scores, statistics, recovery, evaluation and training all count on one `Meter`, so that a method
that needs no evaluation still stands at its true cost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Meter"]


@dataclass
class Meter:
    """Counts the samples that went through a network, and the seconds that this took.

    Parameters
    ----------
    forward_samples : int
        Samples that went through a forward pass.
    backward_samples : int
        Samples that went through a backward pass.
    seconds : float
        Wall-clock seconds measured by `timed`.
    """

    forward_samples: int = 0
    backward_samples: int = 0
    seconds: float = 0.0

    def forward(self, samples: int) -> None:
        """Count a forward pass over `samples` samples."""
        self.forward_samples += int(samples)

    def backward(self, samples: int) -> None:
        """Count a backward pass over `samples` samples."""
        self.backward_samples += int(samples)

    @property
    def samples(self) -> int:
        """Forward plus backward samples."""
        return self.forward_samples + self.backward_samples

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the seconds spent inside the ``with`` block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start

    def add(self, other: Meter) -> None:
        """Add another meter's counts to this one."""
        self.forward_samples += other.forward_samples
        self.backward_samples += other.backward_samples
        self.seconds += other.seconds
