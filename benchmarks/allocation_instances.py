"""The networks whose widths are allocated in the benchmark, and what their groups count.

The MACs are those of torchvision's networks on 224×224 pixels, from a trace without verification;
the weights, which no MACs depend on, are random.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
import torchvision
from torch import nn

import optprune as op
from optprune.dependence import Dependence
from optprune.surgery import ChannelGraph, CostPolynomial

Floats = npt.NDArray[np.float64]

NETWORKS = ("resnet50", "vgg16_bn", "mobilenet_v2", "densenet121")
CHAIN = "chain of 500"
INSTANCES = (*NETWORKS, CHAIN)
SPREAD = 10.0
"""Importances are drawn log-uniformly between 1 / SPREAD and SPREAD."""
HALF = 0.5
PUBLISHED = 1 - 0.453
"""What Zheng et al. leave of the MACs of ResNet-50."""
SAMPLES, PIXELS = 128, 64
"""Random images that dependence is measured on, and their size."""


@cache
def network(name: str) -> nn.Module:
    """Return one of torchvision's networks with random weights."""
    torch.manual_seed(0)
    made: nn.Module = getattr(torchvision.models, name)(weights=None)
    return made.eval()


@cache
def graph_of(name: str) -> ChannelGraph:
    """Trace a network on 224×224 pixels."""
    return op.trace(network(name), torch.zeros(1, 3, 224, 224), verify=False)


@cache
def chain(groups: int) -> CostPolynomial:
    """Return the MACs of a chain of 3×3 convolutions of 16 to 512 channels, and a linear layer."""
    widths = 2 ** np.random.default_rng(0).integers(4, 10, groups)
    single = np.eye(groups)
    between = [(9.0, [(0.0, a), (0.0, b)]) for a, b in pairwise(single)]
    terms = [(27.0, [(0.0, single[0])]), *between, (10.0, [(0.0, single[-1])])]
    return CostPolynomial.from_terms(terms, widths, "MACs")


def instance(name: str) -> tuple[CostPolynomial, Floats]:
    """Return the MACs of a network and a random importance of its groups."""
    macs = chain(500) if name == CHAIN else graph_of(name).costs.macs
    powers = np.random.default_rng(0).uniform(-1, 1, len(macs.dense_widths))
    return macs, SPREAD**powers


def excess(macs: CostPolynomial, widths: npt.ArrayLike, budget: float) -> float:
    """Return by how much widths are over a budget, relative to it."""
    return float(macs(widths)[0]) / budget - 1


@cache
def independence() -> Floats:
    """Return nHSIC importances of ResNet-50 with random weights, on random images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(SAMPLES, 3, PIXELS, PIXELS, generator=generator)
    labels = torch.randint(1000, (SAMPLES,), generator=generator)
    task = op.Task(
        network("resnet50"),
        train=(images, labels),
        validation=(images, labels),
        name="random",
        batch_size=32,
    )
    found = Dependence(samples=SAMPLES).measure(task, graph_of("resnet50"))
    return found.importance()
