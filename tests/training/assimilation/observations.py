"""Outputs of members and targets, and all kinds of observations of them."""

from __future__ import annotations

import torch

from optprune.training.assimilation import BinaryCrossEntropy, CrossEntropy, Gaussian
from optprune.training.assimilation.observation import Observed

N, SAMPLES, OUTPUTS = 9, 5, 3
DENSE = ((2.0, 0.5, 0.1), (0.5, 1.0, -0.3), (0.1, -0.3, 0.7))
EVERY = [
    Gaussian(0.5),
    Gaussian((0.1, 1.0, 3.0)),
    Gaussian(covariance=DENSE),
    Gaussian(0.2, softmax=True),
    CrossEntropy(),
    CrossEntropy(temperature=3.0),
    BinaryCrossEntropy(),
]


def outputs(
    *shape: int, n: int = N, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return outputs of members and of the mean network, which is not their mean."""
    drawn = torch.Generator().manual_seed(seed)
    shape = shape or (SAMPLES, OUTPUTS)
    return (
        torch.randn(n, *shape, generator=drawn, dtype=dtype),
        torch.randn(*shape, generator=drawn, dtype=dtype),
    )


def values(*shape: int, seed: int = 50) -> torch.Tensor:
    shape = shape or (SAMPLES, OUTPUTS)
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(seed: int = 50) -> torch.Tensor:
    return torch.randint(OUTPUTS, (SAMPLES,), generator=torch.Generator().manual_seed(seed))


def same(one: Observed, other: Observed, atol: float = 1e-12) -> bool:
    pairs = [
        (one.deviations, other.deviations),
        (one.innovations, other.innovations),
        (one.center, other.center),
    ]
    return one.n_outputs == other.n_outputs and all(
        a.dtype == b.dtype and torch.allclose(a, b, rtol=0, atol=atol) for a, b in pairs
    )
