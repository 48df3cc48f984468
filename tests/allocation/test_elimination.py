"""Elimination: exact minima of losses plus charged cost."""

from __future__ import annotations

from typing import Any

import pytest

from optprune.allocation import elimination
from optprune.allocation.elimination import Elimination

from .cases import SMALL, chain_cost, losses_of, options_of, polynomial, structures, sums_of


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("charge", [0.0, 1e-4, 1e-2])
def test_elimination_minimizes_the_lagrangian(name: str, charge: float) -> None:
    cost = SMALL[name]
    options = options_of(cost)
    losses = losses_of(options, 5)
    plan = Elimination.plan(cost, options)
    assert isinstance(plan, Elimination)
    chosen = plan.minimize(losses, charge)
    widths = [w[index] for w, index in zip(options, chosen, strict=True)]
    value = sum(t[i] for t, i in zip(losses, chosen, strict=True)) + charge * cost(widths)[0]
    sums = sums_of(losses) + charge * cost(structures(cost))
    assert value == pytest.approx(sums.min(), rel=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_every_option_has_the_least_lagrangian_of_all_choices_with_it(name: str) -> None:
    cost = SMALL[name]
    options = options_of(cost)
    losses = losses_of(options, 7)
    plan = Elimination.plan(cost, options)
    assert isinstance(plan, Elimination)
    found = plan.least(losses, 1e-3)
    assert found is not None
    rows = structures(cost)
    sums = sums_of(losses) + 1e-3 * cost(rows)
    for group, table in enumerate(found):
        for width, least in zip(options[group], table, strict=True):
            assert least == pytest.approx(sums[rows[:, group] == width].min(), rel=1e-12)


def test_groups_that_share_no_term_are_added_up() -> None:
    cost = polynomial((4, 5, 6), [(2, [(0, [0]), (0, [1])]), (3, [(0, [2])]), (7, [])])
    options = options_of(cost)
    losses = losses_of(options, 8)
    plan = Elimination.plan(cost, options)
    assert isinstance(plan, Elimination)
    found = plan.least(losses, 1e-2)
    assert found is not None
    rows = structures(cost)
    sums = sums_of(losses) + 1e-2 * cost(rows)
    for group, table in enumerate(found):
        expected = [sums[rows[:, group] == width].min() for width in options[group]]
        assert table == pytest.approx(expected, rel=1e-12)


def test_tables_that_are_too_large_together_are_not_held(monkeypatch: Any) -> None:
    cost = SMALL["chain"]
    options = options_of(cost)
    plan = Elimination.plan(cost, options)
    assert isinstance(plan, Elimination)
    monkeypatch.setattr(elimination, "_MOST_ENTRIES", plan.entries - 1)
    assert plan.least(losses_of(options, 0), 1e-3) is None


def test_chains_need_tables_of_two_groups_only() -> None:
    cost = chain_cost((30,) * 20)
    plan = Elimination.plan(cost, options_of(cost))
    assert isinstance(plan, Elimination)
    assert plan.largest == 30**2
