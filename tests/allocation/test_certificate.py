"""The Karush-Kuhn-Tucker residual: zero at optima that are known, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from optprune.allocation.certificate import Certificate, certify

from .cases import Floats, polynomial

COST = polynomial([100, 200], [(9, [(0, [0])]), (9, [(0, [1])])])
BUDGETS = {"macs": 9.0 * 80}
IMPORTANCE = np.array([1.0, 3.0])
OPTIMUM = np.array([20.0, 60.0])


def at(widths: Floats) -> Certificate:
    """Certify widths for importance times log width, between 1 and the dense widths."""
    logs = np.log(np.stack([np.ones(2), COST.dense_widths], axis=1) / widths[:, None])
    gains = IMPORTANCE[:, None] * logs
    groups = np.repeat(np.arange(2), 2)
    return certify({"macs": COST}, BUDGETS, widths, groups, logs.ravel(), gains.ravel())


def test_the_optimum_has_no_residual() -> None:
    found = at(OPTIMUM)
    assert found.kkt == pytest.approx(0, abs=1e-9)
    assert found.bound == pytest.approx(0, abs=1e-9)
    assert found.multipliers == pytest.approx([4.0])
    assert found.rates == pytest.approx(IMPORTANCE)


def test_other_shares_of_the_budget_are_not_stationary() -> None:
    residuals = [at(np.array([20.0 + off, 60.0 - off])).kkt for off in (0.1, 1.0, 5.0)]
    assert (np.diff([0.0, *residuals]) > 1e-3).all()


def test_what_is_left_of_a_budget_that_is_charged_is_a_residual() -> None:
    found = at(0.9 * OPTIMUM)
    # the multiplier, 4, times log(1 / 0.9), relative to the larger rate, 3
    assert found.kkt == pytest.approx(4 / 3 * -np.log(0.9), rel=1e-6)


def test_what_is_over_a_budget_is_a_residual() -> None:
    assert at(1.1 * OPTIMUM).kkt == pytest.approx(0.1, rel=1e-6)


def test_at_a_kink_any_slope_between_will_do() -> None:
    # gains rise by 3 for each unit of log width up to the kink, by 1 behind it
    def kinked(widths: Floats) -> Certificate:
        points = np.array([-1.0, 0.0, 1.0])
        logs = points[None, :] + np.log(OPTIMUM / widths)[:, None]
        gains = np.where(points < 0, 3 * points, points)
        groups = np.repeat(np.arange(2), 3)
        return certify({"macs": COST}, BUDGETS, widths, groups, logs.ravel(), np.tile(gains, 2))

    assert kinked(OPTIMUM).kkt == pytest.approx(0, abs=1e-9)
    assert kinked(np.array([25.0, 55.0])).kkt > 0.1


def test_without_budgets_the_slopes_alone_count() -> None:
    groups, logs = np.array([0, 0]), np.array([-1.0, 0.0])
    cost = polynomial([10], [(1, [(0, [0])])])
    at_the_top = certify({"m": cost}, {}, np.array([10.0]), groups, logs, logs)
    assert at_the_top.kkt == 0
    below = certify({"m": cost}, {}, np.array([5.0]), groups, logs + 0.5, logs)
    assert below.kkt == pytest.approx(1)


def test_a_bound_without_multipliers_holds_too(monkeypatch: Any) -> None:
    failed = OptimizeResult(x=None, message="numerical trouble")
    monkeypatch.setattr("scipy.optimize.linprog", lambda *_, **__: failed)
    found = at(OPTIMUM)
    assert (found.multipliers == 0).all()
    assert found.bound == pytest.approx(IMPORTANCE @ np.log(COST.dense_widths / OPTIMUM))
    assert found.kkt == pytest.approx(1)
