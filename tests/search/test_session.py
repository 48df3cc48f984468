from __future__ import annotations

import math
import queue
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optprune.errors import (
    ArgumentError,
    ArgumentTypeError,
    BudgetSpent,
    GraphMismatchError,
    MetricError,
    Stalled,
)
from optprune.formulation import Candidate, Proposal, Start, metrics
from optprune.meter import Meter
from optprune.search import Budget, Job, Journal, Payload, Row, Session
from optprune.search.evaluation import complete
from tests.search.cases import Endless, Noise, chain, custom, drawn, residual, structures

MANY = Budget(evaluations=1000)


class Counted:
    """The error, and how often it was measured."""

    def __init__(self) -> None:
        self.digests: list[str] = []

    def __call__(self, candidate: Candidate) -> float:
        self.digests.append(candidate.proposal.digest)
        return float(candidate.predictions.sum())


def counted_problem(**changes: Any) -> tuple[Any, Counted]:
    counter = Counted()
    objectives = [custom(counter, needs="predictions"), metrics.macs]
    return residual(objectives=objectives, **changes), counter


def test_evaluations_come_in_the_order_proposed() -> None:
    problem = residual()
    with Session(problem, MANY) as session:
        points = drawn(session, 20)
        together = session.evaluate(points)
    with Session(problem, MANY) as session:
        backwards = session.evaluate(points[::-1])
    assert np.array_equal(together.points, points)
    assert [s.digest for s in together.structures] == [
        s.digest for s in problem.bound_space.decode(points)
    ]
    assert np.array_equal(together.objectives, backwards.objectives[::-1])


def test_structures_and_proposals_are_evaluated_like_points() -> None:
    problem = residual()
    points = problem.bound_space.sample(np.random.default_rng(0), 5)
    decoded = problem.bound_space.decode(points)
    with Session(problem, MANY) as session:
        first = session.evaluate(points)
        second = session.evaluate(decoded)
        third = session.evaluate([Proposal(structure) for structure in decoded])
        assert second.points is None
        for other in (second, third):
            assert np.array_equal(first.objectives, other.objectives)
            assert np.array_equal(first.rows, other.rows)
        assert session.evaluations == len(set(first.rows.tolist()))


def test_what_occurs_twice_is_measured_and_charged_once() -> None:
    problem, counter = counted_problem()
    one, other = structures(problem, (3, 4), (5, 6))
    with Session(problem, MANY) as session:
        evaluations = session.evaluate([one, other, one])
        again = session.evaluate([other])
        assert evaluations.rows.tolist() == [0, 1, 0]
        assert again.rows.tolist() == [1]
        assert session.evaluations == 2
    assert len(counter.digests) == 2


def test_rows_agree_with_the_problem_measured_by_hand() -> None:
    problem = residual()
    (structure,) = structures(problem, (3, 4))
    with Session(problem, MANY, seed=5) as session:
        evaluations = session.evaluate([structure])
    assert evaluations.objectives[0].tolist() == list(problem.evaluate(structure, seed=5).values())


def test_a_violated_cost_constraint_keeps_the_network_from_running() -> None:
    problem, counter = counted_problem(subject_to=[metrics.macs <= 0.5])
    with Session(problem, MANY) as session:
        evaluations = session.evaluate(structures(problem, (8, 12), (3, 4)))
        assert session.evaluations == 2
    assert counter.digests == [evaluations.structures[1].digest]
    assert math.isnan(evaluations.objectives[0, 0])
    assert evaluations.objectives[0, 1] == 1.0
    assert evaluations.violations[0, 0] == pytest.approx(1.0)
    assert evaluations.reasons[0] == "macs = 1 breaks macs <= 0.5"
    assert not evaluations.failed.any()
    assert evaluations.feasible.tolist() == [False, True]


def test_the_network_stage_stops_before_predictions() -> None:
    counter = Counted()

    def width(candidate: Candidate) -> float:
        return float(candidate.network.stem.out_channels)  # type: ignore[union-attr,arg-type]

    wide = custom(width, "wide", needs="network")
    problem = residual(
        objectives=[custom(counter, needs="predictions")], subject_to=[wide <= 4, metrics.macs <= 1]
    )
    with Session(problem, MANY) as session:
        evaluations = session.evaluate(structures(problem, (6, 6), (4, 6)))
    assert counter.digests == [evaluations.structures[1].digest]
    assert evaluations.violations.tolist() == [[0.5, 0.0], [0.0, 0.0]]


class TestFailures:
    @pytest.mark.parametrize("needs", ["structure", "network", "predictions"])
    @pytest.mark.parametrize(
        ("value", "told"),
        [
            (math.nan, "finite number, got nan"),
            (math.inf, "finite number, got inf"),
            ("0.3", "one number, got str '0.3'"),
            (np.zeros(3), r"array of shape \(3,\)"),
            (torch.zeros(2, 2), r"array of shape \(2, 2\)"),
            (None, "one number, got NoneType"),
        ],
    )
    def test_a_bad_value_is_a_failed_row_that_names_the_metric(
        self, needs: str, value: object, told: str
    ) -> None:
        problem = residual(objectives=[custom(lambda _: value, "mine", needs=needs), metrics.macs])
        with Session(problem, MANY) as session:
            evaluations = session.evaluate(structures(problem, (3, 4)))
        assert evaluations.failed.all()
        assert np.isnan(evaluations.objectives[0, 0])
        with pytest.raises(AssertionError, match=f"'mine'.*{told}"):
            raise AssertionError(evaluations.reasons[0])

    def test_a_raising_metric_is_told_with_its_line(self) -> None:
        def broken(candidate: Candidate) -> float:
            raise ZeroDivisionError("nothing left")

        problem = residual(objectives=[custom(broken, "mine")])
        with Session(problem, MANY) as session:
            evaluations = session.evaluate(structures(problem, (3, 4)))
        assert evaluations.reasons[0].startswith(
            "metric 'mine' raised ZeroDivisionError: nothing left (test_session.py:"
        )

    def test_a_population_with_nan_is_a_failed_row(self) -> None:
        class Holed:
            def population(self, graph: Any, widths: np.ndarray) -> np.ndarray:
                return np.where(widths[:, 0] == 2, np.nan, 1.0)

            def __call__(self, candidate: Candidate) -> float:
                raise NotImplementedError

        problem = residual(objectives=[custom(Holed())])
        with Session(problem, MANY) as session:
            evaluations = session.evaluate(structures(problem, (2, 4), (3, 4)))
        assert evaluations.failed.tolist() == [True, False]

    def test_a_failed_recovery_is_told(self) -> None:
        class Clumsy:
            def recover(self, network: Any, context: Any) -> None:
                raise RuntimeError("dropped it")

        problem = residual(recovery=Clumsy())
        with Session(problem, MANY) as session:
            evaluations = session.evaluate(structures(problem, (3, 4)))
        assert evaluations.failed.all()
        assert "dropped it" in evaluations.reasons[0]
        assert evaluations.objectives[0, 1] < 1.0

    def test_the_search_goes_on_after_failures(self) -> None:
        def odd(candidate: Candidate) -> float:
            first = int(candidate.widths[0])
            if first % 2:
                raise ValueError("odd")
            return float(first)

        problem = residual(objectives=[custom(odd)])
        with Session(problem, Budget(evaluations=60)) as session:
            failed = [session.evaluate(drawn(session)).failed for _ in range(5)]
        assert 0 < np.concatenate(failed).mean() < 1

    def test_nothing_but_failures_is_an_error_with_the_first_reason(self) -> None:
        problem = residual(objectives=[custom(lambda _: math.nan, "mine"), metrics.macs])
        with (
            Session(problem, MANY) as session,
            pytest.raises(MetricError, match=r"all \d+ candidates.*'mine'.*finite number"),
        ):
            session.evaluate(drawn(session, 80))

    def test_infeasible_rows_do_not_hide_that_all_others_fail(self) -> None:
        bad = custom(lambda _: math.nan, "mine", needs="predictions")
        problem = residual(objectives=[bad], subject_to=[metrics.macs <= 0.5])
        with (
            Session(problem, MANY) as session,
            pytest.raises(MetricError, match="'mine'"),
        ):
            session.evaluate(drawn(session, 96))


class TestBudgets:
    def test_a_batch_larger_than_what_is_left_is_evaluated_as_far_as_it_goes(self) -> None:
        problem = residual()
        with Session(problem, Budget(evaluations=3)) as session:
            batch = structures(problem, (1, 1), (2, 2), (3, 3), (4, 4))
            with pytest.raises(BudgetSpent, match="3 evaluations"):
                session.evaluate(batch)
            assert [row.widths for row in session.rows] == [(1, 1), (2, 2), (3, 3)]
            assert session.remaining == 0

    def test_a_batch_that_fits_exactly_is_returned_and_the_next_is_not(self) -> None:
        problem = residual()
        with Session(problem, Budget(evaluations=2)) as session:
            batch = structures(problem, (1, 1), (2, 2))
            assert len(session.evaluate(batch)) == 2
            with pytest.raises(BudgetSpent):
                session.evaluate(batch)
            with pytest.raises(BudgetSpent):
                session.evaluate(batch)
            assert session.evaluations == 2

    def test_samples_count_what_went_through_the_network(self) -> None:
        problem = residual(subject_to=[metrics.macs <= 0.5])
        with Session(problem, Budget(samples=50)) as session:
            with pytest.raises(BudgetSpent, match="50 samples"):
                session.evaluate(structures(problem, (8, 12), (1, 1), (2, 2), (3, 3), (4, 4)))
            # 24 validation samples a candidate; the first is stopped by its costs.
            assert session.meter.forward_samples == 72
            assert [row.forward_samples for row in session.rows] == [0, 24, 24, 24]

    def test_what_an_optimizer_counts_itself_is_charged_too(self) -> None:
        problem = residual()
        with Session(problem, Budget(samples=50)) as session:
            session.meter.add(Meter(backward_samples=50))
            with pytest.raises(BudgetSpent, match="50 samples"):
                session.evaluate(structures(problem, (1, 1)))

    def test_seconds_end_a_run(self) -> None:
        problem = residual()
        with Session(problem, Budget(seconds=1e-9)) as session:
            with pytest.raises(BudgetSpent, match="1e-09 seconds"):
                session.evaluate(structures(problem, (1, 1)))
            assert session.remaining == math.inf


def repeatedly(session: Session, batch: Any) -> None:
    for _ in range(1000):
        session.evaluate(batch)


class TestStalling:
    def test_proposing_nothing_new_for_a_while_is_stalled(self) -> None:
        problem = residual()
        with Session(problem, MANY) as session:
            batch = structures(problem, (1, 1), (2, 2))
            with pytest.raises(Stalled, match="nothing new"):
                repeatedly(session, batch)
            assert session.evaluations == 2
            with pytest.raises(Stalled):
                session.evaluate(structures(problem, (3, 3)))

    def test_empty_batches_are_stalled_too(self) -> None:
        with Session(residual(), MANY) as session, pytest.raises(Stalled):
            repeatedly(session, np.empty((0, 2)))

    def test_large_batches_of_repetitions_have_patience(self) -> None:
        problem = residual()
        with Session(problem, MANY) as session:
            batch = structures(problem, (1, 1), (2, 2)) * 50
            for _ in range(15):
                session.evaluate(batch)

    def test_a_space_that_is_used_up_is_stalled_at_once(self) -> None:
        problem = residual()
        points = np.array([(a, b) for a in range(8) for b in range(12)], dtype=float)
        with Session(problem, MANY) as session:
            session.evaluate(points)
            with pytest.raises(Stalled, match="all 96 structures"):
                session.evaluate(points[:4])


class TestPoints:
    def test_another_number_of_variables_is_an_error(self) -> None:
        with Session(residual(), MANY) as session:
            with pytest.raises(ArgumentError, match=r"shape \(n, 2\).*got \(4, 3\)"):
                session.evaluate(np.ones((4, 3)))
            with pytest.raises(ArgumentError, match=r"got \(2,\)"):
                session.evaluate(np.ones(2))

    def test_points_that_are_not_finite_are_an_error(self) -> None:
        with (
            Session(residual(), MANY) as session,
            pytest.raises(ArgumentError, match=r"points\[1, 0\] is nan"),
        ):
            session.evaluate(np.array([[1.0, 1.0], [math.nan, 1.0]]))

    def test_points_that_are_no_numbers_are_an_error(self) -> None:
        problem = residual()
        (structure,) = structures(problem, (1, 1))
        with Session(problem, MANY) as session:
            with pytest.raises(ArgumentTypeError, match="must be numbers"):
                session.evaluate([structure, "wide"])  # type: ignore[list-item]
            with pytest.raises(ArgumentTypeError, match="wrap the one Structure into a list"):
                session.evaluate(structure)  # type: ignore[arg-type]

    def test_a_structure_of_another_graph_is_an_error(self) -> None:
        with Session(residual(), MANY) as session, pytest.raises(GraphMismatchError):
            session.evaluate(structures(chain(), (1, 1, 1)))

    def test_points_beyond_the_box_are_clipped(self) -> None:
        with Session(residual(), MANY) as session:
            evaluations = session.evaluate(np.array([[-1e9, 1e9]]))
        assert evaluations.structures[0].widths.tolist() == [1, 12]

    @pytest.mark.parametrize(
        ("seed", "error"),
        [(-1, ArgumentError), (1.5, ArgumentTypeError), (True, ArgumentTypeError)],
    )
    def test_a_seed_is_a_whole_number(self, seed: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match="seed must be"):
            Session(residual(), MANY, seed=seed)


class TestRandomness:
    def test_randomness_of_a_candidate_does_not_depend_on_the_order(self) -> None:
        problem = residual(objectives=[custom(Noise()), metrics.macs])
        batch = structures(problem, (1, 1), (2, 2), (3, 3))
        with Session(problem, MANY, seed=1) as session:
            forth = session.evaluate(batch).objectives
        with Session(problem, MANY, seed=1) as session:
            torch.rand(7)
            back = [session.evaluate([structure]).objectives[0] for structure in batch[::-1]]
        assert np.array_equal(forth, np.array(back[::-1]))

    def test_another_seed_gives_other_noise_and_other_points(self) -> None:
        problem = residual(objectives=[custom(Noise()), metrics.macs])
        batch = structures(problem, (1, 1))
        with Session(problem, MANY, seed=1) as one, Session(problem, MANY, seed=2) as other:
            assert one.evaluate(batch).objectives[0, 0] != other.evaluate(batch).objectives[0, 0]
            assert not np.array_equal(drawn(one), drawn(other))

    def test_global_generators_are_left_as_they_were(self) -> None:
        problem = residual(objectives=[custom(Noise())])
        before = torch.get_rng_state()
        with Session(problem, MANY) as session:
            session.evaluate(structures(problem, (1, 1)))
        assert torch.equal(before, torch.get_rng_state())


class TestStarts:
    def doubled(self, problem: Any) -> Start:
        state = problem.task.network.state_dict()
        return Start.of(
            {k: v * 2 if v.is_floating_point() else v.clone() for k, v in state.items()}
        )

    def test_a_proposal_with_its_own_weights_has_its_own_row(self) -> None:
        problem, counter = counted_problem()
        (structure,) = structures(problem, (3, 4))
        start = self.doubled(problem)
        with Session(problem, MANY) as session:
            evaluations = session.evaluate(
                [Proposal(structure), Proposal(structure, start), Proposal(structure, start)]
            )
            assert evaluations.rows.tolist() == [0, 1, 1]
            assert session.rows[1].start == start.digest
        assert evaluations.objectives[0, 0] != evaluations.objectives[1, 0]
        assert len(counter.digests) == 2

    def test_weights_are_let_go_when_their_row_is_dominated(self) -> None:
        problem = residual(objectives=[custom(lambda c: float(c.widths.sum()), "total")])
        start = self.doubled(problem)
        wide, narrow = structures(problem, (8, 12), (1, 1))
        with Session(problem, MANY) as session:
            session.evaluate([Proposal(wide, start)])
            assert session.starts == {start.digest: start}
            session.evaluate([narrow])
            assert session.starts == {}


class TestJournals:
    def test_rows_of_a_journal_are_not_measured_again_but_charged(self, tmp_path: Path) -> None:
        problem, counter = counted_problem()
        batch = structures(problem, (1, 1), (2, 2), (3, 3))
        with (
            Journal(tmp_path / "run.db") as journal,
            Session(problem, MANY, journal=journal) as session,
        ):
            first = session.evaluate(batch)
            assert session.ran == 3
        assert len(counter.digests) == 3
        with (
            Journal(tmp_path / "run.db") as journal,
            Session(problem, Budget(evaluations=3), journal=journal) as session,
        ):
            second = session.evaluate(batch)
            assert session.ran == 0
            assert session.evaluations == 3
        assert len(counter.digests) == 3
        assert np.array_equal(first.objectives, second.objectives)

    def test_another_optimizer_reuses_rows_and_numbers_them_itself(self, tmp_path: Path) -> None:
        problem, counter = counted_problem()
        one, two, three = structures(problem, (1, 1), (2, 2), (3, 3))
        with Journal(tmp_path / "run.db") as journal:
            with Session(problem, MANY, journal=journal, optimizer="a") as session:
                session.evaluate([one, two])
                spent = session.rows[1].seconds
            with Session(problem, MANY, journal=journal, optimizer="b") as session:
                evaluations = session.evaluate([three, two])
                assert evaluations.rows.tolist() == [0, 1]
                assert session.meter.forward_samples == 48
                # It would have spent the time too.
                assert session.rows[1].clock >= spent
        assert len(counter.digests) == 3

    def test_a_resumed_run_has_the_clocks_of_the_first(self, tmp_path: Path) -> None:
        problem = residual()
        batch = structures(problem, (1, 1), (2, 2))
        clocks = []
        with Journal(tmp_path / "run.db") as journal:
            for more in ([], structures(problem, (3, 3))):
                with Session(problem, MANY, journal=journal) as session:
                    session.evaluate([*batch, *more])
                    clocks.append([row.clock for row in session.rows])
        assert clocks[1][:2] == clocks[0]
        assert clocks[1][2] >= clocks[0][1]

    def test_a_replay_is_not_cut_short_by_the_time_that_it_takes(self, tmp_path: Path) -> None:
        problem = residual()
        batch = structures(problem, (1, 1), (2, 2), (3, 3))
        with Journal(tmp_path / "run.db") as journal:
            with Session(problem, Budget(seconds=60), journal=journal) as session:
                session.evaluate(batch)
                clocks = [row.clock for row in session.rows]
            for limit, expected in ((clocks[2], 3), (clocks[1], 2), (clocks[0] / 2, 1)):
                budget = Budget(seconds=limit)
                with Session(problem, budget, journal=journal) as session:
                    time.sleep(clocks[2])
                    with pytest.raises(BudgetSpent):
                        repeatedly(session, batch)
                    assert [row.clock for row in session.rows] == clocks[:expected]

    def test_rows_of_another_seed_are_not_used(self, tmp_path: Path) -> None:
        problem, counter = counted_problem()
        batch = structures(problem, (1, 1))
        with Journal(tmp_path / "run.db") as journal:
            for seed in (1, 2):
                with Session(problem, MANY, seed=seed, journal=journal) as session:
                    session.evaluate(batch)
        assert len(counter.digests) == 2


class Backwards:
    """Runs jobs in a thread of its own, the latest first, and loses those it is told to lose."""

    def __init__(self, lost: tuple[int, ...] = ()) -> None:
        self.jobs: queue.LifoQueue[tuple[int, Job, Future[Row]] | None] = queue.LifoQueue()
        self.lost = lost
        self.submitted = 0
        self.closed = 0

    def start(self, payload: Payload) -> None:
        self.payload = payload
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self) -> None:
        while (item := self.jobs.get()) is not None:
            number, job, future = item
            if number in self.lost:
                future.set_exception(RuntimeError("the worker is gone"))
            else:
                future.set_result(
                    complete(self.payload.problem, job.proposal, self.payload.seed, job.row)
                )

    def submit(self, job: Job) -> Future[Row]:
        future: Future[Row] = Future()
        self.jobs.put((self.submitted, job, future))
        self.submitted += 1
        return future

    def close(self) -> None:
        self.closed += 1
        self.jobs.put(None)
        self.thread.join()


class TestExecutors:
    @pytest.mark.parametrize(
        "budget", [Budget(evaluations=30), Budget(samples=24 * 11)], ids=["evaluations", "samples"]
    )
    def test_the_order_in_which_jobs_complete_changes_nothing(self, budget: Budget) -> None:
        problem = residual(subject_to=[metrics.macs <= 0.7])
        rows = []
        for executor in (None, Backwards()):
            with Session(problem, budget, seed=3, executor=executor) as session:
                with pytest.raises(BudgetSpent):
                    Endless(drawn).search(problem, session)
                rows.append([(row.digest, row.metrics["macs"], row.index) for row in session.rows])
        assert rows[0] == rows[1]
        assert executor is not None
        assert executor.closed == 1

    def test_a_lost_job_is_a_failed_row(self) -> None:
        problem = residual()
        with Session(problem, MANY, executor=Backwards(lost=(1,))) as session:
            evaluations = session.evaluate(structures(problem, (1, 1), (2, 2), (3, 3)))
        assert evaluations.failed.tolist() == [False, True, False]
        assert "the worker is gone" in evaluations.reasons[1]
        assert evaluations.objectives[1, 1] < 1.0
