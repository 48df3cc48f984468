"""What one network of the list is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

__all__ = ["CLASSES", "Entry", "Inputs", "image", "tokens"]

Inputs: TypeAlias = torch.Tensor | tuple[torch.Tensor, ...] | dict[str, torch.Tensor]

CLASSES = 10
"""Classes of every network that lets one choose."""


@dataclass(frozen=True)
class Entry:
    """A network with random weights, and what it is called with.

    Parameters
    ----------
    name : str
        ``"source/architecture"``, unique in the list.
    kind : str
        What the network is made of or for: ``"convolutional"``, ``"attention"``, ``"mixed"``
        (both), ``"mlp"``, ``"recurrent"``, ``"segmentation"``, ``"detection"`` or ``"code"`` (a
        network that is in the list for how its code is written).
    family : str
        The architecture's family.
    build : callable
        Makes the network; nothing is imported or built before.
    inputs : callable
        Makes the inputs of a number of samples, always the same.
    size : tuple of int
        Shape of one sample: the smallest, or nearly so, that the network runs and trains with.
    heads : tuple of str
        Layers (or patterns of their names) that produce outputs, beyond those with `CLASSES`
        outputs. A tool that does not find the outputs itself is told.
    representative : bool
        Whether it is one of the small ones, spread over the kinds, for continuous integration.
    """

    name: str
    kind: str
    family: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], Inputs]
    size: tuple[int, ...]
    heads: tuple[str, ...] = ()
    representative: bool = False

    @property
    def source(self) -> str:
        """Where the network comes from."""
        return self.name.partition("/")[0]

    def __str__(self) -> str:
        return self.name


def image(*shape: int) -> Callable[[int], torch.Tensor]:
    """Return a function that draws normal inputs of one shape, always the same."""

    def draw(batch: int) -> torch.Tensor:
        return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))

    return draw


def tokens(vocabulary: int, length: int) -> Callable[[int], torch.Tensor]:
    """Return a function that draws rows of token numbers, always the same."""

    def draw(batch: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, vocabulary, (batch, length), generator=generator)

    return draw
