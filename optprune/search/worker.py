"""A worker: the process that evaluates one job after another for a session elsewhere."""

from __future__ import annotations

import dataclasses
import os
import pickle
import queue
import sys
import threading
import time
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle
import torch

from optprune.meter import Meter
from optprune.recovery import Shared
from optprune.search.evaluation import complete
from optprune.search.executor import Job, Payload
from optprune.search.messages import Answer, Begin, Broken, Note, Noticed, frame, read_frame
from optprune.search.packing import unpack

__all__ = ["Channel", "Waiting", "serve"]

Made = TypeVar("Made")


def serve(requests: int, answers: int) -> None:
    """Evaluate jobs until the session's process lets go.

    Parameters
    ----------
    requests, answers : int
        File descriptors from which messages are read and to which they are written.

    Notes
    -----
    When the requests end, because the session's process closed them or died, the worker ends at
    once, whatever it is doing.
    """
    torch.set_num_threads(1)
    channel = Channel(requests, answers)
    begin: Begin = channel.receive()
    channel.litter = begin.path
    begin.settings.apply()
    try:
        payload: Payload = unpack(begin.packed, begin.path)
    except Exception as error:  # noqa: BLE001 - told in the session's process
        channel.send(Broken(f"{type(error).__name__}: {error}"))
        return
    shared = _Counting(payload.problem.setup_meter)
    payload.problem.shared = shared
    channel.send(Note.READY)
    while True:
        channel.send(_evaluate(payload, channel.receive(), shared, channel))


def _evaluate(payload: Payload, job: Job, shared: _Counting, channel: Channel) -> Answer:
    """Evaluate one job."""
    waiting = Waiting(channel)
    with warnings.catch_warnings(record=True) as caught:
        row = complete(payload.problem, job.proposal, payload.seed, job.row, waiting.alone)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    made, shared.made = tuple(shared.made), []
    return Answer(
        row=dataclasses.replace(row, seconds=max(row.seconds - waiting.seconds, 0.0)),
        made=made,
        warnings=tuple(Noticed(str(w.message), w.category, w.filename, w.lineno) for w in caught),
    )


class Channel:
    """Messages from and to the session's process."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests = requests
        self._answers = answers
        self._inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.litter: Path | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def receive(self) -> Any:
        """Wait for a message."""
        return pickle.loads(self._inbox.get())

    def send(self, message: object) -> None:
        """Send a message."""
        rest = memoryview(frame(cloudpickle.dumps(message)))
        while rest:
            rest = rest[os.write(self._answers, rest) :]

    def _listen(self) -> None:
        """Read messages; end the process when they end."""
        with suppress(EOFError, OSError):
            while True:
                self._inbox.put(read_frame(lambda size: os.read(self._requests, size)))
        # A session that was killed could not remove its file.
        if self.litter is not None:
            with suppress(OSError):
                self.litter.unlink(missing_ok=True)
        os._exit(0)


class Waiting:
    """Waits for a turn to be alone, and counts the seconds that this takes."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.seconds = 0.0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only worker that is busy."""
        self._wait(Note.ALONE)
        try:
            yield
        finally:
            self._wait(Note.TOGETHER)

    def _wait(self, note: Note) -> None:
        started = time.perf_counter()
        self._channel.send(note)
        self._channel.receive()
        self.seconds += time.perf_counter() - started


class _Counting(Shared):
    """Makes what candidates share, and notes what that cost.

    Every worker makes it for itself; the session's process counts it once.
    """

    def __init__(self, meter: Meter) -> None:
        super().__init__(meter)
        self.made: list[tuple[Hashable, Meter]] = []

    def once(self, key: Hashable, make: Callable[[Meter], Made]) -> Made:
        """Return what was made under a key; make it at the first call."""

        def counted(total: Meter) -> Made:
            own = Meter()
            try:
                return make(own)
            finally:
                total.add(own)
                self.made.append((key, own))

        return super().once(key, counted)
