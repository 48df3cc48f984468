"""Tabulated losses: bounds below what brute force finds, choices at it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optprune.allocation import TableProgram
from optprune.errors import InfeasibleError, SolverError

from .cases import (
    SMALL,
    both,
    chain_cost,
    concatenation,
    fractions,
    least_loss,
    losses_of,
    options_of,
    residual,
)


@pytest.mark.parametrize("noise", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("method", ["auto", "envelope"])
def test_the_bound_is_below_and_the_choice_above_the_best(
    name: str, noise: float, method: Any
) -> None:
    cost = SMALL[name]
    options = options_of(cost)
    for seed in range(2):
        losses = losses_of(options, seed, noise)
        program = TableProgram({"macs": cost}, options, losses, method=method)
        for fraction in (0.15, 0.3, 0.6, 1.0):
            budgets = {"macs": fraction * cost.dense}
            best = least_loss({"macs": cost}, budgets, options, losses)
            found = program.solve(budgets)
            assert found.costs["macs"] == cost(found.widths)[0]
            assert found.costs["macs"] <= budgets["macs"]
            assert found.bound <= best + 1e-9
            assert found.objective >= best - 1e-9
            assert found.gap >= found.objective - best - 1e-9
            chosen = [losses[g][width - 1] for g, width in enumerate(found.widths)]
            assert found.objective == pytest.approx(sum(chosen))


def test_most_choices_are_the_best_and_said_to_be_where_they_are() -> None:
    best = total = 0
    for name, cost in SMALL.items():
        options = options_of(cost)
        for seed in range(3):
            losses = losses_of(options, seed)
            for fraction in (0.3, 0.6):
                budgets = {name: fraction * cost.dense}
                found = TableProgram({name: cost}, options, losses).solve(budgets)
                true = least_loss({name: cost}, budgets, options, losses)
                best += found.objective <= true + 1e-9
                total += 1
                if "optimal" in found.status.split(":")[-1]:
                    assert found.objective == pytest.approx(true)
    assert best >= 0.9 * total


def test_elimination_closes_most_of_the_gap_of_the_envelope() -> None:
    cost = chain_cost((16, 24, 16, 32, 24, 16))
    options = options_of(cost, 2)
    losses = losses_of(options, 0, 0.02)
    budget = {"macs": 0.3 * cost.dense}
    envelope = TableProgram({"macs": cost}, options, losses, method="envelope").solve(budget)
    exact = TableProgram({"macs": cost}, options, losses).solve(budget)
    assert "elimination (largest table" in exact.status
    assert exact.bound >= envelope.bound
    assert exact.objective <= envelope.objective
    assert exact.gap < envelope.gap


def test_two_budgets_are_met_and_bounded() -> None:
    costs = both((8, 6, 7))
    options = options_of(costs["macs"])
    losses = losses_of(options, 3)
    budgets = fractions(costs, 0.4, 0.35)
    found = TableProgram(costs, options, losses).solve(budgets)
    best = least_loss(costs, budgets, options, losses)
    assert all(found.costs[name] <= budget for name, budget in budgets.items())
    assert found.bound <= best + 1e-9 <= found.objective + 2e-9


def test_a_second_budget_that_does_not_bind_hinders_no_elimination() -> None:
    costs = both((8, 6, 7))
    options = options_of(costs["macs"])
    losses = losses_of(options, 4)
    budget = 0.3 * costs["macs"].dense
    alone = TableProgram({"macs": costs["macs"]}, options, losses).solve({"macs": budget})
    loose = {"macs": budget, "parameters": 0.99 * costs["parameters"].dense}
    found = TableProgram(costs, options, losses).solve(loose)
    assert "elimination (largest table" in found.status
    assert found.bound == pytest.approx(alone.bound)
    assert found.objective == pytest.approx(alone.objective)
    assert found.costs["parameters"] <= loose["parameters"]


def test_a_table_too_large_is_said_and_the_envelope_stands() -> None:
    cost = concatenation(6, 12)
    options = options_of(cost)
    losses = losses_of(options, 0)
    found = TableProgram({"macs": cost}, options, losses, largest=10).solve(
        {"macs": 0.3 * cost.dense}
    )
    assert "no elimination: its largest table has" in found.status
    assert found.costs["macs"] <= 0.3 * cost.dense
    assert found.gap > 0


def test_constant_tables_are_optimal_anywhere() -> None:
    cost = chain_cost((8, 6, 7))
    options = options_of(cost)
    found = TableProgram({"macs": cost}, options, [np.full(len(o), 2.0) for o in options]).solve(
        {"macs": 0.3 * cost.dense}
    )
    assert found.objective == found.bound == 6
    assert found.costs["macs"] <= 0.3 * cost.dense


def test_groups_with_one_option_are_constants() -> None:
    cost = chain_cost((8, 6, 7))
    options = [np.array([8]), np.arange(1, 7), np.array([3])]
    losses = [np.array([0.5]), 1 / np.arange(1, 7), np.array([0.25])]
    budgets = {"macs": 0.5 * cost.dense}
    found = TableProgram({"macs": cost}, options, losses).solve(budgets)
    best = least_loss({"macs": cost}, budgets, options, losses)
    assert found.objective == pytest.approx(best)
    single = [np.array([width]) for width in (2, 3, 4)]
    fixed = TableProgram({"macs": cost}, single, [np.array([1.0])] * 3).solve({"macs": 1e9})
    assert fixed.widths.tolist() == [2, 3, 4]
    assert fixed.gap == 0


def test_the_least_loss_of_all_needs_no_solver_where_it_fits() -> None:
    cost = chain_cost((8, 6, 7))
    options = options_of(cost)
    losses = [np.abs(widths - 3.0) for widths in options]
    program = TableProgram({"macs": cost}, options, losses, solver="no such solver")
    found = program.solve({"macs": 0.6 * cost.dense})
    assert found.widths.tolist() == [3, 3, 3]
    assert found.status == "every group has its least loss: optimal"
    assert program.solve({}).widths.tolist() == [3, 3, 3]


@pytest.mark.parametrize("scale", [1e-8, 1e6])
def test_the_scale_of_the_losses_has_no_influence(scale: float) -> None:
    cost = residual()
    options = options_of(cost)
    losses = losses_of(options, 1)
    budget = {"macs": 0.4 * cost.dense}
    one = TableProgram({"macs": cost}, options, losses).solve(budget)
    other = TableProgram({"macs": cost}, options, [scale * t + 5 for t in losses]).solve(budget)
    assert (one.widths == other.widths).all()
    assert other.gap == pytest.approx(scale * one.gap, rel=1e-5, abs=1e-8)


def test_narrowest_options_over_the_budget_are_named() -> None:
    cost = chain_cost((8, 6, 7))
    options = options_of(cost)
    with pytest.raises(InfeasibleError, match="narrowest options have"):
        TableProgram({"macs": cost}, options, losses_of(options, 0)).solve({"macs": 1})


@pytest.mark.parametrize("name", SMALL)
def test_a_result_tells_what_it_rests_on(name: str) -> None:
    cost = SMALL[name]
    options = options_of(cost)
    losses = losses_of(options, 0, 0.0)
    budget = 0.3 * cost.dense
    found = TableProgram({"macs": cost}, options, losses).solve({"macs": budget})
    assert found.sense == "minimize"
    assert found.unlimited == pytest.approx(sum(table.min() for table in losses))
    assert found.unlimited <= found.bound <= found.objective
    assert found.gap == found.objective - found.bound
    assert found.relative_gap == pytest.approx(found.gap / (found.objective - found.unlimited))
    assert found.active == ("macs",)
    assert found.prices["macs"] == found.multipliers["macs"] / budget > 0
    assert cost(found.relaxed)[0] <= budget
    # the conditions of the program with the convex envelopes of the tables
    assert found.kkt <= 1e-4
    assert TableProgram({"macs": cost}, options, losses).solve({}).kkt == 0


def test_a_solver_that_is_missing_is_named() -> None:
    cost = chain_cost((8, 6, 7))
    options = options_of(cost)
    program = TableProgram({"macs": cost}, options, losses_of(options, 0), solver="no such solver")
    with pytest.raises(SolverError, match="'no such solver' did not run"):
        program.solve({"macs": 0.3 * cost.dense})
