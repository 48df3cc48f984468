"""Allocation from tables: the least sum of losses, wherever the tables come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.optimize import minimize

import optprune as op
from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation import Problem, Widths, metrics
from optprune.optimizers import (
    Calibration,
    CompensationAllocation,
    GlobalSelection,
    ProjectionLosses,
    ScoreLosses,
    TableAllocation,
)
from optprune.scores import Compensation
from optprune.testing.networks import chain_task, residual_task


@dataclass(frozen=True)
class Curve:
    """A score that is a curve of losses."""

    values: tuple[float, ...]
    additive: ClassVar[bool] = False

    def __call__(self, network: Any, graph: Any, context: Any) -> Any:
        return np.array(self.values)


def posed(*widths: int, **space: Any) -> Problem:
    return Problem(chain_task(widths), space=Widths(**space), objectives=[metrics.macs])


def cheapest(problem: Problem, *widths: int) -> float:
    """Return a target that the widths just meet."""
    macs = problem.graph.costs.macs
    return 1.0001 * float(macs(list(widths))[0]) / macs.dense


def test_tables_take_the_least_sum_of_losses() -> None:
    # the first group may lose three units for nearly nothing, the second none
    problem = posed(4, 4, score=Curve((9, 0.03, 0.02, 0.01, 9, 8, 7, 6)))
    target = cheapest(problem, 1, 4)
    found = CompensationAllocation((target,)).allocate(problem)[target]
    assert found.widths.tolist() == [1, 4]
    assert found.objective == pytest.approx(0.03)
    assert found.gap < 1e-3


def test_tables_that_are_given_decide_and_not_the_score() -> None:
    problem = posed(4, 4, score=Curve((9, 0.03, 0.02, 0.01, 9, 8, 7, 6)))
    target = cheapest(problem, 4, 1)
    tables = ((9, 8, 7, 6, 0), (9, 0.03, 0.02, 0.01, 0))
    found = TableAllocation((target,), tables=tables).allocate(problem)[target]
    assert found.widths.tolist() == [4, 1]


def test_compensation_allocation_is_the_table_allocation_of_the_problem_s_score() -> None:
    problem = Problem(
        residual_task(), space=Widths(score=Compensation(samples=32)), objectives=[metrics.macs]
    )
    for combine in ("sum", "log"):
        one = CompensationAllocation((0.5,), combine=combine).allocate(problem)[0.5]
        other = TableAllocation(
            (0.5,), tables=ScoreLosses(Compensation(samples=32)), combine=combine
        ).allocate(problem)[0.5]
        assert np.array_equal(one.widths, other.widths)
        assert one.objective == other.objective


def test_sums_and_logarithms_may_differ_and_greedy_descent_is_no_better() -> None:
    problem = op.problems.digits.problem(space=Widths(score=Compensation(samples=128)))
    added = CompensationAllocation((0.3,)).allocate(problem)[0.3]
    multiplied = CompensationAllocation((0.3,), combine="log").allocate(problem)[0.3]
    assert not np.array_equal(added.widths, multiplied.widths)
    greedy = GlobalSelection((0.3,)).select(problem)[0.3]
    losses = ScoreLosses()(problem)
    predicted = sum(loss[width] for loss, width in zip(losses, greedy.widths, strict=True))
    assert added.objective <= predicted + 1e-12


def test_logarithms_add_up_as_shares_multiply() -> None:
    problem = posed(4, 3)
    tables = ((8, 6, 4, 2, 0), (10, 5, 1, 0))
    first, second = TableAllocation(tables=tables, combine="log").losses(problem)
    np.testing.assert_allclose(np.exp(-first[1:]), [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(np.exp(-second[1:]), [0.5, 0.9, 1])
    assert np.isfinite(first[0])
    assert first[0] > 30
    # of a table that loses nothing there are no shares
    nothing = TableAllocation(tables=((0,) * 5, (10, 5, 1, 0)), combine="log").losses(problem)
    assert nothing[0].tolist() == [0.0] * 5


def test_the_calibration_scales_what_was_combined() -> None:
    problem = posed(4, 3)
    tables = ((8, 6, 4, 2, 0), (10, 5, 1, 0))
    plain = TableAllocation(tables=tables, combine="log").losses(problem)
    scaled = TableAllocation(tables=tables, combine="log", calibration=Calibration()).losses(
        problem
    )
    factors = Calibration().factors(problem, plain)
    for factor, one, other in zip(factors, plain, scaled, strict=True):
        np.testing.assert_allclose(factor * one, other)


@pytest.mark.parametrize("target", [0.8, 0.5, 0.3])
def test_the_projection_agrees_with_slsqp_within_rounding(target: float) -> None:
    problem = posed(24, 16, 32)
    macs, dense = problem.graph.costs.macs, problem.graph.widths.astype(np.float64)
    budget = target * macs.dense

    def distance(ratios: Any) -> float:
        return float(((1 - ratios) ** 2).sum())

    relaxed = minimize(
        distance,
        np.ones(3),
        bounds=[(1 / width, 1.0) for width in dense],
        constraints={"type": "ineq", "fun": lambda x: 1 - float(macs(dense * x)[0]) / budget},
        method="SLSQP",
        options={"ftol": 1e-12},
    )
    assert relaxed.success
    found = TableAllocation((target,), tables=ProjectionLosses()).allocate(problem)[target]
    assert found.costs["macs"] <= budget
    # rounded down, the relaxed optimum is a choice, and no choice is nearer than the optimum
    down = np.floor(dense * relaxed.x * (1 + 1e-9)) / dense
    assert distance(relaxed.x) - 1e-9 <= found.objective <= distance(down) + 1e-12
    assert np.abs(found.widths - dense * relaxed.x).max() < 2
    assert found.objective == pytest.approx(distance(found.widths / dense))


def test_a_weight_holds_its_group_back() -> None:
    problem = posed(24, 16, 32)
    plain, heavy = (
        TableAllocation((0.4,), tables=ProjectionLosses(weights)).select(problem)[0.4].widths
        for weights in ((1.0, 1.0, 1.0), (1.0, 50.0, 1.0))
    )
    assert heavy[1] > plain[1]


def test_an_infinite_loss_rules_a_width_out() -> None:
    problem = posed(4, 3)
    tables = [[4.0, 3, np.inf, np.inf, 0], [np.inf, 2, 1, 0]]
    for found in TableAllocation(tables=tables).allocate(problem).values():
        assert found.widths[0] in (1, 4)
    closed = TableAllocation(tables=[[np.inf] * 5, tables[1]])
    with pytest.raises(ArgumentError, match="'hidden0' is infinite at all widths"):
        closed.allocate(problem)
    with pytest.raises(ArgumentError, match="infinite for 'hidden1'"):
        TableAllocation(tables=tables, combine="log").allocate(problem)


def test_given_tables_compare_and_are_written_out() -> None:
    arrays = [np.array([2.0, 1, 0]), np.array([3.0, 2, 0])]
    one, other = TableAllocation(tables=arrays), TableAllocation(tables=((2, 1, 0), (3, 2, 0)))
    assert one == other
    assert hash(one) == hash(other)
    assert eval(repr(one), {"TableAllocation": TableAllocation}) == one
    assert TableAllocation() == TableAllocation(tables=ScoreLosses())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"combine": "product"}, "`combine` must be 'sum' or 'log'"),
        ({"tables": "losses"}, "`tables` must be a function of the problem"),
        ({"tables": 3.0}, "`tables` must be a function of the problem"),
        ({"tables": (1.0, 2.0)}, "`tables` must be a function of the problem"),
        ({"tables": ({"a": 1.0}, "b")}, "`tables` must be a function of the problem"),
        ({"calibration": 0.5}, "`calibration` must be a Calibration"),
    ],
)
def test_parameters_that_cannot_be_are_refused(wrong: Any, words: str) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match=words):
        TableAllocation(**wrong)


def test_tables_of_other_groups_are_refused_and_named() -> None:
    with pytest.raises(ArgumentError, match="TableAllocation: the table of group 'hidden0'"):
        TableAllocation(tables=((1, 0), (3, 2, 1, 0))).allocate(posed(4, 3))
