"""When a search that proposes nothing new is stopped."""

from __future__ import annotations

__all__ = ["IDLE_BATCHES", "IDLE_PROPOSALS", "Patience"]

IDLE_BATCHES = 20
"""A run is stalled after so many batches (of the largest size so far) without a new row."""

IDLE_PROPOSALS = 200
"""…but not before so many proposals."""


class Patience:
    """Counts proposals that are not new.

    Parameters
    ----------
    cardinality : float
        Number of structures in the space; infinite if they cannot be counted.
    """

    def __init__(self, cardinality: float) -> None:
        self._cardinality = cardinality
        self._idle = 0
        self._known = 0
        self._largest = 1

    def lost(self, proposed: int, new: int, *, decoded: bool) -> str:
        """Count a batch, and return why the search is stalled, or nothing.

        Parameters
        ----------
        proposed : int
            Size of the batch.
        new : int
            How many of its proposals were new to the run.
        decoded : bool
            Whether they came as points of the space, and so from within it.
        """
        self._largest = max(self._largest, proposed)
        self._idle = 0 if new else self._idle + max(proposed, 1)
        self._known += new * decoded
        if proposed and not new and self._known >= self._cardinality:
            return f"stalled: all {self._cardinality:.0f} structures of the space are evaluated"
        if self._idle >= max(IDLE_BATCHES * self._largest, IDLE_PROPOSALS):
            return f"stalled: the last {self._idle} proposals held nothing new"
        return ""
