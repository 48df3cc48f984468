from __future__ import annotations

import math
import operator

import numpy as np
import pytest

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation import metric, metrics
from optprune.formulation.constraint import LARGEST_VIOLATION, Constraint


@metric(needs="structure")
def number(candidate: object) -> float:
    return 0.0


def test_a_comparison_makes_a_constraint() -> None:
    constraint = metrics.macs <= 0.5
    assert (constraint.metric, constraint.sense, constraint.bound) == (metrics.macs, "<=", 0.5)
    assert str(constraint) == "macs <= 0.5"
    assert (number >= 2).sense == ">="


def test_strict_comparisons_mean_the_same() -> None:
    assert (metrics.macs < 0.5) == (metrics.macs <= 0.5)
    assert (number > 2) == (number >= 2)


def test_a_number_may_stand_on_the_left() -> None:
    assert operator.ge(0.5, metrics.macs) == (metrics.macs <= 0.5)


def test_violation_is_relative_to_the_bound_and_zero_where_it_holds() -> None:
    assert (metrics.macs <= 0.5).violation(0.5) == 0.0
    assert (metrics.macs <= 0.5).violation(0.75) == pytest.approx(0.5)
    assert (number >= -4.0).violation(-6.0) == pytest.approx(0.5)
    assert (number >= 4.0).violation(5.0) == 0.0
    assert (number <= 0.0).violation(3.0) == 3.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("constraint", [number <= 1e-200, number >= 1e-200])
def test_violation_is_always_finite(constraint: Constraint, value: float) -> None:
    violation = constraint.violation(value)
    assert 0.0 <= violation <= LARGEST_VIOLATION
    if not math.isfinite(value):
        assert violation == LARGEST_VIOLATION


def test_violations_of_many_are_those_of_each() -> None:
    constraint = number <= 2.0
    values = np.array([1.0, 2.0, 3.0, np.nan])
    assert constraint.violations(values).tolist() == [constraint.violation(v) for v in values]


def test_a_chained_comparison_says_to_write_two() -> None:
    with pytest.raises(ArgumentError, match=r"write two, \[macs >= 0\.3, macs <= 0\.5\]|write two"):
        _ = 0.3 <= metrics.macs <= 0.5  # type: ignore[operator]


def test_a_constraint_has_no_truth_value() -> None:
    with pytest.raises(ArgumentError, match="no truth value"):
        bool(metrics.macs <= 0.5)


@pytest.mark.parametrize("fraction", [metrics.macs, metrics.parameters, metrics.activation_memory])
def test_a_bound_above_one_on_a_fraction_names_absolute(fraction: object) -> None:
    with pytest.raises(ArgumentError, match=r"\.absolute <= 2e\+07"):
        _ = fraction <= 20e6  # type: ignore[operator]


def test_the_same_bound_is_fine_in_absolute_numbers() -> None:
    assert (metrics.macs.absolute <= 20e6).bound == 20e6


def test_an_error_in_percent_is_refused_with_the_fraction() -> None:
    with pytest.raises(ArgumentError, match=r"for 5 % write 0\.05"):
        _ = metrics.error <= 5


@pytest.mark.parametrize("bound", ["0.5", None, True, metrics.macs])
def test_a_bound_that_is_no_number_is_refused(bound: object) -> None:
    with pytest.raises(ArgumentTypeError, match="compared with a number"):
        _ = metrics.loss <= bound  # type: ignore[operator]


def test_a_bound_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ArgumentError, match="finite"):
        _ = metrics.loss <= math.nan


def test_numpy_numbers_are_numbers() -> None:
    assert (metrics.macs <= np.float32(0.5)).bound == 0.5
    assert (number >= np.int64(3)).bound == 3.0
