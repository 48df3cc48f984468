"""A worker's process, as the session's process sees it."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, ClassVar

from optprune.errors import ArgumentError
from optprune.search.messages import Answer, Broken, Note, frame, read_frame

__all__ = ["WorkerEnded", "WorkerProcess"]

_START = """
import importlib, json, os, sys
requests, answers = os.dup(0), os.dup(1)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(2, 1)
sys.path[:], serving = json.loads(sys.argv.pop())
importlib.import_module(serving).serve(requests, answers)
"""
"""Standard input and output carry the messages; what is printed goes to standard error."""

_PATIENCE = 5.0
"""Seconds that a process may take to end after its last message."""


class WorkerEnded(Exception):
    """A worker's process has ended; the message says how."""


class WorkerProcess:
    """A process that evaluates one job at a time.

    It is a fresh interpreter: nothing is forked, and no script is run again. It stands in a
    process group of its own, so that Ctrl-C reaches the session's process alone, and it ends by
    itself when that process does.

    Attributes
    ----------
    serving : str
        The module of which the function ``serve(requests, answers)`` runs in the process.
    """

    serving: ClassVar[str] = "optprune.search.worker"

    def __init__(self) -> None:
        own_group: dict[str, Any] = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if os.name == "nt"
            else {"process_group": 0}
        )
        path = [str(entry) or os.getcwd() for entry in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps([path, self.serving])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **own_group,
        )

    def begin(self, message: bytes) -> None:
        """Hand over the payload and wait until jobs may come.

        Raises
        ------
        WorkerEnded
            If the process ended.
        ArgumentError
            If it cannot make the problem of what it was sent.
        """
        self._send(message)
        answer = self._receive()
        if isinstance(answer, Broken):
            raise ArgumentError(
                f"the problem cannot be made again in a worker process: {answer.reason}. What the "
                "network, the data, the metrics and the recovery need must be importable there; "
                "or evaluate in this process, with workers=1."
            )

    def evaluate(self, job: bytes, alone: Callable[[], AbstractContextManager[None]]) -> Answer:
        """Evaluate a job.

        Parameters
        ----------
        job : bytes
            The pickled job.
        alone : callable
            Makes the context in which no other worker is busy.

        Raises
        ------
        WorkerEnded
            If the process ended.
        """
        self._send(job)
        answer = self._receive()
        while answer is Note.ALONE:
            with alone():
                self._go()
                self._receive()
            self._go()
            answer = self._receive()
        if not isinstance(answer, Answer):
            raise TypeError(f"a worker answered {answer!r}.")
        return answer

    def kill(self) -> None:
        """End the process at once; from any thread."""
        self._process.kill()

    def close(self) -> str:
        """Make sure that the process has ended, and return how."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return _how(code)

    def _go(self) -> None:
        self._send(pickle.dumps(Note.GO))

    def _send(self, message: bytes) -> None:
        stream = self._process.stdin
        if stream is None:
            raise WorkerEnded
        try:
            stream.write(frame(message))
            stream.flush()
        except OSError as error:
            raise WorkerEnded(self.close()) from error

    def _receive(self) -> Any:
        stream = self._process.stdout
        if stream is None:
            raise WorkerEnded
        try:
            return pickle.loads(read_frame(stream.read))
        except (EOFError, OSError) as error:
            raise WorkerEnded(self.close()) from error


def _how(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
