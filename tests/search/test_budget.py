from __future__ import annotations

import math

import pytest

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.search import Budget


@pytest.mark.parametrize("name", ["evaluations", "seconds", "samples"])
@pytest.mark.parametrize("value", [0, -3])
def test_a_budget_of_nothing_is_an_error(name: str, value: int) -> None:
    with pytest.raises(ArgumentError, match=f"{name}={value}.*greater than 0"):
        Budget(**{name: value})


def test_seconds_that_are_no_number_are_an_error() -> None:
    with pytest.raises(ArgumentError, match="seconds=nan"):
        Budget(seconds=math.nan)


def test_no_budget_at_all_is_an_error_that_names_the_three() -> None:
    with pytest.raises(ArgumentError, match="evaluations=, seconds= or samples="):
        Budget()


@pytest.mark.parametrize("value", [1.5, "600", True])
def test_evaluations_are_whole_numbers(value: object) -> None:
    with pytest.raises(ArgumentTypeError, match="whole number"):
        Budget(evaluations=value)  # type: ignore[arg-type]


def test_the_limit_that_is_reached_is_named() -> None:
    budget = Budget(evaluations=10, seconds=2.5, samples=100)
    assert budget.spent(9, 2.4, 99) == ""
    assert budget.spent(10, 0.0, 0) == "budget of 10 evaluations used up"
    assert budget.spent(0, 2.5, 0) == "budget of 2.5 seconds used up"
    assert budget.spent(0, 0.0, 120) == "budget of 100 samples used up"


def test_what_remains_is_counted_in_evaluations() -> None:
    assert Budget(evaluations=10).remaining(4) == 6
    assert Budget(seconds=1.0).remaining(4) == math.inf
