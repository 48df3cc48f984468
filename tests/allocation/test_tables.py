"""Tabulated losses: bounds below what brute force finds, choices at it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from optprune.allocation import TableProgram
from optprune.allocation.elimination import Elimination, lagrangian
from optprune.errors import InfeasibleError
from optprune.surgery import CostPolynomial

from .cases import (
    Floats,
    chain_cost,
    concatenation,
    everywhere,
    least_loss,
    parameters,
    residual,
    triangle,
)

CASES = {
    "chain": chain_cost((8, 6, 7, 5)),
    "residual": residual((8, 9, 7)),
    "triangle": triangle(),
    "concatenation": concatenation(4, 6),
}


def options_of(cost: CostPolynomial) -> list[Any]:
    return [np.arange(1, width + 1) for width in cost.dense_widths]


def losses_of(options: list[Any], seed: int, noise: float = 0.05) -> list[Floats]:
    generator = np.random.default_rng(seed)
    return [
        generator.random() * 3 * (1 / widths - 1 / widths[-1])
        + noise * generator.normal(size=len(widths))
        for widths in options
    ]


@pytest.mark.parametrize("noise", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", ["auto", "envelope"])
def test_the_bound_is_below_and_the_choice_above_the_best(
    name: str, noise: float, method: Any
) -> None:
    cost = CASES[name]
    options = options_of(cost)
    for seed in range(2):
        losses = losses_of(options, seed, noise)
        program = TableProgram({"macs": cost}, options, losses, method=method)
        for fraction in (0.15, 0.3, 0.6, 1.0):
            budget = fraction * cost.dense
            best = least_loss(cost, budget, options, losses)
            found = program.solve({"macs": budget})
            assert found.costs["macs"] == cost(found.widths)[0]
            assert found.costs["macs"] <= budget
            assert found.bound <= best + 1e-9
            assert found.objective >= best - 1e-9
            assert found.gap >= found.objective - best - 1e-9
            chosen = [losses[g][width - 1] for g, width in enumerate(found.widths)]
            assert found.objective == pytest.approx(sum(chosen))


def test_most_choices_are_the_best_and_said_to_be_where_they_are() -> None:
    best = total = 0
    for name, cost in CASES.items():
        options = options_of(cost)
        for seed in range(3):
            losses = losses_of(options, seed)
            for fraction in (0.3, 0.6):
                found = TableProgram({name: cost}, options, losses).solve(
                    {name: fraction * cost.dense}
                )
                true = least_loss(cost, fraction * cost.dense, options, losses)
                best += found.objective <= true + 1e-9
                total += 1
                if "optimal" in found.status.split(":")[-1]:
                    assert found.objective == pytest.approx(true)
    assert best >= 0.9 * total


def test_elimination_closes_most_of_the_gap_of_the_envelope() -> None:
    cost = chain_cost((16, 24, 16, 32, 24, 16))
    options = [np.arange(2, width + 1, 2) for width in cost.dense_widths]
    losses = losses_of(options, 0, 0.02)
    budget = {"macs": 0.3 * cost.dense}
    envelope = TableProgram({"macs": cost}, options, losses, method="envelope").solve(budget)
    exact = TableProgram({"macs": cost}, options, losses).solve(budget)
    assert "elimination (largest table" in exact.status
    assert exact.bound >= envelope.bound
    assert exact.objective <= envelope.objective
    assert exact.gap < envelope.gap


def test_two_budgets_are_met_and_bounded() -> None:
    dense = (8, 6, 7)
    costs = {"macs": chain_cost(dense), "parameters": parameters(dense)}
    options = options_of(costs["macs"])
    losses = losses_of(options, 3)
    budgets = {"macs": 0.4 * costs["macs"].dense, "parameters": 0.35 * costs["parameters"].dense}
    found = TableProgram(costs, options, losses).solve(budgets)
    rows = everywhere(options)
    sums = np.array([sum(row) for row in itertools.product(*losses)])
    within = np.logical_and.reduce([costs[name](rows) <= b for name, b in budgets.items()])
    best = sums[within].min()
    assert all(found.costs[name] <= budget for name, budget in budgets.items())
    assert found.bound <= best + 1e-9 <= found.objective + 2e-9


def test_a_second_budget_that_does_not_bind_hinders_no_elimination() -> None:
    dense = (8, 6, 7)
    costs = {"macs": chain_cost(dense), "parameters": parameters(dense)}
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
    budget = 0.5 * cost.dense
    found = TableProgram({"macs": cost}, options, losses).solve({"macs": budget})
    assert found.objective == pytest.approx(least_loss(cost, budget, options, losses))
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


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("charge", [0.0, 1e-4, 1e-2])
def test_elimination_minimizes_the_lagrangian(name: str, charge: float) -> None:
    cost = CASES[name]
    options = options_of(cost)
    losses = losses_of(options, 5)
    plan = Elimination.plan(cost, options)
    assert isinstance(plan, Elimination)
    chosen = plan.minimize(losses, charge)
    widths = [w[index] for w, index in zip(options, chosen, strict=True)]
    value = sum(t[i] for t, i in zip(losses, chosen, strict=True)) + charge * cost(widths)[0]
    sums = np.array([sum(row) for row in itertools.product(*losses)])
    assert value == pytest.approx((sums + charge * cost(everywhere(options))).min(), rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_charge_maximizes_the_dual_bound(name: str) -> None:
    cost = CASES[name]
    options = options_of(cost)
    losses = losses_of(options, 6)
    plan = Elimination.plan(cost, options)
    assert isinstance(plan, Elimination)
    budget = 0.35 * cost.dense
    found = lagrangian(plan, cost, budget, options, losses)
    sums = np.array([sum(row) for row in itertools.product(*losses)])
    spent = cost(everywhere(options))
    duals = [(sums + charge * (spent - budget)).min() for charge in np.geomspace(1e-7, 1, 400)]
    assert found.bound >= max(duals) - 1e-12
    assert found.bound == pytest.approx(
        (sums + found.charge * (spent - budget)).min(), rel=1e-9, abs=1e-12
    )
    assert found.bound <= sums[spent <= budget].min() + 1e-12


def test_chains_need_tables_of_two_groups_only() -> None:
    cost = chain_cost((30,) * 20)
    plan = Elimination.plan(cost, options_of(cost))
    assert isinstance(plan, Elimination)
    assert plan.largest == 30**2
