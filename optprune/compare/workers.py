"""The processes in which runs are run, as the comparison's process sees them."""

from __future__ import annotations

import os
import queue
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeAlias

import cloudpickle

from optprune.compare.orders import Order, Setting
from optprune.compare.running import Ended
from optprune.compare.runs import keep_failure
from optprune.compare.worker import Advanced, Outcome
from optprune.errors import ArgumentError, OptpruneError, SaveError
from optprune.search.messages import Begin, Note
from optprune.search.packing import pack
from optprune.search.settings import Settings
from optprune.search.solve import configuration
from optprune.search.turns import Turns
from optprune.search.worker_process import WorkerEnded, WorkerProcess

__all__ = ["Event", "in_processes"]


@dataclass(frozen=True)
class Event:
    """Something that happened to a run.

    Parameters
    ----------
    order : Order
        Which run.
    what : Advanced or Outcome
        What happened.
    """

    order: Order
    what: Advanced | Outcome


_Something: TypeAlias = "Event | BaseException"


def in_processes(
    setting: Setting, orders: Sequence[Order], workers: int
) -> Generator[Event, None, None]:
    """Run runs in processes of their own, so many at a time.

    Parameters
    ----------
    setting : Setting
        Sent to every worker once.
    orders : sequence of Order
        The runs, in the order in which they are begun.
    workers : int
        How many processes.

    Yields
    ------
    Event
        As things happen; the last of a run is its outcome.

    Raises
    ------
    ArgumentError
        If problems or optimizers cannot be sent to another process, or a worker cannot begin.
    SaveError
        If something cannot be written.

    Notes
    -----
    When the iterator is closed, or something is raised while it is read, all workers are ended.
    """
    handle, name = tempfile.mkstemp(prefix="optprune-")
    os.close(handle)
    path = Path(name)
    try:
        try:
            packed = pack(setting, path)
        except Exception as error:  # noqa: BLE001 - told in our words
            _cannot_pack(error, path)
        begin = cloudpickle.dumps(Begin(packed, path, Settings.of_this_process()))
        pool = _Pool(setting, begin, orders, min(workers, len(orders)))
        try:
            left = len(orders)
            while left:
                event = pool.events.get()
                if isinstance(event, BaseException):
                    raise event
                left -= isinstance(event.what, Outcome)
                yield event
        finally:
            pool.close()
    finally:
        path.unlink(missing_ok=True)


class _Pool:
    """A thread for each worker, which hands it one order after another."""

    def __init__(
        self, setting: Setting, begin: bytes, orders: Sequence[Order], workers: int
    ) -> None:
        self.events: queue.SimpleQueue[_Something] = queue.SimpleQueue()
        self._setting = setting
        self._begin = begin
        self._orders = deque(orders)
        self._turns = Turns()
        self._lock = threading.Lock()
        self._closed = False
        self._workers: set[_Worker] = set()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Drop what has not begun, and end all workers."""
        with self._lock:
            self._closed = True
            self._orders.clear()
            for worker in self._workers:
                worker.kill()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        """Have orders performed until there is none left."""
        worker: _Worker | None = None
        try:
            while (order := self._next()) is not None:
                if worker is None:
                    worker = self._started()
                with self._turns.together():
                    try:
                        outcome = worker.perform(order, self.events.put, self._turns.alone)
                    except WorkerEnded as ended:
                        if self._closed:
                            return
                        outcome = self._died(order, str(ended))
                        self._drop(worker)
                        worker = None
                self.events.put(Event(order, outcome))
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits for events
            self.events.put(error)
        finally:
            if worker is not None:
                self._drop(worker)

    def _next(self) -> Order | None:
        with self._lock:
            return self._orders.popleft() if self._orders else None

    def _started(self) -> _Worker:
        """Start a worker that is ready."""
        with self._lock:
            if self._closed:
                raise OptpruneError("the comparison was ended")
            worker = _Worker()
            self._workers.add(worker)
        try:
            worker.begin(self._begin)
        except WorkerEnded as ended:
            self._drop(worker)
            raise ArgumentError(
                f"a worker process ended before it could begin ({ended}); what it wrote to "
                "standard error says more. With workers=1 this process runs everything."
            ) from ended
        except BaseException:
            self._drop(worker)
            raise
        return worker

    def _drop(self, worker: _Worker) -> None:
        """End a worker."""
        with self._lock:
            self._workers.discard(worker)
        worker.kill()
        worker.close()

    def _died(self, order: Order, how: str) -> Outcome:
        """Keep a run as failed of which the worker has died."""
        reason = f"the worker process died ({how})"
        keep_failure(
            order,
            reason,
            self._setting.problems[order.problem].fingerprint,
            configuration(self._setting.optimizers[order.optimizer]),
        )
        return Outcome(Ended(0, reason))


class _Worker(WorkerProcess):
    """A process that runs one run at a time."""

    serving = "optprune.compare.worker"

    def perform(
        self,
        order: Order,
        tell: Callable[[Event], None],
        alone: Callable[[], AbstractContextManager[None]],
    ) -> Outcome:
        """Run a run; tell how far it is.

        Raises
        ------
        WorkerEnded
            If the process ended.
        """
        self._send(cloudpickle.dumps(order))
        while not isinstance(answer := self._receive(), Outcome):
            if answer is Note.ALONE:
                with alone():
                    self._go()
                    self._receive()
                self._go()
            elif isinstance(answer, Advanced):
                tell(Event(order, answer))
            else:
                raise TypeError(f"a worker answered {answer!r}.")
        return answer


def _cannot_pack(error: Exception, path: Path) -> NoReturn:
    """Raise the error for a setting that cannot be packed."""
    if isinstance(error, OSError):
        raise SaveError(
            f"compare: the tensors of the problems cannot be written to {str(path.parent)!r}, from "
            f"where the workers read them: {error}. Make room there, or name another folder in "
            "the environment variable TMPDIR."
        ) from error
    raise ArgumentError(
        "compare: the problems and optimizers cannot be sent to another process: "
        f"{type(error).__name__}: {error}. Something that they hold cannot be pickled (an open "
        "file, a lock, a connection); make it where it is used, or run everything in this "
        "process, with workers=1."
    ) from error
