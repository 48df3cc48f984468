"""Turns: workers are busy together, until one asks to be the only one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Turns"]


class Turns:
    """Says who of several threads may be busy.

    Notes
    -----
    Who wants to be alone goes before those who want to begin, so that it waits for what is under
    way and for nothing else.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = 0
        self._waiting = 0
        self._alone = False

    @contextmanager
    def together(self) -> Iterator[None]:
        """Be busy, beside others."""
        with self._changed:
            self._enter()
        try:
            yield
        finally:
            with self._changed:
                self._leave()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one for a while; for one who is busy together with others, not twice."""
        with self._changed:
            self._leave()
            self._waiting += 1
            self._changed.wait_for(lambda: not self._busy and not self._alone)
            self._waiting -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()
                self._enter()

    def _enter(self) -> None:
        """Wait until nobody is, or wants to be, alone."""
        self._changed.wait_for(lambda: not self._waiting and not self._alone)
        self._busy += 1

    def _leave(self) -> None:
        self._busy -= 1
        self._changed.notify_all()
