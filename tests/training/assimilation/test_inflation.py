"""Inflation gives spread back, and leaves the mean where it is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.training.assimilation import Additive, Multiplicative, Relaxation
from optprune.training.assimilation.inflation import Inflation, check_inflation

ALL: list[Any] = [Multiplicative(1.5), Additive(0.5), Relaxation(0.7), Relaxation(1.0)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ensemble(
    n: int = 12, p: int = 7, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return members after an analysis, spreads before it, and scales of the draw."""
    drawn = generator(seed)
    members = 5 + 0.3 * torch.randn(n, p, generator=drawn, dtype=dtype)
    before = 0.4 + torch.rand(p, generator=drawn, dtype=dtype)
    scales = 0.1 + torch.rand(p, generator=drawn, dtype=dtype)
    return members, before, scales


def inflated(inflation: Inflation, seed: int = 0, **changes: Any) -> torch.Tensor:
    members, before, scales = ensemble(seed=seed, **changes)
    inflation.inflate(members, before, scales, generator(seed))
    return members


@pytest.mark.parametrize("inflation", ALL, ids=repr)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_mean_is_untouched(inflation: Inflation, seed: int) -> None:
    members = ensemble(seed=seed)[0]
    found = inflated(inflation, seed)
    assert torch.allclose(found.mean(0), members.mean(0), rtol=0, atol=1e-13)
    assert not torch.equal(found, members)


@pytest.mark.parametrize("inflation", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_only_the_members_change_and_they_keep_their_type(
    inflation: Inflation, dtype: torch.dtype
) -> None:
    members, before, scales = ensemble(dtype=dtype)
    kept = before.clone(), scales.clone()
    inflation.inflate(members, before, scales, generator())
    assert members.dtype == dtype
    assert torch.equal(before, kept[0])
    assert torch.equal(scales, kept[1])


@pytest.mark.parametrize("inflation", ALL, ids=repr)
def test_a_seed_gives_the_same_and_the_global_generator_is_left_alone(
    inflation: Inflation,
) -> None:
    state = torch.get_rng_state()
    assert torch.equal(inflated(inflation), inflated(inflation))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("inflation", [i for i in ALL if not isinstance(i, Additive)], ids=repr)
def test_what_draws_nothing_permutes_with_the_members_and_stays_in_their_span(
    inflation: Inflation,
) -> None:
    members, before, scales = ensemble(n=4)
    order = torch.tensor([2, 0, 3, 1])
    turned, kept = members[order], generator().get_state()
    for each in (members, turned):
        drawn = generator()
        inflation.inflate(each, before, scales, drawn)
        assert torch.equal(drawn.get_state(), kept)
    assert torch.allclose(turned, members[order], atol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 1.02, 3.0])
def test_multiplicative_multiplies_deviations(factor: float) -> None:
    members = ensemble()[0]
    found = inflated(Multiplicative(factor))
    varied = members - members.mean(0)
    assert torch.allclose(found - found.mean(0), factor * varied, atol=1e-13)
    assert torch.allclose(found.T.cov(), factor**2 * members.T.cov(), atol=1e-12)


@pytest.mark.parametrize("weight", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_relaxation_gives_back_its_part_of_each_parameters_spread(weight: float, seed: int) -> None:
    members, before, _ = ensemble(seed=seed)
    found = inflated(Relaxation(weight), seed)
    after = members.std(0)
    assert torch.allclose(found.std(0), (1 - weight) * after + weight * before, atol=1e-13)
    # a scale for each parameter: correlations stay
    assert torch.allclose(found.T.corrcoef(), members.T.corrcoef(), atol=1e-12)


def test_relaxation_of_one_restores_the_spread_before() -> None:
    _, before, _ = ensemble()
    assert torch.allclose(inflated(Relaxation(1.0)).std(0), before, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_relaxation_leaves_parameters_without_spread_as_they_are(dtype: torch.dtype) -> None:
    members, before, scales = ensemble(dtype=dtype)
    members[:, 2] = 4.0
    Relaxation(1.0).inflate(members, before, scales, generator())
    assert torch.equal(members[:, 2], torch.full_like(members[:, 2], 4.0))
    assert bool(torch.isfinite(members).all())


def test_additive_leaves_the_span_of_the_old_deviations() -> None:
    members, before, scales = ensemble(n=5, p=9)
    varied = members - members.mean(0)
    assert torch.linalg.matrix_rank(varied) == 4
    Additive(0.1).inflate(members, before, scales, generator())
    both = torch.cat([varied, members - members.mean(0)])
    assert torch.linalg.matrix_rank(both) == 8
    assert torch.linalg.matrix_rank(torch.cat([varied, 2 * varied])) == 4


@pytest.mark.parametrize("fraction", [0.1, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_additive_adds_the_variance_that_is_asked_for(fraction: float, seed: int) -> None:
    members = torch.full((4000, 3), 2.0, dtype=torch.float64)  # no spread of its own
    scales = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    Additive(fraction).inflate(members, scales, scales, generator(seed))
    # the standard deviation of a variance of n numbers is sqrt(2 / n) of it
    assert torch.allclose(members.std(0), fraction * scales, rtol=4 * (2 * 4000) ** -0.5)
    correlation = members.T.corrcoef() - torch.eye(3, dtype=torch.float64)
    assert float(correlation.abs().max()) < 5 * 4000**-0.5


@pytest.mark.parametrize("seed", [0, 1])
def test_additive_adds_to_a_spread_as_variances_add(seed: int) -> None:
    drawn = generator(seed)
    members = torch.randn(20_000, 2, generator=drawn, dtype=torch.float64)
    scales = torch.tensor([0.5, 2.0], dtype=torch.float64)
    Additive(1.0).inflate(members, scales, scales, drawn)
    assert torch.allclose(members.var(0), 1 + scales.square(), rtol=0.05)


@pytest.mark.parametrize("kind", [Multiplicative, Additive, Relaxation])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf])
def test_values_that_are_not_positive_are_named(kind: Any, value: float) -> None:
    with pytest.raises(ArgumentError, match=rf"{kind.__name__}: `(factor|fraction|weight)` must"):
        kind(value)


@pytest.mark.parametrize("kind", [Multiplicative, Additive, Relaxation])
@pytest.mark.parametrize("value", ["1", None, True, [1.0]])
def test_values_that_are_no_numbers_are_named(kind: Any, value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=rf"{kind.__name__}: .* must be a number"):
        kind(value)


def test_deflating_and_more_than_all_of_the_spread_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"at least 1, got 0\.9: less would deflate"):
        Multiplicative(0.9)
    with pytest.raises(ArgumentError, match=r"`weight` must be at most 1, got 1\.1"):
        Relaxation(1.1)


class Own:
    """An inflation of a user."""

    def inflate(
        self,
        members: torch.Tensor,
        before: torch.Tensor,
        scales: torch.Tensor,
        generator: torch.Generator,
    ) -> None:
        members.add_(0)


@pytest.mark.parametrize("wrong", [1.02, "additive", Multiplicative, object()], ids=type)
def test_what_is_no_inflation_is_refused(wrong: object) -> None:
    with pytest.raises(ArgumentTypeError, match=r"ESMDA: `inflation` must be Multiplicative"):
        check_inflation("ESMDA", wrong)


@pytest.mark.parametrize("inflation", [None, Own(), *ALL], ids=lambda i: type(i).__name__)
def test_what_inflates_is_taken(inflation: object) -> None:
    check_inflation("ESMDA", inflation)


def test_equal_configurations_are_equal() -> None:
    assert Multiplicative(1.02) == Multiplicative()
    assert Additive(0.1) == Additive()
    assert Relaxation(0.5) == Relaxation() != Relaxation(0.4)
    assert len({Additive(), Additive(), Additive(0.2)}) == 2
    assert repr(Relaxation(0.25)) == "Relaxation(weight=0.25)"
