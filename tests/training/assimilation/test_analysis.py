"""One analysis: the formulas of the Kalman update, in the space of the members."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest
import torch

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.training.assimilation import analysis
from optprune.training.assimilation.analysis import FORMS, SOLVERS, apply, transform
from optprune.training.assimilation.noise import Noise
from tests.training.assimilation.cases import Linear, distance, linear

WAYS = [*product(FORMS, SOLVERS)]


def generator(seed: int = 0) -> torch.Generator:
    """Return a seeded generator."""
    return torch.Generator().manual_seed(seed)


def conditioned(case: Linear, members: torch.Tensor, **changes: Any) -> torch.Tensor:
    """Return the members after one analysis."""
    arguments = {"generator": generator()} | changes
    return analysis(members, members @ case.model.T, case.observed, case.covariance, **arguments)


def assimilated(
    case: Linear, members: torch.Tensor, times: int, form: Any, solver: Any, seed: int
) -> torch.Tensor:
    """Return the members after several analyses of the same data, each with inflated errors."""
    drawn = generator(seed)
    for _ in range(times):
        members = conditioned(
            case, members, inflation=float(times), form=form, solver=solver, generator=drawn
        )
    return members


@pytest.mark.parametrize(("form", "solver"), [w for w in WAYS if w[0] != "denkf"])
@pytest.mark.parametrize("assimilations", [1, 4, 10])
def test_a_linear_problem_gives_the_analytic_posterior(
    form: Any, solver: Any, assimilations: int
) -> None:
    means, covariances = [], []
    for seed in range(5):
        case = linear(seed=seed)
        members = assimilated(case, case.prior(300, seed), assimilations, form, solver, seed + 100)
        mean, covariance = case.posterior
        means.append(distance(members.mean(0), mean))
        covariances.append(distance(members.T.cov(), covariance))
    assert sum(means) / 5 < 0.15
    assert sum(covariances) / 5 < 0.15


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_square_root_is_the_same_for_any_number_of_assimilations(seed: int) -> None:
    case = linear(seed=seed)
    members = case.prior(40, seed)
    once, often = (assimilated(case, members, n, "etkf", "cholesky", 0) for n in (1, 10))
    assert torch.allclose(once.mean(0), often.mean(0), atol=1e-10)
    assert torch.allclose(once.T.cov(), often.T.cov(), atol=1e-10)


@pytest.mark.parametrize("form", ["perturbed", "etkf"])
def test_the_error_falls_with_the_root_of_the_members(form: Any) -> None:
    errors: dict[int, list[float]] = {25: [], 225: []}
    for n, found in errors.items():
        for seed in range(20):
            case = linear(seed=seed)
            members = conditioned(
                case, case.prior(n, seed), form=form, generator=generator(seed + 50)
            )
            found.append(distance(members.mean(0), case.posterior[0]))
    few, many = (torch.tensor(found).square().mean().sqrt() for found in errors.values())
    assert 2 < float(few / many) < 4.5  # sqrt(225 / 25) = 3


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("shape", [(30, 50, 7), (12, 5, 40)])
def test_all_ways_agree_with_the_textbook(seed: int, shape: tuple[int, int, int]) -> None:
    n, parameters, observations = shape
    case = linear(parameters, observations, seed)
    members = case.prior(n, seed)
    predictions = members @ case.model.T
    varied, moved = members - members.mean(0), predictions - predictions.mean(0)
    cross = varied.T @ moved / (n - 1)
    both = moved.T @ moved / (n - 1) + case.covariance
    gain = cross @ torch.linalg.inv(both)
    mean = members.mean(0) + gain @ (case.observed - predictions.mean(0))
    covariance = varied.T @ varied / (n - 1) - gain @ cross.T
    for solver in SOLVERS:
        found = conditioned(case, members, form="etkf", solver=solver)
        assert torch.allclose(found.mean(0), mean, atol=1e-10)
        assert torch.allclose(found.T.cov(), covariance, atol=1e-10)
        found = conditioned(case, members, form="denkf", solver=solver)
        half = varied - 0.5 * moved @ gain.T
        assert torch.allclose(found, mean + half, atol=1e-10)
        found = conditioned(case, members, form="perturbed", solver=solver)
        assert torch.allclose(found.mean(0), mean, atol=1e-10)  # perturbations of mean zero
    pair = [conditioned(case, members, solver=solver) for solver in SOLVERS]
    assert torch.allclose(*pair, atol=1e-10)


def test_dense_errors_are_whitened_to_the_identity() -> None:
    case = linear(seed=3)
    white = torch.randn(100_000, 4, generator=generator(), dtype=torch.float64)
    errors = white @ torch.linalg.cholesky(case.covariance).T
    assert distance(errors.T.cov(), case.covariance) < 0.01
    found = Noise.of(case.covariance, 4, owner="test").whiten(errors)
    assert torch.allclose(found, white, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_a_diagonal_covariance_is_a_dense_one(form: Any) -> None:
    case = linear(seed=1)
    members, variances = case.prior(25, 0), torch.tensor([0.5, 1.0, 2.0, 0.1], dtype=torch.float64)
    found = [
        conditioned(Linear(case.model, case.observed, covariance), members, form=form)
        for covariance in (variances, variances.diag())
    ]
    assert torch.allclose(*found, atol=1e-12)


@pytest.mark.parametrize(("form", "solver"), WAYS)
def test_the_result_stays_in_the_span_of_the_members(form: Any, solver: Any) -> None:
    case = linear(parameters=30)
    members = case.prior(8, 0)
    found = conditioned(case, members, form=form, solver=solver)
    mean = members.mean(0)
    basis = torch.linalg.qr((members - mean).T).Q
    moved = found - mean
    assert torch.allclose(moved, moved @ basis @ basis.T, atol=1e-9)


@pytest.mark.parametrize(("form", "solver"), WAYS)
def test_infinite_errors_change_nothing(form: Any, solver: Any) -> None:
    case = linear()
    vague = Linear(case.model, case.observed, torch.full((4,), 1e18, dtype=torch.float64))
    members = case.prior(10, 0)
    found = conditioned(vague, members, form=form, solver=solver)
    assert torch.allclose(found, members, atol=1e-7)


@pytest.mark.parametrize("form", ["perturbed", "etkf"])
def test_no_errors_interpolate(form: Any) -> None:
    case = linear(parameters=12, observations=4)
    exact = Linear(case.model, case.observed, torch.full((4,), 1e-16, dtype=torch.float64))
    found = conditioned(exact, case.prior(20, 0), form=form, solver="svd")
    assert torch.allclose(found @ case.model.T, case.observed.expand(20, 4), atol=1e-5)


@pytest.mark.parametrize("form", ["etkf", "denkf"])
def test_the_order_of_observations_and_of_members_does_not_matter(form: Any) -> None:
    case = linear()
    members = case.prior(15, 0)
    plain = conditioned(case, members, form=form)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = Linear(case.model[order], case.observed[order], case.covariance[order][:, order])
    assert torch.allclose(conditioned(shuffled, members, form=form), plain, atol=1e-10)
    places = torch.randperm(15, generator=generator())
    assert torch.allclose(conditioned(case, members[places], form=form), plain[places], atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_other_units_of_parameters_and_other_blocks_give_the_same(form: Any) -> None:
    case = linear(parameters=9)
    members = case.prior(15, 0)
    plain = conditioned(case, members, form=form)
    factor, shift = torch.logspace(-3, 3, 9, dtype=torch.float64), torch.arange(9.0).double()
    found = analysis(
        members * factor + shift,
        members @ case.model.T,
        case.observed,
        case.covariance,
        form=form,
        generator=generator(),
    )
    assert torch.allclose((found - shift) / factor, plain, atol=1e-8)
    for block in (1, 4, 100):
        found = conditioned(case, members, form=form, block=block)
        assert torch.allclose(found, plain, atol=1e-12)


def test_batches_one_after_another_are_all_at_once() -> None:
    case = linear(observations=6)
    independent = Linear(case.model, case.observed, torch.ones(6, dtype=torch.float64))
    members = case.prior(300, 0)
    at_once = conditioned(independent, members, form="etkf")
    found = members
    for part in (slice(0, 1), slice(1, 4), slice(4, 6)):
        piece = Linear(case.model[part], case.observed[part], independent.covariance[part])
        found = conditioned(piece, found, form="etkf")
    assert torch.allclose(found.mean(0), at_once.mean(0), atol=1e-10)
    assert torch.allclose(found.T.cov(), at_once.T.cov(), atol=1e-10)


def test_inputs_stay_as_they_were_unless_written_to() -> None:
    case = linear()
    members = case.prior(10, 0)
    before, predictions = members.clone(), members @ case.model.T
    then = predictions.clone()
    found = conditioned(case, members)
    assert torch.equal(members, before)
    assert torch.equal(predictions, then)
    assert conditioned(case, members, out=members) is members
    assert torch.equal(members, found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_of_numbers_is_kept(dtype: torch.dtype) -> None:
    case = linear()
    members = case.prior(10, 0)
    found = analysis(
        members.to(dtype),
        (members @ case.model.T).to(dtype),
        case.observed.to(dtype),
        case.covariance,
        form="etkf",
    )
    assert found.dtype == dtype
    assert torch.allclose(found.double(), conditioned(case, members, form="etkf"), atol=1e-4)


def test_truncation_drops_the_smallest_singular_values() -> None:
    deviations = torch.diag(torch.tensor([5.0, 4.0, 1.0], dtype=torch.float64))
    innovations = torch.ones(3, 3, dtype=torch.float64)
    kept = transform(deviations, innovations, solver="svd", energy=0.85)
    dropped = deviations.clone()
    dropped[2, 2] = 0
    assert torch.allclose(kept, transform(dropped, innovations, solver="svd"))
    assert not torch.allclose(kept, transform(deviations, innovations, solver="svd"))


def test_a_matrix_of_fewer_rows_makes_fewer_members() -> None:
    members = torch.arange(12.0).reshape(3, 4)
    assert torch.equal(apply(torch.full((1, 3), 1 / 3), members)[0], members.mean(0))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"members": torch.ones(1, 5)}, ArgumentError, "at least two members"),
        ({"members": torch.ones(6, 5, dtype=torch.int64)}, ArgumentTypeError, "`members`"),
        ({"members": torch.full((6, 5), torch.nan)}, ArgumentError, "not finite"),
        ({"predictions": torch.ones(6, 3)}, ArgumentError, "shape (6, 4)"),
        ({"predictions": torch.full((6, 4), torch.inf)}, ArgumentError, "diverged"),
        ({"observed": torch.full((4,), torch.nan)}, ArgumentError, "`observed`"),
        ({"observed": torch.ones(4, 1)}, ArgumentError, "1 dimension"),
        ({"covariance": -1.0}, ArgumentError, "positive definite"),
        ({"covariance": 0.0}, ArgumentError, "positive definite"),
        ({"covariance": torch.ones(3)}, ArgumentError, "4 variances"),
        ({"covariance": torch.ones(4, 4)}, ArgumentError, "least eigenvalue"),
        ({"covariance": torch.eye(4).roll(1, 0)}, ArgumentError, "symmetric"),
        ({"covariance": torch.full((4,), torch.nan)}, ArgumentError, "finite"),
        ({"covariance": "one"}, ArgumentTypeError, "`covariance`"),
        ({"inflation": 0.0}, ArgumentError, "`inflation`"),
        ({"inflation": "one"}, ArgumentTypeError, "`inflation`"),
        ({"form": "plain"}, ArgumentError, "`form`"),
        ({"solver": "qr"}, ArgumentError, "`solver`"),
        ({"energy": 0.9}, ArgumentError, "solver='svd'"),
        ({"energy": 0.0, "solver": "svd"}, ArgumentError, "`energy`"),
        ({"block": 0}, ArgumentError, "`block`"),
        ({"out": torch.ones(2, 2)}, ArgumentError, "`out`"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_what_cannot_be_used_is_refused(
    changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    arguments: dict[str, Any] = {
        "members": torch.randn(6, 5, generator=generator()),
        "predictions": torch.randn(6, 4, generator=generator()),
        "observed": torch.ones(4),
        "covariance": 1.0,
    }
    with pytest.raises(error, match=re.escape(words)):
        analysis(**(arguments | changes))
