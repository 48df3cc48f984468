"""The convex program: global optima, exact budgets, certificates."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from optprune.allocation import Inverse, Log, Program, Saturating
from optprune.errors import InfeasibleError, SolverError
from optprune.surgery import trace
from optprune.testing.networks import chain, residual_task

from .cases import (
    COSTS,
    DENSE,
    Floats,
    both,
    chain_cost,
    compilations,
    fractions,
    importances,
    polynomial,
    residual,
    structures,
)

UTILITIES = (Log(), Inverse(), Saturating(0.5), Saturating(2.0))


def local_optimum(program: Program, budgets: dict[str, float], starts: int = 4) -> float:
    """Return the best utility that SLSQP finds within the budgets, from several starts."""
    dense = program.dense.astype(float)
    generator = np.random.default_rng(0)
    low, high = np.log(program.lower / dense), np.log(program.upper / dense)

    def slack(y: Floats, name: str) -> float:
        return float(np.log(budgets[name] / program.costs[name](dense * np.exp(y))[0]))

    def charges(y: Floats, name: str) -> Floats:
        return -program.costs[name].shares(dense * np.exp(y))

    weights = program.importance / program.importance.mean()
    best = -np.inf
    for _ in range(starts):
        found = minimize(
            lambda y: -(weights @ program.utility.value(y)),
            generator.uniform(low, high),
            jac=lambda y: -weights * program.utility.slope(y),
            bounds=list(zip(low, high, strict=True)),
            constraints=[
                {"type": "ineq", "fun": slack, "jac": charges, "args": (name,)} for name in budgets
            ],
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 400},
        )
        if all(slack(found.x, name) > -1e-7 for name in budgets):
            best = max(best, -float(found.fun) * float(program.importance.mean()))
    return best


@pytest.mark.parametrize("utility", UTILITIES, ids=repr)
@pytest.mark.parametrize("name", COSTS)
def test_no_local_solver_finds_more(name: str, utility: Any) -> None:
    cost = COSTS[name]
    program = Program({"macs": cost}, importances(len(cost.dense_widths)), utility=utility)
    for fraction in (0.15, 0.6):
        budgets = {"macs": fraction * cost.dense}
        found = program.solve(budgets)
        local = local_optimum(program, budgets)
        assert np.isfinite(local)
        assert found.utility >= local - 1e-6 * abs(local)
        assert found.costs["macs"] <= budgets["macs"]
        assert found.gap <= 1e-5 * abs(found.utility)


def test_no_local_solver_finds_more_on_traced_networks() -> None:
    for network, example in (
        (chain((8, 8, 9, 9)), torch.zeros(1, 6)),
        (residual_task().network, torch.zeros(1, 1, 6, 6)),
    ):
        graph = trace(network, example)
        costs = {"macs": graph.costs.macs, "parameters": graph.costs.parameters}
        program = Program(costs, importances(graph.n_groups))
        budgets = fractions(costs, 0.4, 0.45)
        found = program.solve(budgets)
        local = local_optimum(program, budgets)
        assert np.isfinite(local)
        assert found.utility >= local - 1e-6 * abs(local)
        assert all(found.costs[name] <= budgets[name] for name in costs)
        assert found.kkt <= 1e-4


@pytest.mark.parametrize("utility", UTILITIES, ids=repr)
def test_budgets_are_met_exactly_and_used_up(utility: Any) -> None:
    cost = chain_cost(DENSE)
    program = Program({"macs": cost}, importances(5), utility=utility)
    for fraction in np.linspace(0.05, 0.95, 7):
        found = program.solve({"macs": fraction * cost.dense})
        assert found.costs["macs"] == cost(found.widths)[0]
        assert found.costs["macs"] <= fraction * cost.dense
        assert found.costs["macs"] >= fraction * cost.dense * (1 - 1e-6)
        assert found.active == ("macs",)


def test_a_sweep_of_budgets_compiles_once_and_widths_grow(monkeypatch: Any) -> None:
    compiled = compilations(monkeypatch)
    cost = chain_cost(DENSE)
    program = Program({"macs": cost}, importances(5))
    widths = [
        program.solve({"macs": share * cost.dense}).widths for share in np.linspace(0.03, 1, 50)
    ]
    assert len(compiled) == 1
    assert (np.diff(widths, axis=0) >= -1e-5).all()
    assert (widths[-1] == DENSE).all()


@pytest.mark.parametrize("scale", [1e-8, 1e-150, 1e9])
def test_the_scale_of_the_importance_has_no_influence(scale: float) -> None:
    costs = both()
    importance = importances(5)
    budgets = fractions(costs, 0.3, 0.5)
    one = Program(costs, importance).solve(budgets)
    other = Program(costs, scale * importance).solve(budgets)
    assert (other.widths == one.widths).all()
    assert other.utility == pytest.approx(scale * one.utility, rel=1e-9)
    for name in costs:
        assert other.prices[name] == pytest.approx(scale * one.prices[name], rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_importance_is_multiplier_times_share_of_cost(seed: int) -> None:
    cost = chain_cost(DENSE, seed)
    importance = importances(5, seed, spread=0.3)
    found = Program({"macs": cost}, importance).solve({"macs": 0.1 * cost.dense})
    inside = (found.widths > 1.01) & (found.widths < 0.99 * np.array(DENSE))
    assert inside.sum() >= 2
    share = cost.shares(found.widths)
    np.testing.assert_allclose(
        importance[inside], (found.multipliers["macs"] * share)[inside], rtol=1e-4
    )
    assert found.kkt <= 1e-4


@pytest.mark.parametrize("spread", [1.0, 2.5])
@pytest.mark.parametrize("utility", UTILITIES, ids=repr)
def test_the_conditions_of_the_optimum_hold_for_many_groups(utility: Any, spread: float) -> None:
    dense = tuple(np.random.default_rng(1).choice([16, 64, 256], 40).tolist())
    costs = both(dense)
    program = Program(costs, importances(40, spread=spread), utility=utility)
    for shares in ((0.5, 0.5), (0.1, 0.2)):
        found = program.solve(fractions(costs, *shares))
        assert found.kkt <= 1e-4
        assert found.gap <= 1e-5 * abs(found.utility)


def test_prices_are_what_one_more_unit_of_budget_gains() -> None:
    cost = chain_cost(DENSE)
    program = Program({"macs": cost}, importances(5))
    budget, step = 0.3 * cost.dense, 1e-3 * cost.dense
    found = program.solve({"macs": budget})
    gain = program.solve({"macs": budget + step}).utility
    gain -= program.solve({"macs": budget - step}).utility
    assert found.prices["macs"] == pytest.approx(gain / (2 * step), rel=1e-3)
    assert found.multipliers["macs"] == pytest.approx(found.prices["macs"] * budget)


@pytest.mark.parametrize("utility", UTILITIES, ids=repr)
@pytest.mark.parametrize("name", COSTS)
def test_the_bound_holds_for_every_structure(name: str, utility: Any) -> None:
    cost = COSTS[name]
    n = len(cost.dense_widths)
    importance = importances(n)
    program = Program({"macs": cost}, importance, utility=utility)
    rows = np.random.default_rng(0).uniform(1, cost.dense_widths, (4000, n)).round()
    for fraction in (0.1, 0.4, 0.8):
        found = program.solve({"macs": fraction * cost.dense})
        within = rows[cost(rows) <= fraction * cost.dense]
        values = utility.value(np.log(within / cost.dense_widths)) @ importance
        assert found.bound >= values.max() - 1e-9


def test_the_bound_holds_where_the_budget_is_the_cost_of_a_structure() -> None:
    cost = residual((4, 5, 3))
    importance = importances(3)
    program = Program({"macs": cost}, importance)
    rows = structures(cost)
    values = np.log(rows / cost.dense_widths) @ importance
    for budget in np.unique(cost(rows)):
        found = program.solve({"macs": float(budget)})
        assert found.bound >= values[cost(rows) <= budget].max() - 1e-9
        assert found.costs["macs"] <= budget
        assert found.gap <= 1e-5 * max(1, abs(found.utility))


def test_two_budgets_bind_and_each_has_its_price() -> None:
    costs = both()
    program = Program(costs, importances(5))
    alone = program.solve({"macs": 0.3 * costs["macs"].dense})
    tight = 0.7 * alone.costs["parameters"]
    found = program.solve({"macs": 0.3 * costs["macs"].dense, "parameters": tight})
    assert found.costs["parameters"] <= tight
    assert found.utility < alone.utility
    assert found.multipliers["parameters"] > 0
    assert set(found.active) <= {"macs", "parameters"}
    assert "parameters" in found.active
    loose = program.solve({"macs": 0.3 * costs["macs"].dense, "parameters": 1e12})
    np.testing.assert_allclose(loose.widths, alone.widths, rtol=1e-6)
    assert loose.multipliers["parameters"] == 0


@pytest.mark.parametrize("utility", UTILITIES, ids=repr)
def test_one_group_gets_its_budget(utility: Any) -> None:
    cost = polynomial([100], [(7, [(0, [0])]), (30, [])])
    found = Program({"macs": cost}, [3.0], utility=utility).solve({"macs": 7 * 40 + 30})
    assert found.widths == pytest.approx([40], rel=1e-7)
    assert found.utility == pytest.approx(3 * utility.value(np.log([0.4]))[0], rel=1e-6)


def test_a_group_that_is_tied_to_itself_gets_the_root_of_its_budget() -> None:
    cost = polynomial([100], [(2, [(0, [0]), (0, [0])])])
    found = Program({"macs": cost}, [1.0]).solve({"macs": 2 * 30**2})
    assert found.widths == pytest.approx([30], rel=1e-7)
    assert found.multipliers["macs"] == pytest.approx(0.5, rel=1e-6)


def test_depthwise_groups_share_a_budget_by_importance() -> None:
    cost = polynomial([100, 200], [(9, [(0, [0])]), (9, [(0, [1])])])
    found = Program({"macs": cost}, [1.0, 3.0]).solve({"macs": 9 * 80})
    assert found.widths == pytest.approx([20, 60], rel=1e-5)


def test_grouped_convolutions_count_their_part() -> None:
    cost = polynomial([64, 64], [(9 / 8, [(0, [0]), (0, [1])]), (3, [(0, [0])])])
    found = Program({"macs": cost}, [1.0, 1.0]).solve({"macs": 0.25 * cost.dense})
    # Only the first group pays for the second term, so that the second is the wider.
    assert found.widths[1] == pytest.approx(64, rel=1e-6)
    assert found.widths[0] == pytest.approx(0.25 * 64, rel=1e-6)


def test_a_budget_that_the_upper_widths_meet_needs_no_solver() -> None:
    cost = chain_cost(DENSE)
    program = Program({"macs": cost}, importances(5), solver="no such solver")
    for budgets in ({}, {"macs": cost.dense}, {"macs": 2 * cost.dense}):
        found = program.solve(budgets)
        assert (found.widths == DENSE).all()
        assert found.gap == 0
        assert not found.repaired
    narrow = Program({"macs": cost}, importances(5), upper=[8] * 5, solver="no such solver")
    assert (narrow.solve({"macs": cost.dense}).widths == 8).all()


def test_groups_that_are_not_free_are_constants() -> None:
    costs = both()
    lower, upper = [16, 2, 24, 3, 8], [16, 32, 24, 40, 8]
    program = Program(costs, importances(5), lower=lower, upper=upper)
    found = program.solve(fractions(costs, 0.5, 0.6))
    assert (found.widths[[0, 2, 4]] == [16, 24, 8]).all()
    assert (found.widths >= lower).all()
    assert (found.widths <= upper).all()
    assert found.gap <= 1e-5 * abs(found.utility)
    fixed = Program(costs, importances(5), lower=DENSE, upper=DENSE)
    assert (fixed.solve({"macs": costs["macs"].dense}).widths == DENSE).all()


def test_a_group_that_no_budget_charges_is_kept() -> None:
    cost = polynomial([10, 20], [(1, [(0, [0])])])
    found = Program({"macs": cost}, [1.0, 0.0]).solve({"macs": 5})
    assert found.widths == pytest.approx([5, 20])


def test_a_cost_that_is_zero_or_constant_never_binds() -> None:
    costs = {
        "macs": chain_cost(DENSE),
        "zero": polynomial(DENSE, [], "bytes"),
        "constant": polynomial(DENSE, [(5, [])], "bytes"),
    }
    budgets = {"macs": 0.5 * costs["macs"].dense, "zero": 0.0, "constant": 5.0}
    found = Program(costs, importances(5)).solve(budgets)
    assert found.active[0] == "macs"
    assert found.multipliers["zero"] == found.multipliers["constant"] == 0
    assert found.prices["zero"] == found.prices["constant"] == 0
    with pytest.raises(InfeasibleError, match="constant"):
        Program(costs, importances(5)).solve({"constant": 4.0})


def test_a_budget_at_the_least_cost_gives_the_least_widths() -> None:
    costs = both()
    program = Program(costs, importances(5), lower=[2] * 5)
    least = float(costs["macs"]([2] * 5)[0])
    for budget in (least, least * (1 + 1e-9), least * (1 + 1e-5)):
        found = program.solve({"macs": budget})
        np.testing.assert_allclose(found.widths, 2, rtol=1e-4)
        assert found.costs["macs"] <= budget
        assert found.gap <= 1e-4


def test_a_budget_below_the_least_cost_names_it() -> None:
    cost = chain_cost(DENSE)
    least = float(cost([1] * 5)[0])
    with pytest.raises(InfeasibleError, match=rf"the narrowest widths .* have {least:g}"):
        Program({"macs": cost}, importances(5)).solve({"macs": least - 1})


def test_a_point_that_is_over_is_pulled_back(monkeypatch: Any) -> None:
    cost = chain_cost(DENSE)
    program = Program({"macs": cost}, importances(5))
    budget = 0.3 * cost.dense
    best = program.solve({"macs": budget})
    y = np.log(best.widths / program.dense) + 0.01
    monkeypatch.setattr(type(program._geometric), "_optimum", lambda *_: ("optimal", y))
    found = program.solve({"macs": budget})
    assert found.repaired
    assert 0.005 < found.overshoot < 0.03
    assert found.costs["macs"] <= budget
    assert found.costs["macs"] == pytest.approx(budget, rel=1e-12)
    # A worse point, but its bound holds.
    assert found.bound >= best.utility - 1e-9


@pytest.mark.parametrize("solver", ["MOSEK", "no such solver", "OSQP"])
def test_a_solver_that_is_missing_or_cannot_is_named(solver: str) -> None:
    cost = chain_cost(DENSE)
    with pytest.raises(SolverError, match=rf"'{solver}' did not run .* CLARABEL comes with"):
        Program({"macs": cost}, importances(5), solver=solver).solve({"macs": 0.5 * cost.dense})


def test_a_status_that_is_no_optimum_is_an_error(monkeypatch: Any) -> None:
    cost = chain_cost(DENSE)
    program = Program({"macs": cost}, importances(5))
    monkeypatch.setattr(cp.Problem, "solve", lambda *_, **__: None)
    monkeypatch.setattr(cp.Problem, "status", "user_limit")
    with pytest.raises(SolverError, match="status: user_limit"):
        program.solve({"macs": 0.5 * cost.dense})


def test_settings_that_fail_are_followed_by_others(monkeypatch: Any) -> None:
    cost = chain_cost(DENSE)
    program = Program({"macs": cost}, importances(5))
    solve, seen = cp.Problem.solve, []

    def failing(problem: Any, **settings: Any) -> Any:
        seen.append(settings)
        if len(seen) == 1:
            raise cp.error.SolverError("numerical trouble")
        return solve(problem, **settings)

    monkeypatch.setattr(cp.Problem, "solve", failing)
    assert program.solve({"macs": 0.5 * cost.dense}).kkt <= 1e-4
    assert len(seen) == 2


def test_other_solvers_agree() -> None:
    cost = chain_cost(DENSE)
    budgets = {"macs": 0.3 * cost.dense}
    found = Program({"macs": cost}, importances(5), solver="SCS").solve(budgets)
    best = Program({"macs": cost}, importances(5)).solve(budgets)
    assert found.costs["macs"] <= budgets["macs"]
    assert found.utility <= best.bound + 1e-12
    assert found.utility == pytest.approx(best.utility, rel=1e-2)
