"""What every optimizer must do: the checks that a plug-in's author runs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from optprune.errors import ArgumentError, SearchStopped
from optprune.formulation import Problem
from optprune.search import Budget, Journal, Optimizer, Session
from optprune.testing.conformance import (
    ConformanceError,
    leaves_randomness_alone,
    leaves_unchanged,
    require,
)
from optprune.testing.problems import CASES, Case

__all__ = ["Observed", "check_optimizer"]


class Observed(Session):
    """A session that notes what is proposed and checks that it lies in the space.

    Parameters
    ----------
    problem, budget, seed, journal
        See `Session`.
    interrupt_after : int, optional
        Raise `KeyboardInterrupt` at the first batch after so many evaluations.
    """

    def __init__(
        self,
        problem: Problem,
        budget: Budget,
        *,
        seed: int = 0,
        journal: Journal | None = None,
        interrupt_after: int | None = None,
    ) -> None:
        super().__init__(problem, budget, seed=seed, journal=journal)
        self._interrupt_after = interrupt_after

    def evaluate(self, points: Any) -> Any:
        """Evaluate a batch after a look at it."""
        if self._interrupt_after is not None and self.evaluations >= self._interrupt_after:
            raise KeyboardInterrupt
        if isinstance(points, np.ndarray):
            self._look_at(points)
        return super().evaluate(points)

    def _look_at(self, points: np.ndarray[Any, Any]) -> None:
        space = self.problem.bound_space
        require(
            points.ndim == 2 and points.shape[1] == space.n_variables,
            f"the optimizer proposes points of shape {points.shape}, the space has "
            f"{space.n_variables} variables.",
        )
        require(
            bool(np.all((points >= space.lower) & (points <= space.upper))),
            "the optimizer proposes points outside the space's bounds `lower` and `upper`.",
        )
        require(
            space.kind == "continuous" or bool(np.all(points == np.rint(points))),
            f"the optimizer proposes fractions in a space of kind {space.kind!r}; round them.",
        )


def check_optimizer(
    optimizer: Optimizer,
    *,
    cases: Sequence[Case] = CASES,
    seeds: Sequence[int] = (0, 1, 2),
    seeded: bool = True,
) -> None:
    """Run an optimizer on small problems and check that it keeps the rules.

    Parameters
    ----------
    optimizer : Optimizer
        What to check.
    cases : sequence of Case
        The problems; all of the list by default.
    seeds : sequence of int
        The seeds of the runs: every problem is searched with each of them.
    seeded : bool
        Whether the optimizer draws random numbers. If so, not all seeds may propose the same.

    Raises
    ------
    ConformanceError
        With the rule that was broken, and on which problem with which seed.
    ArgumentError
        If there is no seed, or one only for an optimizer that draws random numbers.

    Notes
    -----
    The rules: it has a name, and a ``repr`` that is its configuration; every proposal lies in the
    space; the same seed gives the same proposals in the same order, another seed others; the
    budget ends it, by an exception that it does not catch; infeasible and failed candidates do not
    stop it, also where nothing is feasible; Python's, numpy's and torch's global generators and the
    dense network are left alone; interrupted and started again with its journal it does what it
    would have done.

    Each problem is searched two and a half times with each seed: as it is, until half of that, and
    from there on.
    """
    if len(set(seeds)) < 1 + seeded:
        raise ArgumentError(
            f"seeds must be {'two different ones' if seeded else 'one'} or more; got {seeds!r}."
            + (" Call the check with seeded=False if none has any influence." if seeded else "")
        )
    _check_identity(optimizer)
    proposals = {}
    for case in cases:
        problem = case.make()
        for seed in seeds:
            try:
                proposals[case.name, seed] = _check_run(optimizer, problem, case, seed)
            except ConformanceError as error:
                raise ConformanceError(
                    f"on the problem {case.name!r}, with seed {seed}: {error}"
                ) from error
    if seeded:
        # On the largest space: small ones may be searched whole.
        largest = max(cases, key=lambda case: case.make().bound_space.cardinality).name
        require(
            len({proposals[largest, seed] for seed in seeds}) > 1,
            f"on the problem {largest!r}: the seeds {', '.join(map(str, seeds))} propose the same; "
            "draw from `session.generator`, or call the check with seeded=False.",
        )


def _check_identity(optimizer: Optimizer) -> None:
    require(
        isinstance(optimizer, Optimizer),
        f"{type(optimizer).__name__} lacks `name` or `search(problem, session)`.",
    )
    require(
        isinstance(optimizer.name, str) and optimizer.name != "",
        f"`name` must be a text, not {optimizer.name!r}.",
    )
    require(
        " object at 0x" not in repr(optimizer),
        "repr(optimizer) must be its configuration, by which a journal tells runs apart; "
        "make it a frozen dataclass.",
    )


def _check_run(optimizer: Optimizer, problem: Problem, case: Case, seed: int) -> tuple[str, ...]:
    """Check one problem with one seed; return the proposals' digests."""
    with (
        leaves_unchanged("the optimizer", problem.task.network),
        leaves_randomness_alone("the optimizer"),
    ):
        first = _run(optimizer, problem, case, seed)
    require(len(first) > 0, "the optimizer proposes nothing.")
    budget = Budget(evaluations=case.evaluations)
    with Journal(":memory:") as journal:
        with (
            Observed(
                problem, budget, seed=seed, journal=journal, interrupt_after=len(first) // 2
            ) as session,
            contextlib.suppress(KeyboardInterrupt, SearchStopped),
        ):
            optimizer.search(problem, session)
        done = session.ran
        with Observed(problem, budget, seed=seed, journal=journal) as session:
            with contextlib.suppress(SearchStopped):
                optimizer.search(problem, session)
            resumed = _proposed(session)
    if resumed != first:
        require(
            _run(optimizer, problem, case, seed) == first,
            "two runs with one seed propose different things.",
        )
        raise ConformanceError(
            "interrupted and started again with its journal, it proposes other things than without "
            "the interruption."
        )
    require(
        done + session.ran == len(first),
        f"after an interruption {done + session.ran - len(first)} evaluations of the journal are "
        "run again.",
    )
    return first


def _run(optimizer: Optimizer, problem: Problem, case: Case, seed: int) -> tuple[str, ...]:
    """Run to the end of the budget; return the proposals' digests."""
    with Observed(problem, Budget(evaluations=case.evaluations), seed=seed) as session:
        try:
            optimizer.search(problem, session)
        except SearchStopped:
            pass
        else:
            require(
                session.stopped is None,
                "`search` returns although the session stopped it: it catches the exception "
                f"{type(session.stopped).__name__}, which must pass.",
            )
        return _proposed(session)


def _proposed(session: Session) -> tuple[str, ...]:
    """Return the digests of what was charged, in order."""
    return tuple(row.digest for row in session.rows)
