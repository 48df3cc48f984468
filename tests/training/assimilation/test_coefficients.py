"""The inverses of the coefficients sum to 1: the data counts once, in however many steps."""

from __future__ import annotations

import ast
import itertools
import math
from typing import Any

import pytest
import torch

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.training.assimilation import coefficients
from optprune.training.assimilation.coefficients import (
    adaptive_coefficient,
    check_count,
    inverse_sum,
)


@pytest.mark.parametrize("kind", ["constant", "decreasing"])
@pytest.mark.parametrize("assimilations", [1, 2, 3, 4, 10, 37, 200])
def test_inverses_sum_to_one(kind: Any, assimilations: int) -> None:
    found = coefficients(kind, assimilations)
    assert len(found) == assimilations
    assert all(isinstance(alpha, float) and alpha > 0 for alpha in found)
    assert inverse_sum(found) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("assimilations", [1, 4, 10])
def test_constant_is_the_number_of_assimilations(assimilations: int) -> None:
    assert coefficients("constant", assimilations) == (float(assimilations),) * assimilations


@pytest.mark.parametrize("ratio", [1.1, 2, 2.0, 3.5])
@pytest.mark.parametrize("assimilations", [2, 5, 12])
def test_decreasing_falls_by_the_ratio(ratio: float, assimilations: int) -> None:
    found = coefficients("decreasing", assimilations, ratio)
    assert inverse_sum(found) == pytest.approx(1, abs=1e-14)
    for one, other in itertools.pairwise(found):
        assert one / other == pytest.approx(ratio, rel=1e-13)


def test_one_assimilation_is_the_smoother_itself() -> None:
    assert coefficients("constant", 1) == coefficients("decreasing", 1) == (1.0,)


@pytest.mark.parametrize("given", [(1.0,), (2, 2), (4.0, 4.0, 2.0), (28 / 3, 7.0, 4.0, 2.0)])
def test_given_coefficients_that_sum_are_taken_as_they_are(given: tuple[float, ...]) -> None:
    found = coefficients(given, 99)
    assert found == given
    assert all(isinstance(alpha, float) for alpha in found)


@pytest.mark.parametrize(
    ("given", "factor"),
    [
        ((1.0, 1.0, 1.0), "3"),
        ((2.0,), "0.5"),
        ((8.0, 8.0), "0.25"),
        ((9.333, 7.0, 4.0, 2.0), "1.000003827"),  # as Emerick and Reynolds print them
        ((1e-7, 3.0), "10000000.33"),
    ],
)
def test_given_coefficients_that_do_not_sum_are_refused_with_ones_that_do(
    given: tuple[float, ...], factor: str
) -> None:
    with pytest.raises(
        ArgumentError, match=f"must sum to 1, or the data counts {factor} times"
    ) as e:
        coefficients(given, 4)
    assert f"multiplied by {factor} would do" in str(e.value)
    offered = ast.literal_eval(str(e.value).partition("would do: ")[2].removesuffix("."))
    assert offered == pytest.approx(tuple(a * inverse_sum(given) for a in given), rel=1e-9)
    assert coefficients(offered, 4) == offered


@pytest.mark.parametrize("given", [(), ("2", 2.0), (True,), (None,), ([1.0],)])
def test_given_coefficients_that_are_no_numbers_are_refused(given: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="`coefficients` must be numbers"):
        coefficients(given, 4)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.inf, math.nan])
def test_given_coefficients_must_be_positive(wrong: float) -> None:
    with pytest.raises(ArgumentError, match="`coefficients` must be positive"):
        coefficients((1.0, wrong), 4)


@pytest.mark.parametrize("kind", ["rising", "adaptive", [2.0, 2.0], 4, None])
def test_other_kinds_are_named(kind: Any) -> None:
    with pytest.raises(ArgumentError, match="must be 'constant', 'decreasing', 'adaptive' or a"):
        coefficients(kind, 4)


@pytest.mark.parametrize("assimilations", [0, -1, 2.0, True, "4", None])
@pytest.mark.parametrize("kind", ["constant", "decreasing"])
def test_a_number_of_assimilations_is_a_positive_integer(kind: Any, assimilations: Any) -> None:
    with pytest.raises(ArgumentError, match="`assimilations` must be a whole number of at least 1"):
        coefficients(kind, assimilations)


def test_a_ratio_is_above_one() -> None:
    for ratio in (1.0, 0.5, -2.0, math.nan, math.inf):
        with pytest.raises(ArgumentError, match="`ratio` must be a number above 1"):
            coefficients("decreasing", 4, ratio)
    wrong: Any
    for wrong in ("2", None, True):
        with pytest.raises(ArgumentTypeError, match="`ratio` must be a number"):
            coefficients("decreasing", 4, wrong)


def test_more_decreasing_steps_than_floats_hold_are_refused() -> None:
    assert inverse_sum(coefficients("decreasing", 500)) == pytest.approx(1, abs=1e-14)
    with pytest.raises(ArgumentError, match="beyond what a float holds: take fewer"):
        coefficients("decreasing", 2000)


def innovations(scale: float, n: int = 30, d: int = 12, seed: int = 0) -> torch.Tensor:
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0, 100.0])
@pytest.mark.parametrize("spent", [0.0, 0.3, 0.999])
def test_the_adaptive_coefficient_is_that_of_the_formula(
    scale: float, spent: float, seed: int
) -> None:
    given = innovations(scale, seed=seed)
    misfits = [sum(value**2 for value in row) / 2 for row in given.double().tolist()]
    mean = sum(misfits) / 30
    variance = sum((misfit - mean) ** 2 for misfit in misfits) / 29
    step = min(max(12 / (2 * mean), math.sqrt(12 / (2 * variance))), 1 - spent)
    assert 1 / adaptive_coefficient(given, spent) == pytest.approx(step, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_adaptive_neither_changes_nor_rounds_the_innovations(dtype: torch.dtype) -> None:
    given = innovations(3.0).to(dtype)
    kept = given.clone()
    found = adaptive_coefficient(given, 0.25)
    assert torch.equal(given, kept)
    assert found == pytest.approx(adaptive_coefficient(given.double(), 0.25), rel=1e-12)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    assert found == pytest.approx(adaptive_coefficient(given[order], 0.25), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("scale", "several"), [(0.5, False), (3.0, True), (20.0, True)])
def test_adaptive_steps_never_exceed_what_is_left_and_end_at_one(
    scale: float, several: bool, seed: int
) -> None:
    found: list[float] = []
    while inverse_sum(found) < 1 - 1e-9:
        spent = inverse_sum(found)
        alpha = adaptive_coefficient(innovations(scale, seed=seed + len(found)), spent)
        assert 0 < 1 / alpha <= (1 - spent) * (1 + 1e-12)
        found.append(alpha)
        scale *= 0.9  # a fit reduces the misfit
        assert len(found) < 1000
    assert inverse_sum(found) == pytest.approx(1, abs=1e-14)
    assert (len(found) > 1) == several


def test_a_perfect_fit_takes_all_that_is_left_at_once() -> None:
    assert adaptive_coefficient(torch.zeros(5, 3), 0.0) == 1.0
    assert adaptive_coefficient(torch.zeros(5, 3), 0.75) == 4.0
    # all members alike: the controller of the variance is not bound
    assert adaptive_coefficient(torch.full((5, 3), 100.0), 0.5) == 2.0


@pytest.mark.parametrize("value", [0, -3, 1.0, True, "1", None])
def test_counts_are_whole_and_positive(value: Any) -> None:
    with pytest.raises(ArgumentError, match="`members` must be a whole number of at least 1"):
        check_count("members", value)
    check_count("members", 1)
    check_count("members", 0, least=0)
