"""Where the dear stages of an evaluation run."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from optprune.errors import ArgumentError
from optprune.search.evaluation import complete
from optprune.search.row import Row
from optprune.search.threads import check_threads, torch_threads

if TYPE_CHECKING:
    from optprune.formulation import Problem, Proposal

__all__ = ["Executor", "Job", "Payload", "Serial"]


@dataclass(frozen=True)
class Payload:
    """What every worker needs, sent once.

    Parameters
    ----------
    problem : Problem
        The network, data, recovery and metrics.
    seed : int
        The seed of the run.
    """

    problem: Problem
    seed: int


@dataclass(frozen=True)
class Job:
    """A proposal whose cheap stage is done.

    Parameters
    ----------
    proposal : Proposal
        What to evaluate.
    row : Row
        What the structure stage found.
    """

    proposal: Proposal
    row: Row


@runtime_checkable
class Executor(Protocol):
    """Runs jobs and returns rows, never networks.

    Notes
    -----
    The session commits rows as their futures complete and charges them in the order proposed, so
    a run does not depend on the number of workers. A future that raises becomes a failed row,
    unless it raises an `OptpruneError`: then the executor cannot work at all, and the search ends.
    A future that is cancelled before its job began is dropped.
    """

    def start(self, payload: Payload) -> None:
        """Get ready; called once, before the first job."""
        ...

    def submit(self, job: Job) -> Future[Row]:
        """Begin to evaluate a job."""
        ...

    def close(self) -> None:
        """Let go of all workers; called once, however the run ends."""
        ...


class Serial:
    """Evaluates in this process, one job after the other.

    Parameters
    ----------
    threads : int or None
        Threads that torch computes with on the CPU meanwhile; None leaves its own setting. One is
        what every worker of any executor has, so that results do not depend on the executor, and
        the fastest for small networks; a large one on an idle machine may want more.

    Raises
    ------
    ArgumentError
        If `threads` is less than one.
    """

    def __init__(self, threads: int | None = 1) -> None:
        check_threads(threads)
        self.threads = threads
        self._payload: Payload | None = None

    def start(self, payload: Payload) -> None:
        """Keep the payload."""
        self._payload = payload

    def submit(self, job: Job) -> Future[Row]:
        """Evaluate a job now and return its finished future.

        Raises
        ------
        ArgumentError
            If the executor was not started.
        """
        if self._payload is None:
            raise ArgumentError("executor: start(payload) must be called before submit(job).")
        future: Future[Row] = Future()
        with torch_threads(self.threads):
            row = complete(self._payload.problem, job.proposal, self._payload.seed, job.row)
        future.set_result(row)
        return future

    def close(self) -> None:
        """Forget the payload."""
        self._payload = None

    def __repr__(self) -> str:
        return f"Serial(threads={self.threads})"
