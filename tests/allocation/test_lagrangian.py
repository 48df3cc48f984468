"""The Lagrangian bound: the greatest of all charges, whatever the first."""

from __future__ import annotations

import numpy as np
import pytest

from optprune.allocation.elimination import Elimination
from optprune.allocation.lagrangian import lagrangian

from .cases import SMALL, losses_of, options_of, structures, sums_of


@pytest.mark.parametrize("name", SMALL)
def test_the_charge_maximizes_the_dual_bound(name: str) -> None:
    cost = SMALL[name]
    options = options_of(cost)
    losses = losses_of(options, 6)
    plan = Elimination.plan(cost, options)
    assert isinstance(plan, Elimination)
    budget = 0.35 * cost.dense
    found = lagrangian(plan, cost, budget, options, losses)
    sums, spent = sums_of(losses), cost(structures(cost))
    duals = [(sums + charge * (spent - budget)).min() for charge in np.geomspace(1e-7, 1, 400)]
    assert found.bound >= max(duals) - 1e-12
    assert found.bound == pytest.approx(
        (sums + found.charge * (spent - budget)).min(), rel=1e-9, abs=1e-12
    )
    assert found.bound <= sums[spent <= budget].min() + 1e-12


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("factor", [1e-9, 1e-3, 0.99, 1.0, 1.01, 1e3, 1e9])
def test_the_first_charge_has_no_influence(name: str, factor: float) -> None:
    cost = SMALL[name]
    options = options_of(cost)
    losses = losses_of(options, 2)
    budget = 0.3 * cost.dense
    plan = Elimination.plan(cost, options)
    assert isinstance(plan, Elimination)
    found = lagrangian(plan, cost, budget, options, losses)
    other = lagrangian(plan, cost, budget, options, losses, factor * found.charge)
    assert other.bound == pytest.approx(found.bound, rel=1e-9)
    widths = [w[index] for w, index in zip(options, other.within, strict=True)]
    assert cost(widths)[0] <= budget


def test_a_budget_that_the_least_losses_meet_is_charged_nothing() -> None:
    cost = SMALL["chain"]
    options = options_of(cost)
    losses = losses_of(options, 0)
    plan = Elimination.plan(cost, options)
    assert isinstance(plan, Elimination)
    found = lagrangian(plan, cost, cost.dense, options, losses, first=1.0)
    assert found.charge == 0
    assert found.over is None
    assert found.bound == pytest.approx(sum(table.min() for table in losses))
