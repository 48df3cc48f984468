"""Calibration: each table scaled to what narrowing its group alone is measured to cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation import Metric, Problem, Widths, metrics
from optprune.optimizers import Calibration, ProjectionLosses, TableAllocation
from optprune.search import Budget, Session, solve
from optprune.testing.networks import chain_task, residual_task
from optprune.testing.problems import Distortion

HALF = Calibration((0.5,))
WIDTHS = (4, 8, 6)
SENSITIVITY = (1.0, 5.0, 2.0)
TRUE = np.array(SENSITIVITY) / sum(SENSITIVITY)


@dataclass(frozen=True)
class Narrowed:
    """What is given for each group that is narrowed, however far."""

    rises: tuple[float, ...]

    def __call__(self, candidate: Any) -> float:
        gone = candidate.widths < candidate.graph.widths
        if np.isnan(np.array(self.rises)[gone]).any():
            raise RuntimeError("not to be measured")
        return 1.0 + float(np.array(self.rises)[gone].sum())


def metric(function: Any, name: str = "rises", **options: Any) -> Metric:
    return Metric(name, function, needs="structure", version=1, **options)


DISTORTION = metric(Distortion(SENSITIVITY), "distortion")


def posed(*objectives: Metric, **changes: Any) -> Problem:
    return Problem(chain_task(WIDTHS), objectives=[*objectives, metrics.macs], **changes)


def factors(problem: Problem, calibration: Calibration = HALF) -> Any:
    return calibration.factors(problem, ProjectionLosses()(problem))


@pytest.mark.parametrize("keep", [(0.5,), (0.25, 0.5), (0.7, 0.3, 0.1)])
def test_the_true_factors_of_separable_losses_are_found(keep: Any) -> None:
    problem = posed(DISTORTION)
    np.testing.assert_allclose(factors(problem, Calibration(keep)), TRUE, rtol=1e-9)


def test_the_scale_of_a_table_has_no_influence_on_the_calibrated_one() -> None:
    problem = posed(DISTORTION)
    plain = TableAllocation(tables=ProjectionLosses(), calibration=HALF)
    wrong = TableAllocation(tables=ProjectionLosses((100.0, 1e-3, 7.0)), calibration=HALF)
    for one, other in zip(plain.losses(problem), wrong.losses(problem), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_a_calibrated_allocation_is_the_best_structure_where_losses_are_separable() -> None:
    problem = posed(DISTORTION)
    macs = problem.graph.costs.macs
    grid = np.stack(np.meshgrid(*(np.arange(1, w + 1) for w in WIDTHS)), axis=-1).reshape(-1, 3)
    values = DISTORTION.population(problem.graph, grid)
    assert values is not None
    allocation = TableAllocation(tables=ProjectionLosses(), calibration=HALF)
    for target, found in allocation.allocate(problem).items():
        within = macs(grid) <= target * macs.dense
        assert found.objective == pytest.approx(values[within].min())


def test_several_widths_are_fitted_by_least_squares_through_the_origin() -> None:
    problem = posed(metric(Narrowed((1.0, 3.0, 2.0))))
    table = ProjectionLosses()(problem)[1]
    predicted = table[[2, 4]]
    found = factors(problem, Calibration((0.25, 0.5)))
    assert found[1] == pytest.approx(3.0 * predicted.sum() / (predicted**2).sum())


@pytest.mark.parametrize(
    ("keep", "narrowest"), [((0.5,), (2, 4, 3)), ((0.25, 0.5), (1, 2, 1))], ids=repr
)
def test_rises_that_may_be_chance_count_as_a_tenth_of_the_median(keep: Any, narrowest: Any) -> None:
    problem = posed(metric(Narrowed((-0.5, 2.0, 1e-9))))
    tables = ProjectionLosses()(problem)
    found = factors(problem, Calibration(keep))
    rises = found * [table[width] for table, width in zip(tables, narrowest, strict=True)]
    assert rises[0] == pytest.approx(rises[2])
    # the median of one rise and another that is nearly none
    assert rises[0] == pytest.approx(0.1 * rises[1] / 2)


def test_without_any_rise_the_tables_stay_as_they_are() -> None:
    assert factors(posed(metric(Narrowed((-0.5, 0.0, -1.0))))).tolist() == [1.0, 1.0, 1.0]


def test_what_cannot_be_measured_or_predicted_takes_the_largest_factor() -> None:
    problem = posed(metric(Narrowed((1.0, float("nan"), 4.0))))
    np.testing.assert_allclose(factors(problem), [4.0, 16.0, 16.0])
    tables = [np.zeros(5), *ProjectionLosses()(problem)[1:]]
    np.testing.assert_allclose(HALF.factors(problem, tables), [16.0, 16.0, 16.0])
    nothing = [np.zeros(width + 1) for width in WIDTHS]
    np.testing.assert_allclose(HALF.factors(problem, nothing), [1.0, 1.0, 1.0])


def test_a_metric_to_maximize_rises_when_it_falls() -> None:
    falls = metric(Narrowed((-1.0, -3.0, -2.0)), direction="maximize")
    np.testing.assert_allclose(factors(posed(falls)), [4.0, 12.0, 8.0])


def test_another_metric_can_be_named() -> None:
    problem = posed(metric(Narrowed((1.0, 1.0, 1.0))), DISTORTION)
    np.testing.assert_allclose(
        factors(problem, Calibration((0.5,), metric="distortion")), TRUE, rtol=1e-9
    )


def test_widths_that_the_space_or_the_table_lacks_are_not_measured() -> None:
    problem = posed(DISTORTION, space=Widths(frozen=["hidden0"], step=4))
    tables = ProjectionLosses()(problem)
    tables[2][:5] = np.inf
    # nothing is measured of a frozen group, nor of one of which only the whole is allowed
    np.testing.assert_allclose(HALF.factors(problem, tables), [TRUE[1]] * 3, rtol=1e-9)


def test_outside_of_a_search_passes_are_counted_on_the_setup_meter() -> None:
    problem = Problem(residual_task(), objectives=[metrics.loss, metrics.macs])
    factors(problem)
    assert problem.setup_meter.forward_samples == 24 * (1 + problem.graph.n_groups)


def test_in_a_search_every_measurement_is_an_evaluation() -> None:
    problem = Problem(residual_task(), objectives=[metrics.loss, metrics.macs])
    optimizer = TableAllocation((0.7, 0.4), calibration=Calibration((0.25, 0.5)))
    result = solve(problem, optimizer, evaluations=50, progress=False)
    n_groups = problem.graph.n_groups
    assert len(result.rows) == 1 + 2 * n_groups + 2
    assert result.meter.forward_samples == 24 * len(result.rows)
    assert [row.metrics["macs"] for row in result.rows[-2:]] < [0.7, 0.4]
    # and it finds what it finds outside
    outside = optimizer.select(problem)
    assert [row.structure for row in result.rows[-2:]] == [
        outside[target].to_json() for target in (0.7, 0.4)
    ]


def test_a_budget_that_the_measurements_use_up_ends_the_search() -> None:
    problem = posed(DISTORTION)
    optimizer = TableAllocation(tables=ProjectionLosses(), calibration=HALF)
    result = solve(problem, optimizer, evaluations=3, progress=False)
    assert len(result.rows) == 3
    assert "evaluations" in result.reason


def test_a_killed_search_goes_on_from_its_journal(tmp_path: Path) -> None:
    problem = Problem(residual_task(), objectives=[metrics.loss, metrics.macs])
    optimizer = TableAllocation((0.6,), calibration=HALF)
    journal = tmp_path / "run.db"
    solve(problem, optimizer, evaluations=3, journal=journal, progress=False)
    again = solve(problem, optimizer, evaluations=50, journal=journal, progress=False)
    whole = solve(problem, optimizer, evaluations=50, progress=False)
    assert [row.digest for row in again.rows] == [row.digest for row in whole.rows]


def test_what_a_constraint_stops_is_measured_beside_the_search() -> None:
    bounded = Problem(
        residual_task(),
        objectives=[metrics.loss, metrics.macs],
        subject_to=[metrics.macs <= 0.4],
    )
    free = Problem(residual_task(), objectives=[metrics.loss, metrics.macs])
    optimizer = TableAllocation((0.3,), calibration=HALF)
    with Session(bounded, Budget(evaluations=50)) as session:
        tables = optimizer.losses(bounded, session)
        assert session.evaluations == 1 + bounded.graph.n_groups
        assert sum(not row.feasible for row in session.rows) > 0
        assert session.meter.forward_samples == 24 * session.evaluations
    for one, other in zip(tables, optimizer.losses(free), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_calibrated_tables_serve_another_problem() -> None:
    cheap = posed(DISTORTION)
    tables = TableAllocation(tables=ProjectionLosses(), calibration=HALF).losses(cheap)
    other = posed(metrics.parameters)
    found = TableAllocation((0.4,), tables=tables).select(other)[0.4]
    expected = TableAllocation((0.4,), tables=ProjectionLosses(SENSITIVITY)).select(other)[0.4]
    assert np.array_equal(found.widths, expected.widths)


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"measures, rises, macs; got 'rise'"):
        factors(posed(metric(Narrowed((1.0, 1.0, 1.0)))), Calibration((0.5,), metric="rise"))

    def never(candidate: Any) -> float:
        raise RuntimeError("no number")

    with pytest.raises(ArgumentError, match=r"all groups are whole.*no number"):
        factors(posed(metric(never)))


@pytest.mark.parametrize(
    ("keep", "error", "words"),
    [
        (0.5, ArgumentTypeError, "tuple of fractions"),
        ((), ArgumentTypeError, "tuple of fractions"),
        ((1.0,), ArgumentError, "fractions of a group's units, between 0 and 1; got 1.0"),
        (("half",), ArgumentTypeError, "finite number"),
    ],
)
def test_ratios_that_cannot_be_are_refused(keep: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=f"Calibration.*{words}"):
        Calibration(keep)
