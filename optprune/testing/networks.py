"""Small networks with known groups, for the checks and for analytic problems."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import nn

from optprune.meter import Meter
from optprune.surgery.calling import batch_size
from optprune.task import Task
from optprune.testing.conformance import require

__all__ = ["SmallResidual", "chain", "chain_task", "digits_task", "passes_counted", "residual_task"]

STEPS = 40
"""Steps of gradient descent after which `digits_task` errs on few of its images."""


def chain(widths: Sequence[int] = (8, 8, 9, 9), *, seed: int = 0) -> nn.Sequential:
    """Return a chain of linear layers with one group for every hidden layer.

    Parameters
    ----------
    widths : sequence of int
        Widths of the hidden layers ``hidden0``, ``hidden1``, …: the dense widths of the groups.
    seed : int
        Seed of the weights; the global generator is left alone.

    Returns
    -------
    nn.Sequential
        From 6 features to 3 classes, in evaluation mode.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inputs = 6
        for index, width in enumerate(widths):
            layers[f"hidden{index}"] = nn.Linear(inputs, width)
            layers[f"relu{index}"] = nn.ReLU()
            inputs = width
        layers["classes"] = nn.Linear(inputs, 3)
    return nn.Sequential(layers).eval()


class SmallResidual(nn.Module):
    """A convolutional network with batch normalization and one residual stream.

    Its groups: ``stem`` (8 channels, the stream) and ``inner`` (12 channels, inside the branch).
    Takes images of shape (n, 1, 6, 6), returns (n, 3).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.inner = nn.Conv2d(8, 12, 3, padding=1, bias=False)
        self.inner_norm = nn.BatchNorm2d(12)
        self.outer = nn.Conv2d(12, 8, 3, padding=1, bias=False)
        self.outer_norm = nn.BatchNorm2d(8)
        self.classes = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of images."""
        stream = torch.relu(self.stem_norm(self.stem(images)))
        branch = torch.relu(self.inner_norm(self.inner(stream)))
        stream = torch.relu(stream + self.outer_norm(self.outer(branch)))
        logits: torch.Tensor = self.classes(stream.mean(dim=(2, 3)))
        return logits


def chain_task(widths: Sequence[int] = (8, 8, 9, 9)) -> Task:
    """Return a task around `chain`, with random data of three classes."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(24) % 3
    inputs = torch.randn(24, 6, generator=generator) + labels[:, None]
    return Task(
        chain(widths), train=(inputs, labels), validation=(inputs[:12], labels[:12]), name="chain"
    )


def residual_task() -> Task:
    """Return a task around `SmallResidual`, with non-trivial statistics and random images."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(48) % 3
    images = torch.randn(48, 1, 6, 6, generator=generator) + labels[:, None, None, None]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SmallResidual()
        with torch.no_grad():
            network.train()(images)
            for norm in (network.stem_norm, network.inner_norm, network.outer_norm):
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.uniform_(-0.2, 0.2)
    return Task(
        network.eval(),
        train=(images, labels),
        validation=(images[:24], labels[:24]),
        name="small residual",
    )


def digits_task() -> Task:
    """Return a task around a trained `SmallResidual`: the zeros, ones and twos of real digits.

    It is trained when it is first asked for, in a fraction of a second, on 90 images of 8 by 8
    pixels (of scikit-learn); 60 others are the validation split.
    """
    images, labels = _digits()
    network = SmallResidual()
    network.load_state_dict(_trained())
    return Task(
        network.eval(),
        train=(images[:90], labels[:90]),
        validation=(images[90:], labels[90:]),
        name="three digits",
    )


@cache
def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(n_class=3, return_X_y=True)
    pixels = torch.tensor(images[:150] / 16, dtype=torch.float32)
    return pixels.reshape(-1, 1, 8, 8), torch.tensor(labels[:150])


@cache
def _trained() -> dict[str, torch.Tensor]:
    images, labels = (part[:90] for part in _digits())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SmallResidual()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(STEPS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.state_dict()


@contextmanager
def passes_counted(who: str, network: nn.Module, meter: Meter) -> Iterator[None]:
    """Check that a meter counts at least the samples that go through a network's forward."""
    seen = 0

    def look(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        nonlocal seen
        seen += batch_size(keywords or arguments)

    handle = network.register_forward_pre_hook(look, with_kwargs=True)
    before = meter.forward_samples
    try:
        yield
    finally:
        handle.remove()
    counted = meter.forward_samples - before
    require(
        counted >= seen,
        f"{who} passes {seen} samples through the network and counts {counted}; count every pass "
        "on the meter, with `meter.forward(n_samples)`.",
    )
