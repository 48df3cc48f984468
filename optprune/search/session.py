"""The session: the only place where a candidate is evaluated, counted, cached and stopped.

An optimizer hands in points (or structures, or proposals) and gets evaluations in that order. A
batch goes through these steps:

1. decode the points, and drop what occurs twice;
2. take what the journal knows, without running it again;
3. measure the rest's costs for the whole batch at once, and stop what breaks a constraint;
4. run the dear stages of the others in the executor;
5. commit rows as they complete, and charge them in the order proposed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import numpy.typing as npt

from optprune.errors import (
    ArgumentError,
    ArgumentTypeError,
    BudgetSpent,
    MetricError,
    OptpruneError,
    SearchStopped,
    Stalled,
)
from optprune.meter import Meter
from optprune.search.budget import Budget
from optprune.search.clock import Clock
from optprune.search.evaluation import (
    STAGES,
    begin,
    failure,
    measure_population,
    settled,
    unmeasured,
)
from optprune.search.evaluations import Evaluations
from optprune.search.executor import Executor, Job, Payload, Serial
from optprune.search.journal import Journal
from optprune.search.minimization import signs
from optprune.search.nondominated import nondominated, objective_values
from optprune.search.patience import Patience
from optprune.search.points import Points, decode
from optprune.search.row import Row

if TYPE_CHECKING:
    from optprune.formulation import Problem, Proposal, Start

__all__ = ["Session"]

HOPELESS = 30
"""A run of which nothing could be evaluated ends after so many failures."""

_OPTIMIZER_STREAM = 0x6F707469
"""Keeps the optimizer's randomness apart from other generators made of the same seed."""


@dataclass
class _Slot:
    """A new proposal on its way through a batch."""

    proposal: Proposal
    begun: Row | None = None
    row: Row | None = None
    future: Future[Row] | None = None
    from_journal: bool = False


class Session:
    """Evaluates proposals for one run of an optimizer on a problem.

    `solve` makes it; an optimizer gets it. Use it as a context manager outside of `solve`.

    Parameters
    ----------
    problem : Problem
        What is searched.
    budget : Budget
        What the run may use.
    seed : int
        The seed of the run, ≥ 0; everything random derives from it.
    journal : Journal, optional
        Where rows are kept; in memory by default.
    executor : Executor, optional
        Where the dear stages run; serially by default.
    optimizer : str
        The configuration of the optimizer, by which the journal tells runs apart.
    watch : callable, optional
        Called with the session whenever rows were charged.

    Attributes
    ----------
    generator : numpy.random.Generator
        The optimizer's own randomness, from the seed.
    meter : Meter
        Samples and seconds of the run: every charged row's, and what the optimizer counts on it.
    stopped : SearchStopped or None
        Why the search has to end, once it has to.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If the seed is not a whole number ≥ 0, or the network has changed since the problem was
        made.
    JournalMismatchError
        If the journal holds another problem's rows.
    JournalError
        If the journal cannot be read or written.
    """

    def __init__(
        self,
        problem: Problem,
        budget: Budget,
        *,
        seed: int = 0,
        journal: Journal | None = None,
        executor: Executor | None = None,
        optimizer: str = "",
        watch: Callable[[Session], None] | None = None,
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise ArgumentTypeError(f"seed must be a whole number ≥ 0; got {seed!r}.")
        if seed < 0:
            raise ArgumentError(f"seed must be a whole number ≥ 0; got {seed}.")
        self.problem = problem
        self.budget = budget
        self.seed = int(seed)
        self.generator = np.random.default_rng([self.seed, _OPTIMIZER_STREAM])
        self.meter = Meter()
        self.stopped: SearchStopped | None = None
        self._journal = Journal(":memory:") if journal is None else journal
        self._own_journal = journal is None
        self._executor: Executor = Serial() if executor is None else executor
        self._started = False
        self._optimizer = optimizer
        self._watch = watch
        problem.check_unchanged()
        self._fingerprint = problem.fingerprint
        self._journal.bind(self._fingerprint, problem.description)
        self._known = self._journal.rows(self._fingerprint, self.seed)
        self._uses = self._journal.uses(self._fingerprint, self.seed, optimizer)
        self._rows: dict[str, Row] = {}
        self._starts: dict[str, Start] = {}
        self._ran = 0
        self._measured = 0
        self._failed = 0
        self._patience = Patience(problem.bound_space.cardinality)
        self._clock = Clock()
        self._last = 0.0

    @property
    def optimizer(self) -> str:
        """The configuration of the optimizer."""
        return self._optimizer

    @property
    def evaluations(self) -> int:
        """Evaluations charged so far."""
        return len(self._rows)

    @property
    def ran(self) -> int:
        """Evaluations that this process ran itself, and did not find in the journal."""
        return self._ran

    @property
    def remaining(self) -> float:
        """Evaluations left; infinite without a budget of evaluations."""
        return self.budget.remaining(self.evaluations)

    @property
    def seconds(self) -> float:
        """Seconds on the run's clock."""
        return self._clock()

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows charged so far, in the order of their index."""
        return tuple(self._rows.values())

    @property
    def starts(self) -> Mapping[str, Start]:
        """The weights that non-dominated rows start from, by digest, if not the task's."""
        return self._starts

    def begin(self) -> None:
        """Set the run's clock to zero."""
        self._clock.set(0.0)

    def evaluate(self, points: Points) -> Evaluations:
        """Evaluate a batch.

        Parameters
        ----------
        points : array_like of shape (n, n_variables), or sequence of Structure or Proposal
            Points are decoded by the problem's space, which rounds and clips them.

        Returns
        -------
        Evaluations
            In the order proposed; what occurs twice shares a row.

        Raises
        ------
        BudgetSpent
            If the budget was used up before, or does not suffice for the whole batch; the rows
            that it sufficed for are charged and committed.
        Stalled
            If nothing new was proposed for a while.
        ArgumentError, ArgumentTypeError
            If the points have another shape, or are not finite.
        GraphMismatchError
            If a structure belongs to another graph.
        MetricError
            If everything failed that was run so far; it gives the first reason.
        JournalError
            If the rows cannot be written.

        Notes
        -----
        A proposal is charged as one evaluation when a run uses it first: also when it came from
        the journal, when a constraint on its costs stopped it, or when it failed. After that its
        row is free.
        """
        if self.stopped is not None:
            raise self.stopped
        self._check_budget()
        array, proposals = decode(self.problem, points)
        fresh: dict[str, Proposal] = {}
        for proposal in proposals:
            if proposal.digest not in self._rows:
                fresh.setdefault(proposal.digest, proposal)
        slots = [_Slot(proposal) for proposal in fresh.values()]
        limit = self.remaining
        self._settle(slots if limit >= len(slots) else slots[: int(limit)])
        self.check_hopeless(HOPELESS)
        if any(digest not in self._rows for digest in fresh):
            self._check_budget()
        stalled = self._patience.lost(len(proposals), len(slots), decoded=array is not None)
        if stalled:
            self._stop(Stalled(stalled))
        return self._evaluations(array, proposals)

    def close(self) -> None:
        """Let go of the executor and of a journal of its own."""
        if self._started:
            self._executor.close()
            self._started = False
        if self._own_journal:
            self._journal.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def check_hopeless(self, least: int = 1) -> None:
        """Raise if everything failed that was run, and that was so many proposals or more.

        Raises
        ------
        MetricError
            With the first reason.
        """
        if self._measured == 0 and self._failed >= least:
            first = next(row for row in self._rows.values() if row.failed)
            raise MetricError(
                f"all {self._failed} candidates that were run have failed; the first because: "
                f"{first.reason}"
            )

    def _settle(self, slots: list[_Slot]) -> None:
        """Find or make the row of every slot, commit, and charge in order."""
        for slot in slots:
            slot.row = self._known.get(slot.proposal.digest)
            slot.from_journal = slot.row is not None
        self._begin([slot for slot in slots if slot.row is None])
        running: list[_Slot] = []
        uncommitted: list[Row] = []
        charged = 0
        for position, slot in enumerate(slots):
            if slot.row is None and slot.begun is not None:
                if settled(self.problem, slot.begun):
                    slot.row = slot.begun
                    uncommitted.append(slot.row)
                    continue
                charged = self._charge(slots, charged, uncommitted)
                if charged == position and self._spent():
                    break
                slot.future = self._submit(Job(slot.proposal, slot.begun))
                running = self._collect([*running, slot], uncommitted)
        while running:
            charged = self._charge(slots, charged, uncommitted)
            if self._spent():
                for slot in running:
                    if slot.future is not None:
                        slot.future.cancel()  # unless it has begun
            wait([s.future for s in running if s.future is not None], return_when=FIRST_COMPLETED)
            running = self._collect(running, uncommitted)
        self._charge(slots, charged, uncommitted)

    def _begin(self, slots: list[_Slot]) -> None:
        """Run the structure stage of a batch."""
        if not slots:
            return
        widths = np.stack([slot.proposal.structure.widths for slot in slots])
        known = measure_population(self.problem, widths)
        for i, slot in enumerate(slots):
            values = {name: float(column[i]) for name, column in known.items()}
            slot.begun = begin(self.problem, slot.proposal, self.seed, values)

    def _submit(self, job: Job) -> Future[Row]:
        """Hand a job to the executor, which is started with the first."""
        if not self._started:
            self._executor.start(Payload(self.problem, self.seed))
            self._started = True
        return self._executor.submit(job)

    def _collect(self, running: list[_Slot], uncommitted: list[Row]) -> list[_Slot]:
        """Take the rows of futures that are done, and return the slots still running."""
        left = []
        for slot in running:
            if slot.future is None or slot.begun is None or not slot.future.done():
                left.append(slot)
                continue
            if slot.future.cancelled():
                continue
            error = slot.future.exception()
            if error is None:
                slot.row = slot.future.result()
            elif isinstance(error, OptpruneError):
                raise error
            else:
                slot.row = failure(
                    slot.begun, f"the worker failed: {type(error).__name__}: {error}"
                )
            uncommitted.append(slot.row)
        return left

    def _charge(self, slots: list[_Slot], charged: int, uncommitted: list[Row]) -> int:
        """Charge the rows that are complete, in order; commit; return how many are charged."""
        uses = []
        while charged < len(slots) and not self._spent():
            slot = slots[charged]
            if slot.row is None:
                break
            uses.append(self._use(slot, slot.row))
            charged += 1
        new = [use for use in uses if self._uses.get(use[0]) != use[1:]]
        if uncommitted or new:
            self._journal.commit(self._fingerprint, self.seed, self._optimizer, uncommitted, new)
            self._known.update({row.digest: row for row in uncommitted})
            self._ran += len(uncommitted)
            uncommitted.clear()
        self._forget_starts()
        if uses and self._watch is not None:
            self._watch(self)
        return charged

    def _use(self, slot: _Slot, row: Row) -> tuple[int, str, float]:
        """Charge one row to the run."""
        number, digest = len(self._rows), slot.proposal.digest
        recorded = self._uses.get(number)
        if recorded is not None and recorded[0] == digest:
            clock = recorded[1]
            self._clock.set(clock)
        else:
            if slot.from_journal:  # another optimizer's: this one would have spent the time too
                self._clock.advance(row.seconds)
            clock = self._clock()
        self._last = clock
        self._rows[digest] = row.changed(index=number, clock=clock)
        if slot.proposal.start is not None:
            self._starts[slot.proposal.start.digest] = slot.proposal.start
        self.meter.add(Meter(row.forward_samples, row.backward_samples, row.seconds))
        self._failed += row.failed
        whole = row.stage != STAGES[0] or not unmeasured(self.problem, row)
        self._measured += not row.failed and whole
        return number, digest, clock

    def _forget_starts(self) -> None:
        """Let go of starting weights of dominated rows: a row never comes back to the front."""
        if not self._starts:
            return
        objectives = self.problem.objectives
        values = objective_values(self.rows, [m.name for m in objectives], signs(self.problem))
        rows = self.rows
        kept = {rows[i].start for i in nondominated(values)}
        self._starts = {digest: start for digest, start in self._starts.items() if digest in kept}

    def _spent(self) -> str:
        """Return which limit of the budget is reached, or nothing."""
        # While a run is replayed its own clock counts, not the time that the replay takes.
        replaying = len(self._rows) in self._uses
        seconds = self._last if replaying else self._clock()
        return self.budget.spent(self.evaluations, seconds, self.meter.samples)

    def _check_budget(self) -> None:
        """Stop the search if the budget is used up."""
        spent = self._spent()
        if spent:
            self._stop(BudgetSpent(spent))

    def _stop(self, stopped: SearchStopped) -> NoReturn:
        """Remember why, so that an optimizer that goes on is stopped again."""
        self.stopped = stopped
        raise stopped

    def _evaluations(
        self, points: npt.NDArray[np.float64] | None, proposals: list[Proposal]
    ) -> Evaluations:
        """Gather the rows of a batch."""
        rows = [self._rows[proposal.digest] for proposal in proposals]
        names = [metric.name for metric in self.problem.objectives]
        n, n_constraints = len(rows), len(self.problem.constraints)
        return Evaluations(
            points=points,
            structures=tuple(proposal.structure for proposal in proposals),
            objectives=np.array(
                [[row.metrics[name] for name in names] for row in rows], dtype=np.float64
            ).reshape(n, len(names)),
            violations=np.array([row.violations for row in rows], dtype=np.float64).reshape(
                n, n_constraints
            ),
            failed=np.array([row.failed for row in rows], dtype=np.bool_),
            reasons=tuple(row.reason for row in rows),
            rows=np.array([row.index for row in rows], dtype=np.int64),
        )
