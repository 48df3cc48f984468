"""Outputs and targets become deviations and innovations whose errors have variance 1."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError
from optprune.training.assimilation import CrossEntropy, Gaussian
from optprune.training.assimilation.noise import Noise
from optprune.training.assimilation.observation import Observed, check_observation
from tests.training.assimilation.observations import (
    DENSE,
    EVERY,
    OUTPUTS,
    SAMPLES,
    N,
    labels,
    outputs,
    same,
    values,
)


@pytest.mark.parametrize("observation", EVERY, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_shapes_are_those_of_the_observations_and_inputs_stay(
    observation: Any, dtype: torch.dtype
) -> None:
    predictions, center = outputs(dtype=dtype)
    targets = labels()
    kept = predictions.clone(), center.clone(), targets.clone()
    found = observation.observe(predictions, center, targets)
    assert found.deviations.shape == found.innovations.shape == (N, SAMPLES * OUTPUTS)
    assert found.center.shape == (SAMPLES * OUTPUTS,)
    assert found.n_outputs == OUTPUTS
    for value in (found.deviations, found.innovations, found.center):
        assert value.dtype == dtype
        value.add_(1)  # nothing that is given is handed on
    for now, before in zip((predictions, center, targets), kept, strict=True):
        assert torch.equal(now, before)


@pytest.mark.parametrize("observation", EVERY, ids=repr)
@pytest.mark.parametrize("seed", [0, 1])
def test_deviations_have_mean_zero_and_permute_with_the_members(
    observation: Any, seed: int
) -> None:
    predictions, center = outputs(seed=seed)
    found = observation.observe(predictions, center, labels())
    assert torch.allclose(found.deviations.mean(0), torch.zeros(()).double(), atol=1e-12)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    turned = observation.observe(predictions[order], center, labels())
    moved = Observed(
        found.deviations[order], found.innovations[order], found.center, found.n_outputs
    )
    assert same(turned, moved)


@pytest.mark.parametrize("observation", EVERY, ids=repr)
def test_samples_are_in_order_with_their_outputs_side_by_side(observation: Any) -> None:
    predictions, center = outputs()
    targets = labels()
    found = observation.observe(predictions, center, targets)
    for i in range(SAMPLES):
        part = slice(i, i + 1)
        alone = observation.observe(predictions[:, part], center[part], targets[part])
        places = slice(OUTPUTS * i, OUTPUTS * (i + 1))
        of_all = Observed(
            found.deviations[:, places],
            found.innovations[:, places],
            found.center[places],
            OUTPUTS,
        )
        assert same(alone, of_all)


# Gaussian


def test_one_standard_deviation_divides_all() -> None:
    (predictions, center), targets = outputs(), values()
    found = Gaussian(0.25).observe(predictions, center, targets)
    wanted = Observed(
        (predictions - predictions.mean(0)).flatten(1) / 0.25,
        (targets - predictions).flatten(1) / 0.25,
        (targets - center).flatten() / 0.25,
        OUTPUTS,
    )
    assert same(found, wanted)


@pytest.mark.parametrize("std", [0.1, 0.3, 7.0])
def test_numbers_are_not_rounded_to_single_precision(std: float) -> None:
    (predictions, center), targets = outputs(), values()
    found = Gaussian(std).observe(predictions, center, targets)
    assert torch.allclose(found.center, (targets - center).flatten() / std, rtol=1e-14, atol=0)


def test_a_tuple_divides_each_output_by_its_own() -> None:
    (predictions, center), targets = outputs(), values()
    found = Gaussian((0.1, 1.0, 3.0)).observe(predictions, center, targets)
    for k, std in enumerate((0.1, 1.0, 3.0)):
        of_one = torch.arange(SAMPLES * OUTPUTS) % OUTPUTS == k
        assert torch.allclose(found.innovations[:, of_one], (targets - predictions)[..., k] / std)
        assert torch.allclose(found.center[of_one], (targets - center)[:, k] / std)
    assert same(
        found,
        Gaussian(covariance=((0.01, 0, 0), (0, 1, 0), (0, 0, 9))).observe(
            predictions, center, targets
        ),
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("observation", "covariance"),
    [
        (Gaussian(0.3), 0.09 * torch.eye(3).double()),
        (Gaussian((0.1, 1.0, 3.0)), torch.tensor([0.01, 1.0, 9.0], dtype=torch.float64).diag()),
        (Gaussian(covariance=DENSE), torch.tensor(DENSE, dtype=torch.float64)),
    ],
    ids=["scalar", "tuple", "covariance"],
)
def test_whitened_errors_have_the_identity_as_covariance(
    observation: Gaussian, covariance: torch.Tensor, seed: int
) -> None:
    n = 20_000
    drawn = torch.randn(n, 1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    errors = drawn @ torch.linalg.cholesky(covariance).T
    found = observation.observe(errors, torch.zeros(1, 3).double(), torch.zeros(1, 3).double())
    for value in (found.deviations, found.innovations):
        assert torch.allclose(value.T.cov(), torch.eye(3).double(), atol=5 * n**-0.5)
    # exactly: the metric of the whitened numbers is the inverse of the covariance
    gram = found.innovations[:20] @ found.innovations[:20].T
    wanted = errors[:20, 0] @ torch.linalg.inv(covariance) @ errors[:20, 0].T
    assert torch.allclose(gram, wanted, rtol=1e-9)


@pytest.mark.parametrize("size", [1, 4])
def test_whitening_divides_by_a_factor_of_the_covariance(size: int) -> None:
    errors, eye = values(6, size), torch.eye(size).double()
    factor = values(size, size, seed=3)
    dense = factor @ factor.T + eye
    for given, covariance in (
        (0.3, 0.3 * eye),
        (dense.diagonal(), dense.diagonal().diag()),
        (dense, dense),
    ):
        white = Noise.of(given, size, owner="test", like=errors).whiten(errors)
        wanted = errors @ torch.linalg.inv(covariance) @ errors.T
        assert torch.allclose(white @ white.T, wanted)


@pytest.mark.parametrize(
    "dtype", [torch.int64, torch.int32, torch.uint8], ids=["int64", "int32", "uint8"]
)
@pytest.mark.parametrize("observation", EVERY, ids=repr)
def test_labels_are_one_hot_vectors(observation: Any, dtype: torch.dtype) -> None:
    predictions, center = outputs()
    hot = torch.nn.functional.one_hot(labels(), OUTPUTS)
    found = observation.observe(predictions, center, labels().to(dtype))
    for given in (hot, hot.double(), hot.float()):
        assert same(found, observation.observe(predictions, center, given))


def test_softmax_sets_probabilities_against_targets() -> None:
    predictions, center = outputs()
    found = Gaussian(0.2, softmax=True).observe(predictions, center, labels())
    wanted = Gaussian(0.2).observe(predictions.softmax(-1), center.softmax(-1), labels())
    assert same(found, wanted)


@pytest.mark.parametrize("shape", [(SAMPLES,), (SAMPLES, 1), (SAMPLES, 2, 4), (SAMPLES, 2, 2, 2)])
def test_outputs_of_any_shape_are_observed(shape: tuple[int, ...]) -> None:
    (predictions, center), targets = outputs(*shape), values(*shape)
    found = Gaussian(0.5).observe(predictions, center, targets)
    size = math.prod(shape[1:])
    assert found.n_outputs == size
    assert torch.equal(found.innovations, (targets - predictions).reshape(N, -1) / 0.5)
    flat = targets.reshape(SAMPLES, size)
    assert same(found, Gaussian(0.5).observe(predictions, center, flat))


def test_whole_numbers_are_values_where_there_is_one_output() -> None:
    predictions, center = outputs(SAMPLES, 1)
    counts = torch.tensor([0, 7, -3, 2, 1])
    found = Gaussian(1.0).observe(predictions, center, counts)
    assert torch.equal(found.center, counts - center[:, 0])


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("shape", [(5, 2), (5, 4), (4, 3), (1, 3), (5,), (3,), (5, 3, 1, 2)])
def test_targets_that_do_not_fit_are_refused(shape: tuple[int, ...], softmax: bool) -> None:
    predictions, center = outputs()
    observation: Any
    for observation in (Gaussian(softmax=softmax), CrossEntropy()):
        with pytest.raises(TrainingError, match=rf"shape \({shape[0]},.* does not fit outputs"):
            observation.observe(predictions, center, values(*shape))


@pytest.mark.parametrize("count", [1, 4, 6])
def test_as_many_labels_as_samples_are_wanted(count: int) -> None:
    predictions, center = outputs()
    observation: Any
    for observation in (Gaussian(), CrossEntropy()):
        with pytest.raises(TrainingError, match="does not fit outputs of shape"):
            observation.observe(predictions, center, torch.ones(count, dtype=torch.long))


@pytest.mark.parametrize(("wrong", "words"), [(-1, "from -1 to 2"), (3, "from 0 to 3")])
@pytest.mark.parametrize("observation", EVERY, ids=repr)
def test_labels_out_of_range_are_named(observation: Any, wrong: int, words: str) -> None:
    predictions, center = outputs()
    with pytest.raises(TrainingError, match=f"{words}, but .* the classes 0 to 2"):
        observation.observe(predictions, center, torch.tensor([0, 1, 2, 1, wrong]))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("observation", EVERY, ids=repr)
def test_targets_that_are_not_finite_are_refused(observation: Any, value: float) -> None:
    predictions, center = outputs()
    targets = values()
    targets[2, 1] = value
    with pytest.raises(TrainingError, match="not finite: leave these samples out"):
        observation.observe(predictions, center, targets)


def test_errors_for_another_number_of_outputs_are_refused() -> None:
    predictions, center = outputs()
    with pytest.raises(ArgumentError, match=r"`std` must be .* 3 variances .* got shape \(2,\)"):
        Gaussian((0.1, 0.2)).observe(predictions, center, labels())
    with pytest.raises(ArgumentError, match=r"`covariance` must be .* got shape \(2, 2\)"):
        Gaussian(covariance=((1, 0), (0, 1))).observe(predictions, center, labels())


@pytest.mark.parametrize("std", [0, 0.0, -1.0, math.nan, math.inf, (0.1, 0.0), ()])
def test_a_standard_deviation_is_positive(std: Any) -> None:
    with pytest.raises(ArgumentError, match="Gaussian: `std` must"):
        Gaussian(std)


@pytest.mark.parametrize("std", ["0.1", None, True, [0.1, 0.2], (0.1, "0.2")])
def test_a_standard_deviation_is_a_number(std: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="Gaussian: `std` must be a number"):
        Gaussian(std)


@pytest.mark.parametrize(
    ("covariance", "words"),
    [
        (((1.0, 2.0), (2.0, 1.0)), "positive definite: its least eigenvalue is -1"),
        (((1.0, 1.0), (1.0, 1.0)), "positive definite: its least eigenvalue is"),
        (((1.0, 0.5), (0.0, 1.0)), "not symmetric"),
        (((1.0, math.nan), (math.nan, 1.0)), "not finite"),
        (((1.0, 0.0), (0.0, math.inf)), "not finite"),
        (((1.0, 0.0), (0.0,)), r"as many rows as columns, got rows of \[2, 1\]"),
        (((1.0, 0.0),), r"as many rows as columns, got rows of \[2\]"),
        ((), r"as many rows as columns, got rows of \[\]"),
    ],
)
def test_a_covariance_is_symmetric_and_positive_definite(covariance: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=f"Gaussian: `covariance` must .*{words}"):
        Gaussian(covariance=covariance)


@pytest.mark.parametrize("covariance", [1.0, (1.0, 2.0), (("a",),), ((None,),)])
def test_a_covariance_is_rows_of_numbers(covariance: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="Gaussian: `covariance` must be rows of numbers"):
        Gaussian(covariance=covariance)


def test_configurations_can_be_compared_and_hashed() -> None:
    as_lists: Any = [[1, 0], [0, 1]]
    as_tensor: Any = torch.eye(2)
    wanted = Gaussian(covariance=((1.0, 0.0), (0.0, 1.0)))
    assert len({wanted, Gaussian(covariance=as_lists), Gaussian(covariance=as_tensor)}) == 1
    assert Gaussian() == Gaussian(0.1) != Gaussian(0.2)
    assert CrossEntropy() == CrossEntropy(temperature=1.0)


@pytest.mark.parametrize("shape", [(SAMPLES,), (SAMPLES, 1), (SAMPLES, 3, 2)])
@pytest.mark.parametrize(
    "observation", [CrossEntropy(), Gaussian(softmax=True)], ids=["cross-entropy", "softmax"]
)
def test_classes_need_outputs_of_two_dimensions(observation: Any, shape: tuple[int, ...]) -> None:
    predictions, center = outputs(*shape)
    with pytest.raises(TrainingError, match=r"needs outputs of shape \(n_samples, n_classes\)"):
        observation.observe(predictions, center, torch.zeros(SAMPLES, dtype=torch.long))


class Own:
    """An observation of a user."""

    def observe(
        self, predictions: torch.Tensor, center: torch.Tensor, targets: torch.Tensor
    ) -> Observed:
        return Gaussian().observe(predictions, center, targets)


@pytest.mark.parametrize("wrong", [None, 0.1, "gaussian", Gaussian, CrossEntropy], ids=repr)
def test_what_is_no_observation_is_refused(wrong: object) -> None:
    with pytest.raises(ArgumentTypeError, match="EKI: `observation` must be Gaussian"):
        check_observation("EKI", wrong)


@pytest.mark.parametrize("observation", [Own(), *EVERY], ids=lambda o: type(o).__name__)
def test_what_observes_is_taken(observation: object) -> None:
    check_observation("EKI", observation)
