"""A worker: the process that runs one run after another for a comparison elsewhere."""

from __future__ import annotations

import dataclasses
import sys
import time
import warnings
from concurrent.futures import Future
from dataclasses import dataclass

import torch

from optprune.compare.orders import Order, Setting
from optprune.compare.running import Ended, perform
from optprune.errors import ArgumentError
from optprune.search import Job, Payload, Row
from optprune.search.evaluation import complete
from optprune.search.messages import Begin, Broken, Note, Noticed
from optprune.search.packing import unpack
from optprune.search.worker import Channel, Waiting

__all__ = ["Advanced", "Outcome", "serve"]

_SECONDS_BETWEEN = 0.2


@dataclass(frozen=True)
class Advanced:
    """From a worker: how many proposals its run has evaluated."""

    evaluations: int


@dataclass(frozen=True)
class Outcome:
    """From a worker: its run has ended.

    Parameters
    ----------
    ended : Ended
        How.
    warnings : tuple of Noticed
        What was warned of meanwhile, each once.
    """

    ended: Ended
    warnings: tuple[Noticed, ...] = ()


def serve(requests: int, answers: int) -> None:
    """Run what is ordered until the comparison's process lets go.

    Parameters
    ----------
    requests, answers : int
        File descriptors from which messages are read and to which they are written.

    Notes
    -----
    When the requests end, because the comparison's process closed them or died, the worker ends
    at once, whatever it is doing.
    """
    torch.set_num_threads(1)
    channel = Channel(requests, answers)
    begin: Begin = channel.receive()
    channel.litter = begin.path
    begin.settings.apply()
    try:
        setting: Setting = unpack(begin.packed, begin.path)
    except Exception as error:  # noqa: BLE001 - told in the comparison's process
        channel.send(Broken(f"{type(error).__name__}: {error}"))
        return
    channel.send(Note.READY)
    while True:
        channel.send(_outcome(setting, channel.receive(), channel))


def _outcome(setting: Setting, order: Order, channel: Channel) -> Outcome:
    """Run one run."""
    with warnings.catch_warnings(record=True) as caught:
        ended = perform(setting, order, _Report(channel), _InTurn(channel))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    noticed = (Noticed(str(w.message), w.category, w.filename, w.lineno) for w in caught)
    return Outcome(ended, tuple(dict.fromkeys(noticed)))


class _Report:
    """Tells the comparison's process how far a run is, not too often."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._last = 0.0

    def __call__(self, evaluations: int) -> None:
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN:
            self._last = now
            self._channel.send(Advanced(evaluations))


class _InTurn:
    """Evaluates in this process; what is measured alone waits until no other worker is busy."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._payload: Payload | None = None

    def start(self, payload: Payload) -> None:
        """Keep the payload."""
        self._payload = payload

    def submit(self, job: Job) -> Future[Row]:
        """Evaluate a job now and return its finished future."""
        if self._payload is None:
            raise ArgumentError("executor: start(payload) must be called before submit(job).")
        problem, seed = self._payload.problem, self._payload.seed
        waiting = Waiting(self._channel)
        row = complete(problem, job.proposal, seed, job.row, waiting.alone)
        future: Future[Row] = Future()
        future.set_result(dataclasses.replace(row, seconds=max(row.seconds - waiting.seconds, 0.0)))
        return future

    def close(self) -> None:
        """Forget the payload."""
        self._payload = None
