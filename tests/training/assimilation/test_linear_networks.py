"""A linear network has an analytic posterior, which every way to assimilate must come to."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from optprune.errors import TrainingError
from optprune.split import Split
from optprune.training import ESMDA, EnKF
from optprune.training.assimilation import CrossEntropy, Ensemble, Gaussian, OutputBlocks
from optprune.training.assimilation.smoothing import Smoothing
from tests.training.assimilation.cases import (
    classes,
    classifier,
    distance,
    fit,
    regressor,
    weights,
)

STD = 0.5


def line(inputs: int = 4, outputs: int = 1, seed: int = 0) -> nn.Linear:
    """Return a linear network without intercept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(inputs, outputs, bias=False).double().eval()


def samples(n: int = 12, inputs: int = 4, outputs: int = 1, seed: int = 0) -> Split:
    """Return normal inputs, and targets that are no function of them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, inputs, generator=generator, dtype=torch.float64)
    return Split(x, torch.randn(n, outputs, generator=generator, dtype=torch.float64))


def posterior(network: nn.Linear, data: Split, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and covariance of the weights, by the formulas."""
    x, prior = data.inputs, network.weight.detach()[0]
    assert isinstance(x, torch.Tensor)
    precision = torch.eye(4, dtype=torch.float64) * (4 / spread**2) + x.T @ x / STD**2
    covariance = torch.linalg.inv(precision)
    shift = x.T @ (data.labels[:, 0] - x @ prior) / STD**2
    return prior + covariance @ shift, covariance


WAYS: dict[str, Smoothing] = {
    "ESMDA, once": ESMDA(assimilations=1),
    "ESMDA, decreasing": ESMDA(assimilations=4, coefficients="decreasing"),
    "ESMDA, adaptive": ESMDA(assimilations=50, coefficients="adaptive"),
    "ESMDA in mini-batches": ESMDA(assimilations=3, batch_size=5),
    "ESMDA, etkf": ESMDA(assimilations=2, form="etkf", solver="svd"),
    "EnKF": EnKF(),
    "EnKF, three passes": EnKF(passes=3, batch_size=5),
    "EnKF by filterpy": EnKF(batch_size=4, engine="filterpy"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_it_comes_to_the_analytic_posterior(way: Smoothing) -> None:
    trainer = replace(way, members=400, spread=1.0, observation=Gaussian(STD))
    means, covariances = [], []
    for seed in range(4):
        network, data = line(seed=seed), samples(seed=seed)
        mean, covariance = posterior(network, data, 1.0)
        report, _ = fit(trainer, network, data, seed=seed)
        assert report.ensemble is not None
        spread = covariance.diagonal().sum().sqrt()
        means.append(float((report.ensemble.mean - mean).norm() / spread))
        covariances.append(distance(report.ensemble.members.T.cov(), covariance))
    assert max(means) < 0.4
    assert sum(covariances) / 4 < 0.25


def test_filterpy_and_ours_agree_within_sampling_errors() -> None:
    found = {}
    for engine in ("ensemble", "filterpy"):
        means = []
        for seed in range(8):
            network = line(seed=1)
            trainer = EnKF(members=100, batch_size=12, observation=Gaussian(STD), engine=engine)
            fit(trainer, network, samples(seed=1), seed=seed)
            means.append(weights(network))
        found[engine] = torch.stack(means)
    ours, theirs = found.values()
    error = (ours.var(0) / 8 + theirs.var(0) / 8).sqrt()
    assert bool(((ours.mean(0) - theirs.mean(0)).abs() < 4 * error).all())


def test_filterpy_leaves_numpys_generator_and_refuses_what_is_too_large() -> None:
    trainer = EnKF(members=10, batch_size=12, engine="filterpy")
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    found = []
    for _ in range(2):
        network = line()
        fit(trainer, network, samples())
        found.append(weights(network))
    assert torch.equal(*found)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    with pytest.raises(TrainingError, match=re.escape("at most 500 parameters, and 601 vary")):
        fit(trainer, regressor(width=200))


def test_a_stream_is_the_fit_in_pieces() -> None:
    data, network = samples(), line()
    trainer = EnKF(members=30, form="etkf", observation=Gaussian(STD))
    generator = torch.Generator().manual_seed(0)
    start = Ensemble.draw(network, 30, generator=generator)
    at_once = trainer.assimilate(start, data.inputs, data.labels, generator=generator)
    found = start
    for inputs, targets in data.batches(3):
        assert targets is not None
        found = trainer.assimilate(found, inputs, targets, generator=generator)
    assert torch.allclose(found.mean, at_once.mean, atol=1e-10)
    assert torch.allclose(found.members.T.cov(), at_once.members.T.cov(), atol=1e-10)
    assert torch.allclose(found.mean, weights(network))
    assert start.spread > found.spread


def test_a_stream_is_observed_in_evaluation_mode_around_the_mean_of_the_members() -> None:
    data, found = classes(), []
    for mode, around in ((False, 0.0), (True, 0.0), (False, 0.5)):
        network = nn.Sequential(*classifier()[:2], nn.Dropout(0.5), classifier()[2]).train(mode)
        generator = torch.Generator().manual_seed(0)
        start = Ensemble.draw(network, 30, generator=generator)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(around)  # the network is not the mean of the members
        trainer = EnKF(form="etkf", observation=CrossEntropy())
        found.append(trainer.assimilate(start, data.inputs, data.labels, generator=generator))
        assert network.training == mode
        assert torch.allclose(found[-1].mean, weights(network), atol=1e-6)
    for other in found[1:]:
        assert torch.allclose(other.members, found[0].members, atol=1e-5)


def test_a_stream_refuses_what_a_fit_refuses() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).double()
    start = Ensemble.draw(network.eval(), 5, generator=torch.Generator().manual_seed(0))
    data, generator = samples(), torch.Generator()
    EnKF().assimilate(start, data.inputs, data.labels, generator=generator)
    network.train()
    with pytest.raises(TrainingError, match=re.escape("network.eval()")):
        EnKF().assimilate(start, data.inputs, data.labels, generator=generator)


def test_filterpy_takes_a_stream() -> None:
    data, network = samples(), line()
    generator = torch.Generator().manual_seed(0)
    start = Ensemble.draw(network, 50, generator=generator)
    given = start.members.clone()
    trainer = EnKF(observation=Gaussian(STD), engine="filterpy")
    found = trainer.assimilate(start, data.inputs, data.labels, generator=generator)
    assert torch.equal(start.members, given)
    assert torch.allclose(found.mean, weights(network))
    assert found.spread < start.spread


def test_blocks_of_outputs_learn_what_so_few_members_cannot() -> None:
    data = samples(40, 6, 5)
    exact = torch.linalg.lstsq(data.inputs, data.labels).solution.T  # type: ignore[arg-type]
    errors = []
    for localization in (None, OutputBlocks()):
        network = line(6, 5)
        trainer = ESMDA(
            members=12,
            assimilations=1,
            form="etkf",
            spread=1e3,
            observation=Gaussian(0.01),
            localization=localization,
        )
        fit(trainer, network, data)
        errors.append(distance(network.weight.detach(), exact))
    assert errors[1] < 1e-3 < 0.1 < errors[0]
