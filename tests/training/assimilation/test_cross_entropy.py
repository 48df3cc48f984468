"""Labels and target distributions under the softmax of the outputs, linearized."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError
from optprune.training.assimilation import BinaryCrossEntropy, CrossEntropy
from optprune.training.assimilation.observation import Observed
from tests.training.assimilation.observations import (
    OUTPUTS,
    SAMPLES,
    N,
    labels,
    outputs,
    same,
    values,
)


def soft(seed: int) -> torch.Tensor:
    """Return target distributions."""
    return values(seed=seed).softmax(-1)


@pytest.mark.parametrize("targets", ["labels", "distributions"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cross_entropy_gives_the_exact_gauss_newton_quantities(
    targets: str, temperature: float, seed: int
) -> None:
    predictions, center = outputs(seed=seed)
    given = labels(seed) if targets == "labels" else soft(seed)
    found = CrossEntropy(temperature).observe(predictions, center, given)
    moved = (predictions - predictions.mean(0)).flatten(1)

    def loss(logits: torch.Tensor) -> torch.Tensor:
        summed = torch.nn.functional.cross_entropy(
            logits.reshape(SAMPLES, OUTPUTS), given, reduction="sum"
        )
        return summed / temperature

    logits = center.flatten()
    gradient = torch.autograd.functional.jacobian(loss, logits)
    hessian = torch.autograd.functional.hessian(loss, logits)
    assert torch.allclose(found.deviations @ found.deviations.T, moved @ hessian @ moved.T)
    assert torch.allclose(found.deviations @ found.center, -moved @ gradient)
    # and by the formulas
    p = center.softmax(-1)
    y = torch.nn.functional.one_hot(given, OUTPUTS) if targets == "labels" else given
    blocks = [pi.diag() - torch.outer(pi, pi) for pi in p]
    assert torch.allclose(hessian, torch.block_diag(*blocks) / temperature)
    assert torch.allclose(-gradient, (y - p).flatten() / temperature)


def test_cross_entropy_is_linearized_around_the_mean_network() -> None:
    predictions, center = outputs()
    found = CrossEntropy().observe(predictions, center, labels())
    assert torch.allclose(found.innovations, found.center - found.deviations, atol=1e-14)
    assert torch.allclose(found.innovations.mean(0), found.center, atol=1e-12)
    # all logits of a sample may be raised: their softmax stays
    raised = predictions + values(N, SAMPLES, 1), center + values(SAMPLES, 1)
    assert same(CrossEntropy().observe(*raised, labels()), found)


def test_the_temperature_is_a_variance_of_errors() -> None:
    predictions, center = outputs()
    cold, hot = (CrossEntropy(t).observe(predictions, center, labels()) for t in (1.0, 4.0))
    halved = Observed(cold.deviations / 2, cold.innovations / 2, cold.center / 2, OUTPUTS)
    assert same(hot, halved)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_sure_predictions_stay_finite_and_keep_the_gradient(dtype: torch.dtype) -> None:
    predictions, center = outputs(dtype=dtype)
    center = 60 * center  # some probabilities are zero in single precision
    found = CrossEntropy().observe(predictions, center, labels())
    assert bool(torch.isfinite(found.deviations).all() & torch.isfinite(found.center).all())
    moved = (predictions - predictions.mean(0)).flatten(1)
    error = torch.nn.functional.one_hot(labels(), OUTPUTS) - center.softmax(-1)
    wanted = moved @ error.flatten().to(dtype)
    assert torch.allclose(found.deviations @ found.center, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [CrossEntropy, BinaryCrossEntropy])
@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf])
def test_a_temperature_is_positive(kind: Any, temperature: float) -> None:
    with pytest.raises(ArgumentError, match=f"^{kind.__name__}: `temperature` must be a positive"):
        kind(temperature)


@pytest.mark.parametrize("kind", [CrossEntropy, BinaryCrossEntropy])
@pytest.mark.parametrize("wrong", ["1", None, True, (1.0,)])
def test_a_temperature_is_a_number(kind: Any, wrong: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=f"^{kind.__name__}: `temperature` must be a num"):
        kind(wrong)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([0.5, 0.6, -0.1], r"a least value of -0\.1, and sums over the classes from 1 to 1"),
        ([2.0, -1.0, 0.0], "a least value of -1"),
        ([0.5, 0.25, 0.2], r"from 0\.95 to 1"),
        ([1.0, 1.0, 0.0], "from 1 to 2"),
        ([0.0, 0.0, 0.0], "from 0 to 1"),
        ([7.0, 2.0, 1.0], "from 1 to 10"),
    ],
    ids=str,
)
def test_targets_that_are_no_probabilities_are_refused(row: list[float], words: str) -> None:
    predictions, center = outputs()
    targets = soft(0)
    targets[3] = torch.tensor(row)
    with pytest.raises(TrainingError, match=rf"labels, or prob(.*){words}(.*)softmax of logits"):
        CrossEntropy().observe(predictions, center, targets)


def test_logits_and_several_labels_of_a_sample_are_refused() -> None:
    predictions, center = outputs()
    several = torch.nn.functional.one_hot(labels(), OUTPUTS) + torch.tensor([1, 0, 0])
    for targets in (values(), several):
        with pytest.raises(TrainingError, match="take Gaussian for values of another kind"):
            CrossEntropy().observe(predictions, center, targets)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_probabilities_may_be_rounded(dtype: torch.dtype) -> None:
    drawn = torch.Generator().manual_seed(0)
    predictions, center = outputs(SAMPLES, 50, dtype=torch.float32)
    for _ in range(20):
        targets = torch.randn(SAMPLES, 50, generator=drawn).softmax(-1).to(dtype)
        CrossEntropy().observe(predictions, center, targets)
