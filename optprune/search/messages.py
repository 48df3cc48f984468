"""What a session's process and its workers tell each other, and how it travels."""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

from optprune.meter import Meter
from optprune.search.row import Row
from optprune.search.settings import Settings

__all__ = ["Answer", "Begin", "Broken", "Note", "Noticed", "frame", "read_frame"]

_HEADER = 8
"""Bytes of a message's length."""


class Note(enum.Enum):
    """Messages that hold nothing."""

    READY = "ready"
    """From a worker: jobs may come."""
    ALONE = "alone"
    """From a worker: it waits to be the only one that is busy."""
    TOGETHER = "together"
    """From a worker: others may be busy again; it waits for its turn."""
    GO = "go"
    """To a worker that waits."""


@dataclass(frozen=True)
class Begin:
    """To a worker: the payload, sent once.

    Parameters
    ----------
    packed : bytes
        What `pack` returned.
    path : Path
        The file that it wrote.
    settings : Settings
        Of the session's process.
    """

    packed: bytes
    path: Path
    settings: Settings


@dataclass(frozen=True)
class Broken:
    """From a worker that cannot begin: why."""

    reason: str


@dataclass(frozen=True)
class Noticed:
    """A warning that a worker would have shown."""

    message: str
    category: type[Warning]
    filename: str
    line: int


@dataclass(frozen=True)
class Answer:
    """From a worker: what came of a job.

    Parameters
    ----------
    row : Row
        The row.
    made : tuple of (hashable, Meter)
        What it made that all candidates share, by key, and what that cost.
    warnings : tuple of Noticed
        In the order in which they came.
    """

    row: Row
    made: tuple[tuple[Hashable, Meter], ...] = ()
    warnings: tuple[Noticed, ...] = ()


def frame(message: bytes) -> bytes:
    """Put the length of a message before it."""
    return len(message).to_bytes(_HEADER, "big") + message


def read_frame(read: Callable[[int], bytes]) -> bytes:
    """Read one message.

    Parameters
    ----------
    read : callable
        Returns at most so many bytes, and none at the end.

    Raises
    ------
    EOFError
        If the other side has gone.
    """
    return _exactly(read, int.from_bytes(_exactly(read, _HEADER), "big"))


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    parts = []
    while size:
        part = read(min(size, 1 << 20))
        if not part:
            raise EOFError("the other side has gone.")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
