"""Costs in logarithms: both forms say the same as the polynomial."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optprune.allocation import Program, posynomials
from optprune.allocation.posynomials import log_form
from optprune.surgery import CostPolynomial

from .cases import COSTS, DENSE, concatenation, importances, parameters, polynomial

CASES = COSTS | {"biases": parameters(DENSE)}


@pytest.mark.parametrize("cost", CASES.values(), ids=CASES)
@pytest.mark.parametrize("factored", [False, True])
def test_sums_of_exponentials_are_the_cost(
    cost: CostPolynomial, factored: bool, monkeypatch: Any
) -> None:
    if factored:
        monkeypatch.setattr(posynomials, "_MOST_PRODUCTS", 0)
    n = len(cost.dense_widths)
    generator = np.random.default_rng(0)
    widths = generator.uniform(1, cost.dense_widths)
    for free in (np.arange(n), np.arange(1, n)):
        form = log_form([cost], free, widths)
        y = np.log(widths / cost.dense_widths)[free]
        n_factors = form.sums.shape[0] - 1
        z = np.zeros(n_factors)
        for row in range(n_factors):
            # A factor's variable is the logarithm of its sum: then its row is one.
            logs = np.concatenate([y, z])
            total = (form.sums @ np.exp(form.matrix @ logs + form.offsets))[1 + row]
            z[row] += np.log(total)
        sums = form.sums @ np.exp(form.matrix @ np.concatenate([y, z]) + form.offsets)
        assert sums[0] == pytest.approx(cost(widths)[0], rel=1e-12)
        np.testing.assert_allclose(sums[1:], 1, rtol=1e-12)


def test_both_forms_have_one_optimum(monkeypatch: Any) -> None:
    cost = concatenation(10)
    budgets = {"macs": 0.3 * cost.dense}
    importance = importances(10)
    expanded = Program({"macs": cost}, importance).solve(budgets)
    monkeypatch.setattr(posynomials, "_MOST_PRODUCTS", 0)
    factored = Program({"macs": cost}, importance).solve(budgets)
    np.testing.assert_allclose(factored.widths, expanded.widths, rtol=1e-5)
    assert factored.kkt <= 1e-4


def test_sums_on_both_sides_of_a_product_get_variables_of_their_own() -> None:
    wide = list(range(30))
    cost = polynomial([8] * 30, [(1, [(0, wide), (3, wide)]), (2, [(0, wide)])])
    form = log_form([cost], np.arange(30), np.full(30, 8.0))
    # Two factors of 30 and 31 summands and two monomials, not the 465 + 30 of the products.
    assert form.sums.shape == (3, 63)
    found = Program({"macs": cost}, np.ones(30)).solve({"macs": 0.25 * cost.dense})
    np.testing.assert_allclose(found.widths, found.widths[0], rtol=1e-5)
    assert found.gap <= 1e-5


def test_multiples_of_a_sum_share_a_variable_across_costs() -> None:
    wide = list(range(30))
    one = polynomial([8] * 30, [(1, [(0, wide), (0, wide)])])
    twice = CostPolynomial(
        one.coefficients, one.constants, 2 * one.slopes, one.dense_widths, "bytes"
    )
    form = log_form([one, twice], np.arange(30), np.full(30, 8.0))
    assert form.sums.shape[0] == 2 + 1


@pytest.mark.parametrize("cost", CASES.values(), ids=CASES)
def test_shares_are_derivatives_of_the_logarithm(cost: CostPolynomial) -> None:
    generator = np.random.default_rng(0)
    widths = generator.uniform(1, cost.dense_widths)
    step = 1e-6
    for group, share in enumerate(cost.shares(widths)):
        move = np.zeros(len(widths))
        move[group] = step
        up, down = cost(widths * np.exp(move))[0], cost(widths * np.exp(-move))[0]
        assert share == pytest.approx(np.log(up / down) / (2 * step), rel=1e-6, abs=1e-9)


def test_a_cost_of_nothing_has_no_shares() -> None:
    assert (polynomial([3, 4], []).shares(np.array([1.0, 2.0])) == 0).all()
