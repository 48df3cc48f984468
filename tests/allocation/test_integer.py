"""Integer widths: within budgets, near the optimum, with a bound that holds."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from optprune.allocation import Inverse, Log, Program, Saturating, allocate, allocate_values
from optprune.allocation.moves import Moves
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


def options_of(cost: CostPolynomial, step: int = 1) -> list[Any]:
    return [np.arange(1, width + 1)[::-step][::-1] for width in cost.dense_widths]


@pytest.mark.parametrize("utility", [Log(), Inverse(), Saturating(0.5)], ids=repr)
@pytest.mark.parametrize("name", CASES)
def test_widths_are_within_the_bound_and_near_the_best(name: str, utility: Any) -> None:
    cost = CASES[name]
    importance = np.random.default_rng(0).lognormal(size=len(cost.dense_widths))
    program = Program({"macs": cost}, importance, utility=utility)
    options = options_of(cost)
    for fraction in (0.2, 0.5, 0.8):
        budget = fraction * cost.dense
        found = allocate(program, {"macs": budget}, options)
        best = -least_loss(cost, budget, options, [-v for v in program.values(options)])
        assert found.costs["macs"] == cost(found.widths)[0]
        assert found.costs["macs"] <= budget
        assert found.bound >= best - 1e-9
        assert best - 1e-9 <= found.objective + 0.05 * (1 + abs(best))
        assert found.objective <= best + 1e-9
        values = utility.value(np.log(found.widths / cost.dense_widths))
        assert found.objective == pytest.approx(importance @ values)
        assert found.sense == "maximize"


def test_budgets_of_one_program_share_a_compilation(monkeypatch: Any) -> None:
    compiled = []
    construct = cp.Problem._construct_chain

    def counted(*args: Any, **kwargs: Any) -> Any:
        compiled.append(1)
        return construct(*args, **kwargs)

    monkeypatch.setattr(cp.Problem, "_construct_chain", counted)
    cost = CASES["chain"]
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
        importance = np.random.default_rng(seed).lognormal(size=4)
        program = Program({"macs": cost}, importance)
        options = options_of(cost)
        for fraction in (0.2, 0.5):
            found = allocate(program, {"macs": fraction * cost.dense}, options)
            values = [-v for v in program.values(options)]
            best += (
                found.objective >= -least_loss(cost, fraction * cost.dense, options, values) - 1e-9
            )
            total += 1
    assert best >= 0.8 * total


def test_nothing_more_fits() -> None:
    costs = {"macs": chain_cost((16, 32, 24)), "parameters": parameters((16, 32, 24))}
    program = Program(costs, [1.0, 2.0, 3.0])
    budgets = {"macs": 0.4 * costs["macs"].dense, "parameters": 0.5 * costs["parameters"].dense}
    found = allocate(program, budgets, options_of(costs["macs"]))
    for name, cost in costs.items():
        assert cost(found.widths)[0] == found.costs[name] <= budgets[name]
    for wider in found.widths + np.eye(3, dtype=int):
        if (wider <= costs["macs"].dense_widths).all():
            assert any(cost(wider)[0] > budgets[name] for name, cost in costs.items())


def test_options_are_kept_also_coarse_and_single_ones() -> None:
    cost = chain_cost((16, 32, 24))
    options = [[4, 16], [32], [1, 3, 8, 24]]
    program = Program({"macs": cost}, [1.0, 2.0, 3.0])
    found = allocate(program, {"macs": 0.5 * cost.dense}, options)
    assert all(width in allowed for width, allowed in zip(found.widths, options, strict=True))
    best = -least_loss(
        cost,
        0.5 * cost.dense,
        options,
        [-v for v in program.values([np.array(o) for o in options])],
    )
    assert found.objective == pytest.approx(best)
    assert found.bound >= best - 1e-9


def test_a_budget_that_is_the_cost_of_a_choice_is_used_up() -> None:
    cost = residual((4, 5, 3))
    program = Program({"macs": cost}, [1.0, 2.0, 1.5])
    options = options_of(cost)
    values = [-v for v in program.values(options)]
    rows = everywhere(options)
    for budget in np.unique(cost(rows))[::7]:
        found = allocate(program, {"macs": float(budget)}, options)
        assert found.costs["macs"] <= budget
        assert found.bound >= -least_loss(cost, float(budget), options, values) - 1e-9


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
    best = -least_loss(cost, budget, options, [-table for table in values])
    for start in (np.ones(3), cost.dense_widths, generator.uniform(1, cost.dense_widths)):
        found = allocate_values({"macs": cost}, {"macs": budget}, options, values, start)
        assert found.costs["macs"] <= budget
        assert found.objective <= best + 1e-9
        assert found.bound >= best - 1e-9


def test_moves_price_changes_exactly() -> None:
    cost = concatenation(4, 6)
    options = options_of(cost)
    values = [np.sqrt(widths) for widths in options]
    moves = Moves({"macs": cost}, {"macs": 0.5 * cost.dense}, options, values)
    moves.exchange()
    widths = np.array([w[index] for w, index in zip(options, moves.chosen, strict=True)])
    assert moves.fits
    assert moves._spent[0] == pytest.approx(cost(widths)[0], rel=1e-12)
    for flat, change in enumerate(moves._change[0]):
        other = widths.astype(float)
        other[moves._group[flat]] = moves._width[flat]
        assert change == pytest.approx(cost(other)[0] - cost(widths)[0], abs=1e-9)
