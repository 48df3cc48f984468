"""The quadratic form of a layer is the error that is measured when units leave."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError
from optprune.meter import Meter
from optprune.moments import LayerMoments, Sample, collect, unit_gram
from optprune.task import Task


def task(network: nn.Module) -> Task:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(30, 4, 5, 5, generator=generator, dtype=torch.float64)
    images = torch.relu(images + 0.5 * images[:, [1, 2, 3, 0]])
    split = (images, torch.arange(30) % 3)
    return Task(network.double().eval(), train=split, validation=split)


def ends_in(layer: nn.Module, features: int) -> nn.Sequential:
    torch.manual_seed(0)
    layer.reset_parameters()
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(features, 3))


def known(network: nn.Module) -> tuple[Task, LayerMoments]:
    the_task = task(network)
    taken, _ = collect(
        the_task, the_task.network, Sample(positions=None), meter=Meter(), layers=["0"]
    )
    return the_task, taken["0"]


LAYERS: dict[str, tuple[nn.Module, int]] = {
    "convolution": (nn.Conv2d(4, 6, 3, padding=1, bias=False), 6 * 25),
    "pointwise": (nn.Conv2d(4, 6, 1, bias=False), 6 * 25),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, bias=False), 6 * 9),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("centered", [True, False])
def test_the_form_is_the_measured_error_for_every_set(kind: str, centered: bool) -> None:
    layer, features = LAYERS[kind]
    the_task, moments = known(ends_in(layer, features))
    n = layer.in_channels // layer.groups
    gram = unit_gram(moments, np.arange(n), range(n), centered=centered)
    calibration: Any = the_task.calibration
    with torch.no_grad():
        whole = layer(calibration.inputs)
        for removed in itertools.product([False, True], repeat=n):
            images = calibration.inputs.clone()
            images[:, torch.tensor(removed * layer.groups)] = 0
            lost = (whole - layer(images)).movedim(1, -1).flatten(0, -2)
            if centered:
                lost = lost - lost.mean(0)
            error = float(lost.square().sum(1).mean())
            r = np.array(removed, dtype=float)
            assert r @ gram @ r == pytest.approx(error, rel=1e-6, abs=1e-12)


def test_it_is_symmetric_positive_semidefinite_and_not_monotone() -> None:
    layer = nn.Conv2d(4, 6, 1, bias=False)
    network = ends_in(layer, 6 * 25)
    with torch.no_grad():  # the second channel undoes part of what the first does
        layer.weight[:, 1] = -0.3 * layer.weight[:, 0]
    _, moments = known(network)
    gram = unit_gram(moments, np.arange(4), range(4))
    assert np.array_equal(gram, gram.T)
    assert np.linalg.eigvalsh(gram).min() > -1e-9 * np.abs(gram).max()
    one, both = np.array([1.0, 0, 0, 0]), np.array([1.0, 1, 0, 0])
    assert both @ gram @ both < one @ gram @ one


def test_channels_of_a_unit_are_put_together_and_foreign_ones_left_out() -> None:
    _, moments = known(ends_in(nn.Conv2d(4, 6, 3, bias=False), 6 * 9))
    single = unit_gram(moments, np.arange(4), range(4))
    paired = unit_gram(moments, [5, 6, 6, -1], range(5, 7))
    r = np.array([[1.0, 0, 0, 0], [0, 1, 1, 0]])
    np.testing.assert_allclose(paired, r @ single @ r.T)


def test_owners_must_fit() -> None:
    _, moments = known(ends_in(nn.Conv2d(4, 6, 3, bias=False), 6 * 9))
    with pytest.raises(ArgumentError, match="each of the 4 input channels"):
        unit_gram(moments, [0, 1], range(2))
