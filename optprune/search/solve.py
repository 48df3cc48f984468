"""Solving: one optimizer, one problem, one seed, one budget."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from optprune.errors import ArgumentError, ArgumentTypeError, SearchStopped
from optprune.formulation import Problem
from optprune.search.budget import Budget
from optprune.search.evaluation import measure_dense
from optprune.search.executor import Executor, Serial
from optprune.search.journal import Journal
from optprune.search.optimizer import Optimizer
from optprune.search.processes import Processes, check_workers
from optprune.search.progress import Progress
from optprune.search.result import Result
from optprune.search.session import Session

__all__ = ["solve"]


def solve(
    problem: Problem,
    optimizer: Optimizer,
    *,
    evaluations: int | None = None,
    seconds: float | None = None,
    samples: int | None = None,
    seed: int = 0,
    journal: str | Path | Journal | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> Result:
    """Search for good structures.

    Parameters
    ----------
    problem : Problem
        What is decided, measured and required.
    optimizer : Optimizer
        How it is searched.
    evaluations : int, optional
        Budget of evaluated proposals; the first of the budgets that is used up ends the search.
    seconds : float, optional
        Budget of seconds on the run's clock.
    samples : int, optional
        Budget of samples in forward plus backward passes.
    seed : int
        Everything random derives from it.
    journal : str, Path or Journal, optional
        A file in which every evaluated proposal is kept. A run that was killed goes on when it is
        started again with the same journal and seed, and gives the result that it would have
        given. In memory by default.
    workers : int, optional
        How many processes evaluate at once, each with one torch thread; with 1, the default, this
        one does. All numbers give the same result: the same rows in the same order, bit for bit,
        times aside. Networks, metrics and recoveries may be defined anywhere, also in a notebook
        or in a script without ``if __name__ == "__main__"``. A worker that dies costs no more than
        a failed row; Ctrl-C ends all of them. Worth it where an evaluation takes much longer than
        a few milliseconds: each worker takes seconds to start. See `Processes`.
    executor : Executor, optional
        Where the dear stages run, in place of `workers`.
    progress : bool
        Whether to show a bar (in a terminal or a notebook).

    Returns
    -------
    Result
        The front, the log, and the networks.

    Raises
    ------
    ArgumentError
        If there is no budget, if a budget, the seed or `workers` is out of range, if both `workers`
        and `executor` are given, or if worker processes cannot be given the problem.
    ArgumentTypeError
        If an argument is of the wrong type.
    MetricError
        If nothing at all could be evaluated; it gives the first reason.
    JournalMismatchError
        If the journal holds another problem's rows.
    JournalError
        If the journal cannot be read or written.
    """
    if not isinstance(problem, Problem):
        raise ArgumentTypeError(f"problem must be a Problem; got {type(problem).__name__}.")
    if isinstance(optimizer, type) or not isinstance(optimizer, Optimizer):
        raise ArgumentTypeError(
            "optimizer must be an instance with a name and a method search(problem, session), "
            f"such as op.optimizers.NSGA2(); got {optimizer!r}."
        )
    executor = executor_of(workers, executor)
    budget = Budget(evaluations, seconds, samples)
    with ExitStack() as stack:
        if not isinstance(journal, Journal):
            journal = stack.enter_context(Journal(":memory:" if journal is None else journal))
        bar = Progress(evaluations, optimizer.name) if progress else None
        if bar is not None:
            stack.callback(bar.close)
        session = stack.enter_context(
            Session(
                problem,
                budget,
                seed=seed,
                journal=journal,
                executor=executor,
                optimizer=configuration(optimizer),
                watch=bar,
            )
        )
        dense = measure_dense(problem)
        session.begin()
        reason = "the optimizer ended: it had nothing more to propose"
        try:
            optimizer.search(problem, session)
        except SearchStopped as stopped:
            reason = str(stopped)
        if session.stopped is not None:
            reason = str(session.stopped)
        if bar is not None:
            bar.finish(session)
        session.check_hopeless()
        return Result.of(session, dense=dense, optimizer=optimizer.name, reason=reason)


def executor_of(workers: int | None, executor: Executor | None) -> Executor:
    """Return the executor that was asked for: itself, or by the number of its workers."""
    if isinstance(executor, type) or not isinstance(executor, Executor | None):
        raise ArgumentTypeError(
            "executor must have the methods start, submit and close, such as op.Serial(); got "
            f"{executor!r}."
        )
    if workers is not None:
        check_workers(workers)
        if executor is not None:
            raise ArgumentError(
                f"workers={workers} and executor={executor!r} are two ways to say who evaluates; "
                "give one of them."
            )
        if workers > 1:
            return Processes(workers)
    return Serial() if executor is None else executor


def configuration(optimizer: Optimizer) -> str:
    """Return the text by which a journal tells optimizers apart.

    It is the `repr`, unless that holds an address in memory, which differs from process to
    process; then it is the name of the class.
    """
    text = repr(optimizer)
    if " at 0x" in text:
        return f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"
    return text
