"""Handwritten digits: a small residual network on scikit-learn's ``load_digits``.

1,797 grey images of 8×8 pixels in ten classes, split once and for all: 360 to test, 400 to
validate, the rest to train. The network's weights come with the package; they were made by
``python -m optprune.problems.train_digits``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from optprune.problems.shipped import make_problem, trained
from torch import nn

from optprune.formulation import Problem
from optprune.split import Split
from optprune.surgery import Build
from optprune.task import Task

__all__ = ["Block", "Network", "network", "problem", "splits", "task"]

WEIGHTS = Path(__file__).parent / "weights" / "digits.safetensors"

_SPLIT_SEED = 0
_TEST, _VALIDATION = 36, 40  # images of each class


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is a projection where the shape changes.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    stride : int
        Of the first convolution and of the projection.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's outputs, shape ``(n, outputs, height / stride, width / stride)``."""
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return torch.relu(y + self.shortcut(x))


class Network(nn.Module):
    """A residual network for 8×8 images: a stem, three stages, the mean over the image, a head.

    Parameters
    ----------
    widths : tuple of int
        Channels of the three stages, which see 8×8, 4×4 and 2×2 positions.
    blocks : int
        Residual blocks in a stage.
    """

    def __init__(self, widths: tuple[int, int, int] = (16, 32, 64), blocks: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, widths[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        self.stages = nn.Sequential()
        channels = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                self.stages.append(Block(channels, width, stride))
                channels = width
        self.head = nn.Linear(channels, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of shape ``(n, 10)`` for images of shape ``(n, 1, 8, 8)``."""
        x = torch.relu(self.norm(self.stem(x)))
        x = self.stages(x)
        logits: torch.Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def splits() -> dict[str, Split]:
    """Return the fixed splits: ``train``, ``validation`` and ``test``, on the CPU.

    Returns
    -------
    dict of str to Split
        Images of shape ``(n, 1, 8, 8)`` with values in [0, 1], and labels of shape ``(n,)``.
        Validation and test hold 40 and 36 images of each class; train the other 1,037. No image
        is in two splits.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
    labels = torch.tensor(digits.target, dtype=torch.int64)
    return {
        name: Split(images[index], labels[index])
        for name, index in _partition(digits.target).items()
    }


def _partition(labels: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
    """Return the sorted indices of each split, drawn class by class."""
    generator = np.random.default_rng(_SPLIT_SEED)
    parts: dict[str, list[npt.NDArray[np.int64]]] = {"test": [], "validation": [], "train": []}
    for label in np.unique(labels):
        order = generator.permutation(np.flatnonzero(labels == label))
        test, validation, train = np.split(order, [_TEST, _TEST + _VALIDATION])
        parts["test"].append(test)
        parts["validation"].append(validation)
        parts["train"].append(train)
    return {name: np.sort(np.concatenate(part)) for name, part in parts.items()}


def network(*, weights: bool = True) -> Network:
    """Return the network, by default with the weights that come with the package.

    Parameters
    ----------
    weights : bool
        False gives freshly initialized weights, drawn from torch's global generator.

    Returns
    -------
    Network
        In evaluation mode, on the CPU.

    Raises
    ------
    LoadError
        When the weights are missing or damaged.
    """
    if not weights:
        return Network().eval()
    command = "python -m optprune.problems.train_digits"
    made: Network = trained(Network, WEIGHTS, "digits", command)
    return made


def task(device: str | torch.device = "cpu") -> Task:
    """Return the trained network with the digits.

    Parameters
    ----------
    device : str or torch.device
        Where everything is held and computed.

    Returns
    -------
    Task
        Its calibration split is a fixed part of train, 512 images without labels.

    Raises
    ------
    LoadError
        When the weights are missing or damaged.
    ArgumentError
        When there is no such device.
    """
    data = splits()
    return Task(
        network(),
        train=data["train"],
        validation=data["validation"],
        test=data["test"],
        name="digits",
        batch_size=200,
        build=Build("optprune.problems.digits:network", {"weights": False}),
        device=device,
    )


def problem(**changes: Any) -> Problem:
    """Return the pruning problem on the digits: least error at least MACs.

    Widths in steps of four channels that leave by their L1 score, batch-norm recalibration, and the
    validation error and the MACs as objectives.

    Parameters
    ----------
    **changes
        Arguments of `optprune.formulation.Problem` that replace these, and `task`.

    Returns
    -------
    Problem
        For example ``problem(recovery=op.recovery.Nothing())``.

    Raises
    ------
    ArgumentTypeError
        When a keyword is none of them.
    """
    made: Problem = make_problem(task, changes)
    return made
