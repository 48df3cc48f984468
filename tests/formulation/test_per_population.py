"""A metric of a function that measures a whole population at once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optprune.errors import ArgumentError, ArgumentTypeError, MetricError
from optprune.formulation import Candidate, Metric, Problem, Proposal, metric, metrics
from optprune.optimizers import Random
from optprune.search import Budget, Session, solve
from optprune.search.packing import pack, unpack
from optprune.testing import ConformanceError, check_metric
from optprune.testing.networks import chain_task
from tests.formulation.cases import make_problem, narrowed, small_graph

WIDTHS = np.array([[1, 8], [3, 4], [6, 2]])
CALLS: list[int] = []


@metric(per="population", unit="units", direction="maximize", version=1)
def widest(graph: Any, widths: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The width of the widest group."""
    CALLS.append(len(widths))
    return widths.max(axis=1)


few = metric(per="population", name="few")(lambda graph, widths: widths.sum(axis=1))


def returning(values: Callable[[int], Any]) -> Metric:
    return metric(per="population", name="mine")(lambda graph, widths: values(len(widths)))


def measured(of: Metric, *widths: int) -> float:
    return of(Candidate(make_problem(), Proposal(narrowed(*widths))))


def test_one_function_measures_populations_and_candidates() -> None:
    values = widest.population(small_graph(), WIDTHS)
    assert values is not None
    assert values.tolist() == [8.0, 4.0, 6.0]
    assert values.dtype == np.float64
    assert [measured(widest, *row) for row in WIDTHS] == [8.0, 4.0, 6.0]


def test_the_options_are_kept_and_the_structure_is_all_that_is_needed() -> None:
    assert (widest.name, widest.unit, widest.direction) == ("widest", "units", "maximize")
    assert (widest.needs, widest.version) == ("structure", 1)
    assert metric(per="population", needs="structure")(widest.function.function).needs == (
        "structure"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per": "batch"}, "per must be 'candidate' or 'population'; got 'batch'"),
        ({"per": "population", "needs": "network"}, "has widths alone: needs='network' is for"),
        ({"per": "population", "needs": "predictions"}, "write a function of a candidate"),
        ({"per": "population", "alone": True}, "has widths alone: alone=True is for"),
    ],
)
def test_what_cannot_be_measured_from_widths_is_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        metric(**options)


@pytest.mark.parametrize(
    ("per", "function", "message"),
    [
        ("population", lambda candidate: 1.0, r"takes \(candidate\)"),
        ("candidate", lambda graph, widths: 1.0, r"takes \(graph, widths\)"),
        ("population", lambda: 1.0, r"per population, by <lambda>\(graph, widths\)"),
    ],
)
def test_a_function_of_other_arguments_is_told_what_it_is_called_with(
    per: Any, function: Any, message: str
) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        metric(per=per)(function)


@pytest.mark.parametrize(
    "values",
    [
        lambda n: np.arange(n, dtype=np.float32),
        lambda n: list(range(n)),
        lambda n: torch.arange(n),
        lambda n: torch.arange(n, dtype=torch.bfloat16).requires_grad_(),
    ],
)
def test_numbers_in_any_form_are_fine(values: Callable[[int], Any]) -> None:
    found = returning(values).population(small_graph(), WIDTHS)
    assert found is not None
    assert found.tolist() == [0.0, 1.0, 2.0]
    assert measured(returning(values), 3, 4) == 0.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda n: 1.0, r"shape \(3,\); got shape \(\)"),
        (lambda n: np.ones((n, 1)), r"3 numbers for 3 rows of widths.*got shape \(3, 1\)"),
        (lambda n: np.ones(n + 1), r"got shape \(4,\)"),
        (lambda n: ["1"] * n, r"got list \['1', '1', '1'\]"),
        (lambda n: np.full(n, 1j), "got ndarray"),
        (lambda n: [None] * n, "got list"),
        (lambda n: [[1.0] * i for i in range(n)], r"got \[\[\], \[1.0\], \[1.0, 1.0\]\]"),
    ],
)
def test_anything_but_a_number_for_each_row_is_told(
    values: Callable[[int], Any], message: str
) -> None:
    with pytest.raises(MetricError, match=f"metric 'mine' must return.*{message}"):
        returning(values).population(small_graph(), WIDTHS)
    if "(4,)" not in message:
        return
    with pytest.raises(MetricError, match=r"1 number for 1 row of widths, .*got shape \(2,\)"):
        measured(returning(values), 3, 4)


def test_a_candidate_gets_no_number_from_a_function_that_forgets_the_rows() -> None:
    with pytest.raises(MetricError, match=r"1 number for 1 row of widths, shape \(1,\); got sh"):
        measured(returning(lambda n: 1.0), 3, 4)


def test_what_is_not_finite_is_a_failed_row_with_its_reason() -> None:
    half = metric(per="population", name="half")(
        lambda graph, widths: np.where(widths[:, 0] == 2, np.nan, 0.5)
    )
    problem = make_problem(objectives=[half])
    with Session(problem, Budget(evaluations=9)) as session:
        found = session.evaluate([narrowed(2, 4), narrowed(3, 4)])
    assert found.failed.tolist() == [True, False]
    assert found.reasons[0] == "metric 'half' must return a finite number, got nan."
    with pytest.raises(MetricError, match="must return a finite number"):
        measured(half, 2, 4)


def test_what_the_function_raises_is_the_reason_of_the_row() -> None:
    def broken(graph: Any, widths: Any) -> Any:
        raise KeyError("no such group")

    mine = metric(per="population")(broken)
    with pytest.raises(MetricError, match="metric 'broken' raised KeyError: 'no such group'"):
        mine.population(small_graph(), WIDTHS)
    with Session(make_problem(objectives=[mine]), Budget(evaluations=9)) as session:
        found = session.evaluate([narrowed(2, 4)])
    assert found.reasons[0].startswith("metric 'broken' raised KeyError: 'no such group' (test_pe")


def test_a_batch_is_measured_by_one_call() -> None:
    CALLS.clear()
    with Session(make_problem(objectives=[widest]), Budget(evaluations=9)) as session:
        found = session.evaluate([narrowed(*row) for row in WIDTHS])
    assert found.objectives[:, 0].tolist() == [8.0, 4.0, 6.0]
    assert CALLS == [3]


def test_a_function_that_writes_to_the_widths_changes_nothing_else() -> None:
    def clears(graph: Any, widths: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        widths[:] = 0
        return widths.sum(axis=1)

    widths = WIDTHS.copy()
    metric(per="population")(clears).population(small_graph(), widths)
    assert np.array_equal(widths, WIDTHS)


def test_it_is_pickled_as_the_place_where_it_is_found() -> None:
    copied = pickle.loads(pickle.dumps(widest))
    assert copied == widest
    assert b"PerPopulation" not in pickle.dumps(widest)
    assert measured(copied, 3, 4) == 4.0


def test_one_of_a_local_function_is_packed_by_value(tmp_path: Path) -> None:
    offset = 2.0
    mine = metric(per="population", name="mine")(lambda graph, widths: widths[:, 0] + offset)
    copied = unpack(pack(mine, tmp_path / "memory"), tmp_path / "memory")
    assert copied.population(small_graph(), WIDTHS).tolist() == [3.0, 5.0, 8.0]


def test_the_fingerprint_follows_the_function_and_what_it_closes_over() -> None:
    def above(least: int) -> Metric:
        return metric(per="population", name="m")(lambda graph, widths: (widths > least).sum(1))

    other = metric(per="population", name="m")(lambda graph, widths: widths.sum(axis=1))
    assert above(2).fingerprint == above(2).fingerprint
    assert len({above(2).fingerprint, above(3).fingerprint, other.fingerprint}) == 3


def test_another_process_and_a_journal_give_what_was_given_here(tmp_path: Path) -> None:
    problem = make_problem(
        task=chain_task((4, 5)),
        graph=None,
        objectives=[metrics.loss, widest],
        subject_to=[few <= 8],
    )

    def run(problem: Problem, **options: Any) -> list[tuple[str, dict[str, float]]]:
        result = solve(problem, Random(), evaluations=6, seed=1, **options)
        return [(row.digest, dict(row.metrics)) for row in result.rows]

    expected = run(problem)
    assert {"loss", "widest", "few"} == set(expected[0][1])
    sent = unpack(pack(problem, tmp_path / "memory"), tmp_path / "memory")
    assert run(sent) == expected
    assert run(problem, journal=tmp_path / "run.db") == expected
    CALLS.clear()
    assert run(problem, journal=tmp_path / "run.db") == expected
    assert sum(CALLS) <= 1  # the dense network


def test_it_keeps_the_rules_of_a_metric() -> None:
    check_metric(widest)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda graph, widths: np.argsort(widths.sum(axis=1)), "`population` gives"),
        (lambda graph, widths: np.full(max(1, len(widths) - 1), 1.0), "fails on a population"),
        (lambda graph, widths: widths / graph.widths, "fails on a population|fails on Structure"),
    ],
)
def test_the_check_finds_where_populations_and_candidates_disagree(
    function: Any, words: str
) -> None:
    with pytest.raises(ConformanceError, match=words):
        check_metric(metric(per="population", name="mine")(function))


def test_the_check_finds_an_object_that_writes_to_the_widths() -> None:
    class Clearing:
        def population(self, graph: Any, widths: Any) -> Any:
            found = widths.sum(axis=1)
            widths[:] = 1
            return found

        def __call__(self, candidate: Candidate) -> Any:
            return candidate.widths.sum()

    with pytest.raises(ConformanceError, match="writes to the widths"):
        check_metric(Metric("mine", Clearing(), needs="structure"))
