"""One run of a comparison: `solve` under observation, its outcome left in a folder."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from optprune.compare.orders import Order, Setting
from optprune.compare.runs import JOURNAL, keep_failure, keep_result
from optprune.formulation.randomness import seeded
from optprune.recovery import Shared
from optprune.search.solve import configuration, solve
from optprune.search.threads import torch_threads

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Evaluations, Executor, Optimizer, Session
    from optprune.search.points import Points

__all__ = ["Ended", "Observed", "perform"]


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Parameters
    ----------
    evaluations : int
        How many proposals it evaluated.
    failure : str
        Why it failed; empty if it did not.
    """

    evaluations: int
    failure: str = ""


class Observed:
    """An optimizer, the number of its evaluations, and what it spends beside them.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer.
    name : str
        Its name in the comparison.
    watch : callable
        Called with the number of evaluations whenever there are more.

    Attributes
    ----------
    own : list of int
        For each row, samples that the search had spent by then beside its rows: what the optimizer
        counted on the session's meter, and what was made for all candidates meanwhile.
    spent : int
        The same at the end of the search.
    """

    def __init__(self, optimizer: Optimizer, name: str, watch: Callable[[int], None]) -> None:
        self._optimizer = optimizer
        self._watch = watch
        self.name = name
        self.own: list[int] = []
        self.spent = 0

    def search(self, problem: Problem, session: Session) -> None:
        """Let the optimizer search."""
        before = problem.setup_meter.samples
        evaluate = session.evaluate
        in_rows = 0

        def note() -> None:
            nonlocal in_rows
            new = session.rows[len(self.own) :]
            in_rows += sum(row.forward_samples + row.backward_samples for row in new)
            made = problem.setup_meter.samples - before
            self.spent = session.meter.samples - in_rows + made
            self.own += [self.spent] * len(new)
            if new:
                self._watch(len(self.own))

        def observed(points: Points) -> Evaluations:
            try:
                return evaluate(points)
            finally:
                note()

        session.evaluate = observed  # type: ignore[method-assign]
        try:
            self._optimizer.search(problem, session)
        finally:
            note()

    def __repr__(self) -> str:
        return configuration(self._optimizer)


def perform(
    setting: Setting,
    order: Order,
    watch: Callable[[int], None],
    executor: Executor | None = None,
) -> Ended:
    """Run one run, and leave its result, or why there is none, in its folder.

    Parameters
    ----------
    setting : Setting
        Problems, optimizers and the budget.
    order : Order
        Which run.
    watch : callable
        Called with the number of evaluations whenever there are more.
    executor : Executor, optional
        As in `solve`.

    Returns
    -------
    Ended

    Notes
    -----
    A run has the global generators seeded with its seed, one thread, an optimizer and everything
    that candidates share of its own: what it does and what it costs do not depend on the runs
    before it in the same process.
    """
    problem = _apart(setting.problems[order.problem])
    optimizer = Observed(_own(setting.optimizers[order.optimizer]), order.optimizer, watch)
    budget = setting.budget
    try:
        with _one_thread(), seeded(order.seed, problem.task.device):
            result = solve(
                problem,
                optimizer,
                evaluations=budget.evaluations,
                seconds=budget.seconds,
                samples=budget.samples,
                seed=order.seed,
                journal=order.folder / JOURNAL,
                executor=executor,
                progress=False,
            )
        keep_result(order.folder, result, optimizer.own, optimizer.spent)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a failed run is a row
        reason = f"{type(error).__name__}: {error}"
        keep_failure(
            order, reason, problem.fingerprint, repr(optimizer), optimizer.own, optimizer.spent
        )
        return Ended(len(optimizer.own), reason)
    return Ended(len(result.rows))


def _apart(problem: Problem) -> Problem:
    """Return the problem with a counter, and what candidates share, of its own."""
    own = copy.copy(problem)
    own.setup_meter = dataclasses.replace(problem.setup_meter)
    own.shared = Shared(own.setup_meter)
    return own


def _own(optimizer: Optimizer) -> Optimizer:
    """Return a copy, where it can be had: an optimizer may keep something from its last run."""
    try:
        return copy.deepcopy(optimizer)
    except Exception:  # noqa: BLE001 - then it runs as it is
        return optimizer


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch and the linear algebra of numpy and scipy compute with one thread."""
    with torch_threads(1), threadpool_limits(limits=1, user_api="blas"):
        yield
