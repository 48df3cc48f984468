"""The executor of several processes."""

from __future__ import annotations

import os
import queue
import tempfile
import threading
import warnings
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeAlias

import cloudpickle
import numpy as np

from optprune.errors import ArgumentError, ArgumentTypeError, SaveError
from optprune.meter import Meter
from optprune.search.evaluation import failure
from optprune.search.executor import Job, Payload
from optprune.search.messages import Answer, Begin, Noticed
from optprune.search.packing import pack
from optprune.search.row import Row
from optprune.search.settings import Settings
from optprune.search.turns import Turns
from optprune.search.worker_process import WorkerEnded, WorkerProcess

__all__ = ["Processes", "check_workers"]

_Task: TypeAlias = tuple[Job, "Future[Row]"]

_ATTEMPTS = 2


class Processes:
    """Evaluates in processes of their own, with one torch thread each.

    Rows are those of `Serial`, bit for bit, whatever the number of workers.

    Parameters
    ----------
    workers : int, default 2
        How many processes. Each takes some seconds and some hundred megabytes to load torch, and
        is started when there is a first job for it.

    Raises
    ------
    ArgumentError
        If `workers` is less than one.
    ArgumentTypeError
        If it is no whole number.

    Notes
    -----
    - A worker is a fresh interpreter. Network, data, recovery and metrics are packed once, by
      value where they cannot be imported: they may be defined in a notebook, and a script needs
      no ``if __name__ == "__main__"``. Tensors on the CPU lie in a file (in the folder for
      temporary files) that all workers map, so they are in memory once; on another device each
      worker has its own copy.
    - Workers are given torch's default type, its deterministic algorithms, its precision of
      float32 products, and the filters of warnings; what they warn of, this process warns of.
      What they print goes to standard error. Other global settings are not taken over.
    - A metric that is measured alone (`Latency`) waits until every other worker pauses.
    - A job whose worker dies is tried once more, with no other worker busy; if that dies too, its
      row is a failed one. If a worker cannot even begin, the search ends with an error.
    - What all candidates share (moments of the dense network, say) every worker makes for itself;
      it is counted once.
    """

    def __init__(self, workers: int = 2) -> None:
        check_workers(workers)
        self.workers = int(workers)
        self._pool: _Pool | None = None

    def start(self, payload: Payload) -> None:
        """Pack the payload for the workers.

        Raises
        ------
        ArgumentError
            If the executor was started already, or the payload holds something that cannot be
            sent to another process.
        SaveError
            If the memory of its tensors cannot be written to the folder for temporary files.
        """
        if self._pool is not None:
            raise ArgumentError(
                "executor: this Processes is at work for another search; give each its own."
            )
        self._pool = _Pool(payload, self.workers)

    def submit(self, job: Job) -> Future[Row]:
        """Begin to evaluate a job as soon as a worker is free.

        Raises
        ------
        ArgumentError
            If the executor was not started.
        """
        if self._pool is None:
            raise ArgumentError("executor: start(payload) must be called before submit(job).")
        return self._pool.submit(job)

    def close(self) -> None:
        """End all workers, also those that are at work."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def __repr__(self) -> str:
        return f"Processes(workers={self.workers})"


def check_workers(workers: int) -> None:
    """Raise an error unless it is a number of workers."""
    if isinstance(workers, bool) or not isinstance(workers, int | np.integer):
        raise ArgumentTypeError(f"workers must be a whole number of at least 1; got {workers!r}.")
    if workers < 1:
        raise ArgumentError(
            f"workers must be at least 1, got {workers}; 1 evaluates in this process, more in "
            f"processes of their own (this machine has {os.cpu_count()} processors)."
        )


class _Pool:
    """The workers of one run: a thread for each, which hands it one job after another."""

    def __init__(self, payload: Payload, workers: int) -> None:
        self._problem = payload.problem
        handle, name = tempfile.mkstemp(prefix="optprune-")
        os.close(handle)
        self._path = Path(name)
        with ExitStack() as stack:
            stack.callback(self._path.unlink, missing_ok=True)
            packed = _packed(payload, self._path)
            begin = Begin(packed, self._path, Settings.of_this_process())
            self._begin = cloudpickle.dumps(begin)
            stack.pop_all()
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._turns = Turns()
        self._lock = threading.Lock()
        self._closed = False
        self._processes: set[WorkerProcess] = set()
        self._counted: set[Hashable] = set()
        self._registries: dict[str, dict[Any, Any]] = {}
        # Daemons: an executor that nobody closed must not keep the interpreter from ending.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> Future[Row]:
        """Queue a job."""
        future: Future[Row] = Future()
        self._tasks.put((job, future))
        return future

    def close(self) -> None:
        """Drop what is queued, and end all workers."""
        with self._lock:
            self._closed = True
            for process in self._processes:
                process.kill()
        with suppress(queue.Empty):
            while True:
                task = self._tasks.get_nowait()
                if task is not None:
                    task[1].cancel()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._path.unlink(missing_ok=True)

    def _work(self) -> None:
        """Evaluate jobs with one worker process, until the pool is closed."""
        process: WorkerProcess | None = None
        while (task := self._tasks.get()) is not None:
            job, future = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                row, process = self._evaluate(job, process)
            except BaseException as error:  # noqa: BLE001 - it belongs to who waits for the future
                future.set_exception(error)
            else:
                future.set_result(row)
        if process is not None:
            self._drop(process)

    def _evaluate(
        self, job: Job, process: WorkerProcess | None
    ) -> tuple[Row, WorkerProcess | None]:
        """Return the row of a job, and the process for the next one."""
        ends: list[str] = []
        message = cloudpickle.dumps(job)
        for attempt in range(_ATTEMPTS):
            begun = process is not None
            with ExitStack() as stack:
                stack.enter_context(self._turns.together())
                alone: Callable[[], AbstractContextManager[None]] = self._turns.alone
                if attempt:
                    stack.enter_context(self._turns.alone())
                    alone = nullcontext
                try:
                    if process is None:
                        process = self._started()
                        begun = True
                    answer = process.evaluate(message, alone)
                except WorkerEnded as ended:
                    ends.append(str(ended))
                    if process is not None:
                        self._drop(process)
                    process = None
                else:
                    self._count(answer)
                    return answer.row, process
        if not begun:
            raise ArgumentError(
                f"a worker process ended before it could begin ({', then '.join(ends)}); what it "
                "wrote to standard error says more. With workers=1 this process evaluates."
            )
        first, second = ends
        return failure(
            job.row,
            f"the worker process that evaluated it ended ({first}), and so did a second one "
            f"({second})",
        ), None

    def _started(self) -> WorkerProcess:
        """Start a worker process that is ready for jobs."""
        with self._lock:
            if self._closed:
                raise WorkerEnded("the executor was closed")
            process = WorkerProcess()
            self._processes.add(process)
        try:
            process.begin(self._begin)
        except BaseException:
            self._drop(process)
            raise
        return process

    def _drop(self, process: WorkerProcess) -> None:
        """Forget a process, which ends."""
        with self._lock:
            self._processes.discard(process)
        process.kill()
        process.close()

    def _count(self, answer: Answer) -> None:
        """Count what was made for all candidates, unless it was counted before; warn."""
        with self._lock:
            for key, meter in answer.made:
                if key not in self._counted and not self._made_here(key):
                    self._counted.add(key)
                    self._problem.setup_meter.add(meter)
            for noticed in answer.warnings:
                self._warn(noticed)

    def _made_here(self, key: Hashable) -> bool:
        """Tell whether this process has made, and counted, something already."""

        class Missing(Exception):
            pass

        def refuse(_: Meter) -> None:
            raise Missing

        try:
            self._problem.shared.once(key, refuse)
        except Missing:
            return False
        return True

    def _warn(self, noticed: Noticed) -> None:
        """Warn here of what a worker warned of, once where the filters say so."""
        registry = self._registries.setdefault(noticed.filename, {})
        # What the filters turn into errors was one in the worker already.
        with suppress(Warning):
            warnings.warn_explicit(
                noticed.message,
                noticed.category,
                noticed.filename,
                noticed.line,
                registry=registry,
            )


def _packed(payload: Payload, path: Path) -> bytes:
    """Pack a payload.

    Raises
    ------
    ArgumentError, SaveError
        See `Processes.start`.
    """
    try:
        return pack(payload, path)
    except OSError as error:
        raise SaveError(
            f"executor: the tensors of the problem cannot be written to {str(path.parent)!r}, from "
            f"where the workers read them: {error}. Make room there, or name another folder in "
            "the environment variable TMPDIR."
        ) from error
    except Exception as error:
        raise ArgumentError(
            "executor: the problem cannot be sent to another process: "
            f"{type(error).__name__}: {error}. Something that the network, the data, a metric or "
            "the recovery holds cannot be pickled (an open file, a lock, a connection); make it "
            "where it is used, or evaluate in this process, with workers=1."
        ) from error
