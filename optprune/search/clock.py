"""The clock of a run, which a resumed run sets to where the killed one stood."""

from __future__ import annotations

import time

__all__ = ["Clock"]


class Clock:
    """Counts the seconds of a run."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._started = time.perf_counter()

    def __call__(self) -> float:
        """Return the seconds since the run began."""
        return self._offset + time.perf_counter() - self._started

    def set(self, seconds: float) -> None:
        """Go on from a time that was recorded."""
        self._offset = seconds
        self._started = time.perf_counter()

    def advance(self, seconds: float) -> None:
        """Add time that was spent elsewhere."""
        self._offset += seconds
