"""Fashion-MNIST: three small convolutional networks on 28×28 grey images of clothes.

70,000 images in ten classes (see `optprune.problems.fashion_mnist` for where the files come from):
10,000 to test, as published; 5,000 of the others to validate, the rest to train. The networks'
weights come with the package; they were made by ``python -m optprune.problems.train_fashion``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from optprune.problems.fashion_mnist import Labelled, read
from optprune.problems.fashion_networks import VGG, MobileNet, ResNet20
from optprune.problems.shipped import make_problem, trained
from torch import nn

from optprune.errors import ArgumentError, nearest
from optprune.formulation import Problem
from optprune.split import Split
from optprune.surgery import Build
from optprune.task import Task

__all__ = ["NETWORKS", "network", "problem", "splits", "standardized", "task"]

NETWORKS: Mapping[str, type[nn.Module]] = {
    "vgg": VGG,
    "resnet20": ResNet20,
    "mobilenet": MobileNet,
}
"""The networks by name."""

WEIGHTS = {
    name: Path(__file__).parent / "weights" / f"fashion_{name}.safetensors" for name in NETWORKS
}

MEAN, STD = 0.2860, 0.3530
"""Mean and standard deviation of the grey values in [0, 1] of the 60,000 images."""

_SPLIT_SEED = 0
_VALIDATION = 500  # images of each class
_CALIBRATION_SEED = 0
_CALIBRATION = 1024


def standardized(images: torch.Tensor) -> torch.Tensor:
    """Return what the networks see of grey values.

    Parameters
    ----------
    images : Tensor of uint8, any shape
        Grey values, 0 (black) to 255.

    Returns
    -------
    Tensor of float32, the same shape
        ``(grey / 255 - 0.2860) / 0.3530``.
    """
    return images.to(torch.float32).div_(255).sub_(MEAN).div_(STD)


def splits(folder: str | Path | None = None, *, download: bool = False) -> dict[str, Split]:
    """Return the fixed splits: ``train``, ``validation`` and ``test``, on the CPU.

    Parameters
    ----------
    folder : str or Path, optional
        Where the data set's files are; by default they are looked for in the Debian package's
        folder and in the cache.
    download : bool
        Whether files that are in neither are downloaded into the cache (30 MB).

    Returns
    -------
    dict of str to Split
        Images of shape ``(n, 1, 28, 28)``, float32, standardized by fixed constants, and labels of
        shape ``(n,)``. Train and validation hold 5,500 and 500 of the 60,000 published training
        images of each class; test the 10,000 published test images. No image is in two splits.

    Raises
    ------
    LoadError
        When the data set is missing, damaged, or cannot be downloaded.
    ArgumentError
        When both `folder` and `download` are given.
    """
    data = read(folder, download=download)
    parts = _partition(data.train.labels)
    return {
        **{name: _split(data.train, index) for name, index in parts.items()},
        "test": _split(data.test, slice(None)),
    }


def _partition(labels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.int64]]:
    """Return the sorted indices of train and validation, drawn class by class."""
    generator = np.random.default_rng(_SPLIT_SEED)
    validation = np.sort(
        np.concatenate(
            [
                generator.permutation(np.flatnonzero(labels == label))[:_VALIDATION]
                for label in np.unique(labels)
            ]
        )
    )
    train = np.setdiff1d(np.arange(len(labels)), validation, assume_unique=True)
    return {"train": train, "validation": validation}


def _split(data: Labelled, index: npt.NDArray[np.int64] | slice) -> Split:
    images = torch.tensor(data.images[index]).unsqueeze(1)
    return Split(standardized(images), torch.tensor(data.labels[index], dtype=torch.int64))


def network(name: str = "vgg", *, weights: bool = True) -> nn.Module:
    """Return a network, by default with the weights that come with the package.

    Parameters
    ----------
    name : {"vgg", "resnet20", "mobilenet"}
        Which; see `optprune.problems.fashion_networks` for what they are.
    weights : bool
        False gives freshly initialized weights, drawn from torch's global generator.

    Returns
    -------
    nn.Module
        In evaluation mode, on the CPU.

    Raises
    ------
    ArgumentError
        When there is no such network.
    LoadError
        When the weights are missing or damaged.
    """
    if name not in NETWORKS:
        raise ArgumentError(
            f"The network must be one of {', '.join(map(repr, NETWORKS))}, got {name!r}."
            f"{nearest(str(name), NETWORKS)}"
        )
    make = NETWORKS[name]
    if not weights:
        return make().eval()
    command = f"python -m optprune.problems.train_fashion {name}"
    made: nn.Module = trained(make, WEIGHTS[name], f"fashion {name}", command)
    return made


def task(
    network: str = "vgg",
    *,
    folder: str | Path | None = None,
    download: bool = False,
    device: str | torch.device = "cpu",
) -> Task:
    """Return a trained network with Fashion-MNIST.

    Parameters
    ----------
    network : {"vgg", "resnet20", "mobilenet"}
        Which network.
    folder : str or Path, optional
        Where the data set's files are; by default they are looked for in the Debian package's
        folder and in the cache.
    download : bool
        Whether files that are in neither are downloaded into the cache (30 MB).
    device : str or torch.device
        Where everything is held and computed.

    Returns
    -------
    Task
        Its calibration split is a fixed part of train, 1,024 images without labels.

    Raises
    ------
    LoadError
        When the weights or the data set are missing or damaged, or cannot be downloaded.
    ArgumentError
        When there is no such network or device, or both `folder` and `download` are given.
    """
    made = _network(network)
    data = splits(folder, download=download)
    generator = torch.Generator().manual_seed(_CALIBRATION_SEED)
    chosen = torch.randperm(len(data["train"]), generator=generator)[:_CALIBRATION].sort().values
    return Task(
        made,
        train=data["train"],
        validation=data["validation"],
        test=data["test"],
        calibration=data["train"].take(chosen).inputs,
        name=f"fashion/{network}",
        batch_size=500,
        build=Build("optprune.problems.fashion:network", {"name": network, "weights": False}),
        device=device,
    )


_network = network  # the arguments of task and problem bear its name


def problem(network: str = "vgg", **changes: Any) -> Problem:
    """Return the pruning problem on Fashion-MNIST: least error at least MACs.

    Widths in steps of four channels that leave by their L1 score, batch-norm recalibration, and the
    validation error and the MACs as objectives.

    Parameters
    ----------
    network : {"vgg", "resnet20", "mobilenet"}
        Which network.
    **changes
        Arguments of `optprune.formulation.Problem` that replace these, and `task`, which then
        decides the network: ``problem(task=task("vgg", folder="data"))``.

    Returns
    -------
    Problem
        For example ``problem("resnet20", recovery=op.recovery.Nothing())``.

    Raises
    ------
    ArgumentTypeError
        When a keyword is none of them.
    ArgumentError
        When there is no such network.
    LoadError
        When the weights or the data set are missing or damaged.
    """
    made: Problem = make_problem(partial(task, network), changes)
    return made
