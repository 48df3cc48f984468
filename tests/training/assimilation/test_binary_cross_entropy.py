"""Each output is a yes or no of its own, linearized."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optprune.errors import TrainingError
from optprune.meter import Meter
from optprune.split import Split
from optprune.surgery.calling import call
from optprune.training import EKI
from optprune.training.assimilation import BinaryCrossEntropy, Mask
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


def several(seed: int) -> torch.Tensor:
    """Return a probability for each output: they need not sum to 1."""
    return values(seed=seed).sigmoid()


@pytest.mark.parametrize("targets", ["labels", "probabilities"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_gives_the_exact_gauss_newton_quantities(
    targets: str, temperature: float, seed: int
) -> None:
    predictions, center = outputs(seed=seed)
    given = labels(seed) if targets == "labels" else several(seed)
    wanted = nn.functional.one_hot(given, OUTPUTS).double() if targets == "labels" else given
    found = BinaryCrossEntropy(temperature).observe(predictions, center, given)
    moved = (predictions - predictions.mean(0)).flatten(1)

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return (
            nn.functional.binary_cross_entropy_with_logits(
                logits, wanted.flatten(), reduction="sum"
            )
            / temperature
        )

    logits = center.flatten()
    gradient = torch.autograd.functional.jacobian(loss, logits)
    hessian = torch.autograd.functional.hessian(loss, logits)
    assert torch.allclose(found.deviations @ found.deviations.T, moved @ hessian @ moved.T)
    assert torch.allclose(found.deviations @ found.center, -moved @ gradient)


def test_it_is_linearized_around_the_mean_network() -> None:
    predictions, center = outputs()
    found = BinaryCrossEntropy().observe(predictions, center, labels())
    assert torch.allclose(found.innovations, found.center - found.deviations, atol=1e-14)
    assert torch.allclose(found.innovations.mean(0), found.center, atol=1e-12)


def test_no_output_is_mixed_with_another() -> None:
    predictions, center = outputs()
    found = BinaryCrossEntropy().observe(predictions, center, labels())
    moved = predictions.clone(), center.clone()
    for tensor in moved:
        tensor[..., 1] += 3 * values(SAMPLES)
    other = BinaryCrossEntropy().observe(*moved, labels())
    for one, two in ((found.deviations, other.deviations), (found.center, other.center)):
        kept = one.unflatten(-1, (SAMPLES, OUTPUTS)), two.unflatten(-1, (SAMPLES, OUTPUTS))
        assert torch.equal(kept[0][..., [0, 2]], kept[1][..., [0, 2]])
        assert not torch.allclose(kept[0][..., 1], kept[1][..., 1])


def test_the_temperature_is_a_variance_of_errors() -> None:
    predictions, center = outputs()
    cold, hot = (BinaryCrossEntropy(t).observe(predictions, center, labels()) for t in (1.0, 4.0))
    assert same(hot, Observed(cold.deviations / 2, cold.innovations / 2, cold.center / 2, OUTPUTS))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_sure_predictions_stay_finite_and_keep_the_gradient(dtype: torch.dtype) -> None:
    predictions, center = outputs(dtype=dtype)
    center = 200 * center  # some probabilities are zero or one
    found = BinaryCrossEntropy().observe(predictions, center, labels())
    assert bool(torch.isfinite(found.deviations).all() & torch.isfinite(found.center).all())
    moved = (predictions - predictions.mean(0)).flatten(1)
    error = nn.functional.one_hot(labels(), OUTPUTS) - center.sigmoid()
    wanted = moved @ error.flatten().to(dtype)
    assert torch.allclose(found.deviations @ found.center, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("targets", [[0, 1, 1, 0, 1], [0.0, 1.0, 0.5, 0.0, 1.0]], ids=str)
def test_one_output_is_a_yes_or_no(targets: list[float]) -> None:
    predictions, center = outputs(SAMPLES, 1)
    found = BinaryCrossEntropy().observe(predictions, center, torch.tensor(targets))
    chance = center[:, 0].sigmoid()
    wanted = (torch.tensor(targets).double() - chance) / (chance * (1 - chance)).sqrt()
    assert torch.allclose(found.center, wanted)
    assert found.n_outputs == 1
    assert found.deviations.shape == (N, SAMPLES)


@pytest.mark.parametrize("value", [-0.1, 1.1, 7.0])
def test_targets_that_are_no_probabilities_are_refused(value: float) -> None:
    predictions, center = outputs()
    targets = several(0)
    targets[3, 1] = value
    with pytest.raises(
        TrainingError, match=rf"probability from 0 to 1 .* {value:g}[. ].* Gaussian"
    ):
        BinaryCrossEntropy().observe(predictions, center, targets)


def test_networks_that_share_nothing_learn_together_as_each_alone() -> None:
    """Four classes, one against the rest: with a mask, members suffice for each output's part."""
    drawn = torch.Generator().manual_seed(0)
    inputs = torch.randn(400, 20, generator=drawn)
    classes = (inputs @ torch.randn(20, 4, generator=drawn)).argmax(1)
    data = Split(inputs, classes)
    reached = {}
    for name, mask in (("apart", Mask({"*": torch.eye(4)})), ("together", None)):
        network = nn.Linear(20, 4)
        with torch.no_grad():
            network.weight.zero_()
            network.bias.zero_()
        EKI(
            members=25, epochs=10, observation=BinaryCrossEntropy(), localization=mask, momentum=0.0
        ).fit(
            network,
            data,
            loss=lambda o, t: nn.functional.binary_cross_entropy_with_logits(
                o, nn.functional.one_hot(t, 4).to(o)
            ),
            outputs=call,
            seed=0,
            meter=Meter(),
        )
        reached[name] = float((network(inputs).argmax(1) == classes).float().mean())
    assert reached["apart"] > 0.85  # 21 weights each, in the span of 25 members
    assert reached["together"] < reached["apart"] - 0.05  # 84 weights are not
