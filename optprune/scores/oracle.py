"""The oracle: what the loss says once a unit is gone, unit by unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from optprune.errors import TaskError
from optprune.scores.labelled import LabelledSample
from optprune.scores.protocol import ScoreContext
from optprune.surgery import ChannelGraph, Slicer, Structure

__all__ = ["Oracle"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Oracle:
    r"""The change of the loss when a unit alone leaves, measured.

    It is the reference that other scores stand in for, and too dear for large networks.

    Parameters
    ----------
    split : {"train", "validation"}
        Where the loss is measured.
    samples : int
        Labelled samples, at most.
    batch_size : int
        Samples in a batch; the score does not depend on it.
    seed : int
        Draws the samples.
    squared : bool
        Whether the change is squared, as the Taylor score approximates it; then a unit that harms
        is as important as one that helps as much. Otherwise the signed change: a unit without which
        the loss is lower leaves first.

    Raises
    ------
    ArgumentError
        When a number is not a positive integer, the seed is negative, or there is no such split.

    Notes
    -----
    With the loss :math:`L` of the network and :math:`L_{-u}` of the network without unit u
    (`optprune.surgery.Slicer`: really removed, nothing repaired),

    .. math:: s_u = (L_{-u} - L)^2 \quad\text{or}\quad s_u = L_{-u} - L .

    It costs ``n_units + 1`` forward passes over the samples. A unit without which the loss is not
    finite gets the largest importance found among all others (0 when there is none). No unit is the
    last of its group: a graph freezes groups of a single unit.

    References
    ----------
    .. [1] P. Molchanov, A. Mallya, S. Tyree, I. Frosio and J. Kautz, Importance estimation for
       neural network pruning, CVPR 2019, arXiv:1906.10771 (the squared change).
    .. [2] P. Molchanov, S. Tyree, T. Karras, T. Aila and J. Kautz, Pruning convolutional neural
       networks for resource efficient inference, ICLR 2017, arXiv:1611.06440 (the oracle).
    """

    higher_is_better: ClassVar[bool] = True

    split: Literal["train", "validation"] = "train"
    samples: int = 1024
    batch_size: int = 256
    seed: int = 0
    squared: bool = True

    def __post_init__(self) -> None:
        _ = self.sample

    @property
    def sample(self) -> LabelledSample:
        """The samples that the loss is measured on."""
        return LabelledSample(self.split, self.samples, self.batch_size, self.seed)

    def __call__(self, network: nn.Module, graph: ChannelGraph, context: ScoreContext) -> _Floats:
        """Score every unit; see `optprune.scores.Score`.

        Raises
        ------
        ArgumentError
            When there is no task to take labelled samples from, or it has not the split.
        GraphMismatchError
            When the network has not the parameters of the graph.
        TaskError
            When the loss of the whole network is not finite.
        """
        task, split = self.sample.of(context, "Oracle")
        slicer = Slicer(network, graph)

        def loss(structure: Structure) -> float:
            candidate = slicer.load(structure, slicer.take(structure))
            outputs = task.predict(
                candidate, split, meter=context.meter, batch_size=self.batch_size
            )
            return float(task.loss(outputs, split.labels))

        whole = loss(graph.full())
        if not np.isfinite(whole):
            raise TaskError(
                f"The loss of the network on the {self.split} split is {whole}: check its weights "
                "and the task's loss."
            )
        change = np.zeros(graph.n_units)
        for unit in range(graph.n_units):
            kept = np.ones(graph.n_units, dtype=np.bool_)
            kept[unit] = False
            change[unit] = loss(graph.structure(kept)) - whole
        importance = change**2 if self.squared else change
        known = np.isfinite(importance)
        importance[~known] = importance[known].max() if known.any() else 0.0
        return importance
