"""The linear objective: ascents that never fall, below a bound that holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from optprune.allocation import Program, SignomialProgram
from optprune.allocation.mccormick import linear_bound
from optprune.errors import InfeasibleError, SolverError

from .cases import SMALL, both, chain_cost, fractions, importances, polynomial, residual, structures


@pytest.mark.parametrize("name", SMALL)
def test_ascents_never_fall_and_end_between_the_best_structure_and_the_bound(name: str) -> None:
    cost = SMALL[name]
    n = len(cost.dense_widths)
    importance = np.random.default_rng(0).random(n)
    program = SignomialProgram({"macs": cost}, importance)
    rows = structures(cost)
    for fraction in (0.2, 0.5):
        budget = fraction * cost.dense
        found = program.solve({"macs": budget})
        best = ((rows / cost.dense_widths) @ importance)[cost(rows) <= budget].max()
        assert found.costs["macs"] <= budget
        assert all((np.diff(ascent) >= 0).all() for ascent in found.ascents)
        assert found.utility == max(ascent[-1] for ascent in found.ascents)
        assert found.bound >= found.utility >= best - 1e-6
        assert found.utility == pytest.approx(importance @ (found.widths / cost.dense_widths))
        logs = Program({"macs": cost}, importance).solve({"macs": budget}).widths
        assert found.utility >= importance @ (logs / cost.dense_widths) - 1e-9


@pytest.mark.parametrize("name", SMALL)
def test_the_relaxation_bounds_every_structure(name: str) -> None:
    cost = SMALL[name]
    n = len(cost.dense_widths)
    rows = structures(cost)
    for seed in range(4):
        weights = importances(n, seed)
        for fraction in (0.1, 0.3, 0.7):
            budget = fraction * cost.dense
            bound, _ = linear_bound(
                weights,
                {"macs": cost},
                {"macs": budget},
                np.ones(n),
                cost.dense_widths.astype(float),
            )
            best = ((rows / cost.dense_widths) @ weights)[cost(rows) <= budget].max()
            assert bound >= best - 1e-9


def test_the_relaxation_of_a_linear_cost_is_exact() -> None:
    cost = polynomial([10, 10], [(1, [(0, [0])]), (3, [(0, [1])])])
    bound, ratios = linear_bound(
        np.array([1.0, 2.0]), {"m": cost}, {"m": 16.0}, np.ones(2), np.full(2, 10.0)
    )
    # All of the first group at 1/10 of a ratio per unit, and what is left for the second.
    assert bound == pytest.approx(1 + 2 * 0.2)
    np.testing.assert_allclose(ratios, [1, 0.2])


def test_widths_end_at_their_bounds_where_those_of_log_are_spread() -> None:
    cost = chain_cost((64, 32, 128, 64, 96, 64, 48, 64, 32, 64))
    importance = importances(10, 2, 0.3)
    budget = {"macs": 0.1 * cost.dense}
    found = SignomialProgram({"macs": cost}, importance).solve(budget)
    logs = Program({"macs": cost}, importance).solve(budget)

    def inside(widths: np.ndarray) -> int:
        return int(((widths > 1.01) & (widths < 0.99 * cost.dense_widths)).sum())

    assert inside(found.widths) <= 1
    assert inside(logs.widths) >= 4


def test_a_certified_optimum_needs_one_start() -> None:
    cost = chain_cost((64, 32, 128, 64, 96, 64))
    importance = importances(6, 2)
    found = SignomialProgram({"macs": cost}, importance).solve({"macs": 0.6 * cost.dense})
    if found.gap <= 1e-7 * found.utility:
        assert len(found.ascents) < 4
    assert found.bound >= found.utility


def test_two_budgets_and_bounds_are_met() -> None:
    costs = both((16, 32, 24))
    program = SignomialProgram(costs, [1.0, 2.0, 3.0], lower=[4, 4, 4], upper=[16, 30, 24])
    budgets = fractions(costs, 0.4, 0.4)
    found = program.solve(budgets)
    assert all(found.costs[name] <= budget for name, budget in budgets.items())
    assert (found.widths >= 4).all()
    assert (found.widths <= [16, 30, 24]).all()
    assert found.bound >= found.utility


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_scale_of_the_importance_has_no_influence(scale: float) -> None:
    cost = residual()
    importance = np.array([1.0, 2.0, 0.5])
    budget = {"macs": 0.4 * cost.dense}
    one = SignomialProgram({"macs": cost}, importance).solve(budget)
    other = SignomialProgram({"macs": cost}, scale * importance).solve(budget)
    np.testing.assert_allclose(one.widths, other.widths, rtol=1e-5)
    assert other.bound == pytest.approx(scale * one.bound, rel=1e-9)


def test_loose_and_impossible_budgets() -> None:
    cost = residual()
    program = SignomialProgram({"macs": cost}, [1.0, 2.0, 0.5], solver="no such solver")
    found = program.solve({"macs": cost.dense})
    assert (found.widths == cost.dense_widths).all()
    assert found.gap == 0
    with pytest.raises(InfeasibleError, match="narrowest"):
        program.solve({"macs": 1})


def test_a_linear_program_without_an_optimum_is_an_error(monkeypatch: Any) -> None:
    failed = OptimizeResult(x=None, message="numerical trouble")
    monkeypatch.setattr("scipy.optimize.linprog", lambda *_, **__: failed)
    cost = residual()
    with pytest.raises(SolverError, match=r"HiGHS found no optimum .* numerical trouble"):
        SignomialProgram({"macs": cost}, [1.0, 2.0, 0.5]).solve({"macs": 0.4 * cost.dense})


def test_a_solver_that_is_missing_is_named() -> None:
    cost = residual()
    program = SignomialProgram({"macs": cost}, [1.0, 2.0, 0.5], solver="no such solver")
    with pytest.raises(SolverError, match="'no such solver' did not run"):
        program.solve({"macs": 0.4 * cost.dense})
