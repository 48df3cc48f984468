"""Integer widths: within budgets, near the optimum, with a bound that holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optprune.allocation import Inverse, Log, Program, Saturating, allocate, allocate_values
from optprune.errors import InfeasibleError

from .cases import (
    SMALL,
    Floats,
    both,
    chain_cost,
    compilations,
    everywhere,
    fractions,
    importances,
    least_loss,
    most_utility,
    options_of,
    residual,
    triangle,
)


@pytest.mark.parametrize("utility", [Log(), Inverse(), Saturating(0.5)], ids=repr)
@pytest.mark.parametrize("name", SMALL)
def test_widths_are_within_the_bound_and_near_the_best(name: str, utility: Any) -> None:
    cost = SMALL[name]
    importance = importances(len(cost.dense_widths))
    program = Program({"macs": cost}, importance, utility=utility)
    options = options_of(cost)
    for fraction in (0.2, 0.5, 0.8):
        budgets = {"macs": fraction * cost.dense}
        found = allocate(program, budgets, options)
        best = most_utility(program, budgets, options)
        assert found.costs["macs"] == cost(found.widths)[0]
        assert found.costs["macs"] <= budgets["macs"]
        assert found.bound >= best - 1e-9
        assert best - 1e-9 <= found.objective + 0.05 * (1 + abs(best))
        assert found.objective <= best + 1e-9
        values = utility.value(np.log(found.widths / cost.dense_widths))
        assert found.objective == pytest.approx(importance @ values)
        assert found.sense == "maximize"


def test_budgets_of_one_program_share_a_compilation(monkeypatch: Any) -> None:
    compiled = compilations(monkeypatch)
    cost = SMALL["chain"]
    program = Program({"macs": cost}, np.ones(4))
    every = options_of(cost)
    found = [allocate(program, {"macs": share * cost.dense}, every) for share in (0.7, 0.5, 0.3)]
    assert len(compiled) == 1
    # other bounds than the program's make a program of their own
    narrower = [widths[1:] for widths in every]
    other = allocate(program, {"macs": 0.5 * cost.dense}, narrower)
    assert len(compiled) == 2
    assert (other.widths >= 2).all()
    for one, share in zip(found, (0.7, 0.5, 0.3), strict=True):
        assert one.costs["macs"] <= share * cost.dense


def test_most_choices_are_the_best() -> None:
    best = total = 0
    for seed in range(8):
        cost = chain_cost((8, 6, 7, 5), seed)
        program = Program({"macs": cost}, importances(4, seed))
        options = options_of(cost)
        for fraction in (0.2, 0.5):
            budgets = {"macs": fraction * cost.dense}
            found = allocate(program, budgets, options)
            best += found.objective >= most_utility(program, budgets, options) - 1e-9
            total += 1
    assert best >= 0.9 * total


def test_nothing_more_fits() -> None:
    costs = both((16, 32, 24))
    program = Program(costs, [1.0, 2.0, 3.0])
    budgets = fractions(costs, 0.4, 0.5)
    found = allocate(program, budgets, options_of(costs["macs"]))
    for name, cost in costs.items():
        assert cost(found.widths)[0] == found.costs[name] <= budgets[name]
    for wider in found.widths + np.eye(3, dtype=int):
        if (wider <= costs["macs"].dense_widths).all():
            assert any(cost(wider)[0] > budgets[name] for name, cost in costs.items())


def test_options_are_kept_also_coarse_and_single_ones() -> None:
    cost = chain_cost((16, 32, 24))
    options = [np.array([4, 16]), np.array([32]), np.array([1, 3, 8, 24])]
    program = Program({"macs": cost}, [1.0, 2.0, 3.0])
    budgets = {"macs": 0.5 * cost.dense}
    found = allocate(program, budgets, options)
    assert all(width in allowed for width, allowed in zip(found.widths, options, strict=True))
    best = most_utility(program, budgets, options)
    assert found.objective == pytest.approx(best)
    assert found.bound >= best - 1e-9


def test_a_budget_that_is_the_cost_of_a_choice_is_used_up() -> None:
    cost = residual((4, 5, 3))
    program = Program({"macs": cost}, [1.0, 2.0, 1.5])
    options = options_of(cost)
    for budget in np.unique(cost(everywhere(options)))[::7]:
        found = allocate(program, {"macs": float(budget)}, options)
        assert found.costs["macs"] <= budget
        assert found.bound >= most_utility(program, {"macs": float(budget)}, options) - 1e-9


@pytest.mark.parametrize("step", [1, 3])
def test_two_budgets_are_met_and_bounded(step: int) -> None:
    costs = both((8, 6, 7, 5))
    options = options_of(costs["macs"], step)
    for seed in range(4):
        program = Program(costs, importances(4, seed))
        budgets = fractions(costs, 0.4, 0.35)
        found = allocate(program, budgets, options)
        best = most_utility(program, budgets, options)
        assert all(found.costs[name] <= budget for name, budget in budgets.items())
        assert found.objective <= best + 1e-9 <= found.bound + 2e-9


def test_a_loose_budget_gives_the_widest_options() -> None:
    cost = chain_cost((16, 32, 24))
    found = allocate(Program({"macs": cost}, [1.0, 2.0, 3.0]), {}, options_of(cost))
    assert (found.widths == cost.dense_widths).all()
    assert found.gap == pytest.approx(0, abs=1e-12)
    assert found.multipliers == {}


def test_narrowest_options_over_the_budget_are_named() -> None:
    cost = chain_cost((16, 32, 24))
    least = float(cost([4, 4, 4])[0])
    with pytest.raises(InfeasibleError, match=rf"narrowest options have {least:g}"):
        allocate(Program({"macs": cost}, [1, 1, 1]), {"macs": least - 1}, [[4, 8]] * 3)


@pytest.mark.parametrize("seed", range(4))
def test_any_start_has_a_bound_that_holds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    cost = triangle()
    options = options_of(cost)
    values: list[Floats] = [generator.normal(size=len(widths)) for widths in options]
    budget = 0.4 * cost.dense
    best = -least_loss({"macs": cost}, {"macs": budget}, options, [-table for table in values])
    for start in (np.ones(3), cost.dense_widths, generator.uniform(1, cost.dense_widths)):
        found = allocate_values({"macs": cost}, {"macs": budget}, options, values, start)
        assert found.costs["macs"] <= budget
        assert found.objective <= best + 1e-9
        assert found.bound >= best - 1e-9


def test_a_result_tells_what_it_rests_on() -> None:
    costs = both()
    importance = importances(5)
    program = Program(costs, importance)
    budgets = fractions(costs, 0.3, 0.5)
    options = options_of(costs["macs"])
    found, relaxed = allocate(program, budgets, options), program.solve(budgets)
    assert found.objective == pytest.approx(importance @ np.log(found.widths / program.dense))
    assert found.unlimited == pytest.approx(0, abs=1e-12)
    assert found.objective <= found.bound <= relaxed.bound
    assert found.gap == found.bound - found.objective
    assert found.relative_gap == pytest.approx(found.gap / abs(found.objective))
    assert found.costs == {name: cost(found.widths)[0] for name, cost in costs.items()}
    assert found.budgets == budgets
    assert found.active == relaxed.active == ("macs",)
    np.testing.assert_allclose(found.relaxed, relaxed.widths)
    assert found.kkt == relaxed.kkt <= 1e-4
    for name, budget in budgets.items():
        assert found.multipliers[name] == pytest.approx(relaxed.multipliers[name], rel=1e-4)
        assert found.prices[name] == found.multipliers[name] / budget
    assert found.prices["macs"] > found.prices["parameters"] == 0


@pytest.mark.parametrize("scale", [1e-8, 1e6])
def test_the_relative_gap_has_no_scale_and_no_origin(scale: float) -> None:
    cost = chain_cost((8, 6, 7))
    options = options_of(cost, 3)
    values = [np.sqrt(widths) for widths in options]
    given = {"macs": cost}, {"macs": 0.3 * cost.dense}, options
    one = allocate_values(*given, values, [3, 3, 3], largest=0)
    other = allocate_values(*given, [scale * (v - 7) for v in values], [3, 3, 3], largest=0)
    assert (one.widths == other.widths).all()
    assert 0 < one.relative_gap < 1
    assert other.relative_gap == pytest.approx(one.relative_gap, rel=1e-6)
    assert allocate_values({"macs": cost}, {}, options, values, [8, 6, 7]).relative_gap == 0


def test_elimination_knows_the_grid_and_narrows_the_gap() -> None:
    cost = chain_cost((64, 96, 64, 128, 96, 64))
    options = options_of(cost, 16)
    values = [np.log(widths) for widths in options]
    near = Program({"macs": cost}, np.ones(6)).solve({"macs": 0.3 * cost.dense}).widths
    given = {"macs": cost}, {"macs": 0.3 * cost.dense}, options, values, near
    without, found = allocate_values(*given, largest=0), allocate_values(*given)
    assert "elimination (largest table" in found.status
    assert "elimination" not in without.status
    assert found.gap < 0.8 * without.gap
    assert found.objective >= without.objective
    assert found.bound <= without.bound


def test_a_gap_that_is_small_enough_ends_the_search() -> None:
    cost = chain_cost((8, 6, 7))
    options = options_of(cost)
    values = [np.sqrt(widths) for widths in options]
    given = {"macs": cost}, {"macs": 0.3 * cost.dense}, options, values, [3, 3, 3]
    assert allocate_values(*given, enough=1.0).status == "rounded down and filled"
    assert "exchanges" in allocate_values(*given, enough=0.0, largest=0).status
