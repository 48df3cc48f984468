"""Utilities: values, derivatives, and which are refused."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from optprune.allocation import Inverse, Linear, Log, Program, Saturating
from optprune.allocation.utilities import OwnUtility
from optprune.errors import ArgumentError, ArgumentTypeError

from .cases import chain_cost

COST = chain_cost((16, 32, 24))
EVERY = (
    Log(),
    Inverse(),
    Saturating(0.5),
    Saturating(3.0),
    Linear(),
    OwnUtility(lambda y: -cp.square(y) + y),
)


@pytest.mark.parametrize("utility", EVERY, ids=lambda u: type(u).__name__)
def test_values_are_those_of_the_expression(utility: Any) -> None:
    y = np.log([0.1, 0.5, 1.0])
    np.testing.assert_allclose(utility.value(y), utility.expression(cp.Constant(y)).value)


@pytest.mark.parametrize("utility", EVERY, ids=lambda u: type(u).__name__)
def test_slopes_are_derivatives(utility: Any) -> None:
    y, step = np.log([0.1, 0.5, 0.9]), 1e-6
    slopes = (utility.value(y + step) - utility.value(y - step)) / (2 * step)
    np.testing.assert_allclose(utility.slope(y), slopes, rtol=1e-6)


def test_utilities_are_what_their_names_say() -> None:
    x = np.array([0.25, 1.0])
    y = np.log(x)
    np.testing.assert_allclose(Log().value(y), np.log(x))
    np.testing.assert_allclose(Inverse().value(y), -1 / x)
    np.testing.assert_allclose(Saturating(2).value(y), 1 - x**-2.0, atol=1e-12)
    np.testing.assert_allclose(Linear().value(y), x)


def test_a_utility_of_the_users_own_is_like_the_one_that_it_writes() -> None:
    budgets = {"macs": 0.3 * COST.dense}
    own = Program({"macs": COST}, [1, 2, 3], utility=lambda y: -cp.exp(-y)).solve(budgets)
    ours = Program({"macs": COST}, [1, 2, 3], utility=Inverse()).solve(budgets)
    np.testing.assert_allclose(own.widths, ours.widths, rtol=1e-6)
    assert own.kkt <= 1e-4
    assert own.bound == pytest.approx(ours.bound, rel=1e-6)


@pytest.mark.parametrize("n", [1, 2])
def test_own_utilities_may_be_constant_affine_or_curved(n: int) -> None:
    y = np.full(n, -0.3)
    for function, slope in (
        (lambda _: cp.Constant(np.zeros(n)), 0.0),
        (lambda y: y, 1.0),
        (lambda y: -cp.square(y), 0.6),
        (lambda y: cp.minimum(y, -1), 0.0),
    ):
        np.testing.assert_allclose(OwnUtility(function).slope(y), slope)


def test_a_utility_that_falls_again_has_its_optimum_inside() -> None:
    found = Program({"macs": COST}, [1, 1, 1], utility=lambda y: -cp.square(y + 0.5)).solve({})
    np.testing.assert_allclose(found.widths / COST.dense_widths, np.exp(-0.5), rtol=1e-4)
    assert found.gap <= 1e-6


def test_a_utility_with_kinks_has_a_bound_that_holds() -> None:
    def kinked(y: Any) -> Any:
        return cp.minimum(y, -0.7)

    program = Program({"macs": COST}, [1, 1, 1], utility=kinked)
    found = program.solve({"macs": 0.1 * COST.dense})
    rows = np.random.default_rng(0).uniform(1, COST.dense_widths, (3000, 3))
    rows = rows[COST(rows) <= 0.1 * COST.dense]
    values = np.minimum(np.log(rows / COST.dense_widths), -0.7).sum(axis=1)
    assert found.bound >= values.max() - 1e-9


@pytest.mark.parametrize(
    ("utility", "message"),
    [
        (Linear(), r"Linear\(\) is convex; use SignomialProgram"),
        (lambda y: cp.exp(y), "is convex. cvxpy must be able to see"),
        (lambda y: cp.exp(y) - cp.square(y), "is unknown"),
        (lambda y: cp.sum(y), r"shape \(3,\); got \(\)"),
        (lambda y: cp.cumsum(y), "mixes groups"),
    ],
)
def test_a_utility_that_no_convex_program_takes_is_refused(utility: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Program({"macs": COST}, [1, 1, 1], utility=utility)


@pytest.mark.parametrize("utility", ["log", 3, lambda y: 3.0])
def test_what_is_no_utility_is_refused(utility: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="utility"):
        Program({"macs": COST}, [1, 1, 1], utility=utility)


@pytest.mark.parametrize("p", [0, -1, float("nan"), float("inf")])
def test_saturation_needs_a_positive_power(p: float) -> None:
    with pytest.raises(ArgumentError, match="above 0"):
        Saturating(p)


def test_a_utility_that_is_not_defined_everywhere_is_named() -> None:
    with pytest.raises(ArgumentError, match="not defined at y"):
        Program({"macs": COST}, [1, 1, 1], utility=lambda y: cp.log(y))
