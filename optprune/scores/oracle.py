"""The oracle: what the loss says once a unit is gone, unit by unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
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
        Samples whose mean change is squared, as in `optprune.scores.Taylor`. The signed change does
        not depend on it.
    seed : int
        Draws the samples and their order.
    squared : bool
        Whether changes are squared, as the Taylor score approximates them; then a unit that harms
        is as important as one that helps as much. Otherwise the signed change: a unit without which
        the loss is lower leaves first.

    Raises
    ------
    ArgumentError
        When a number is not a positive integer, the seed is negative, or there is no such split.

    Notes
    -----
    With the mean loss :math:`L_b` of the network on the mini-batch b of :math:`n_b` samples, and
    :math:`L_{b,-u}` of the network without unit u (`optprune.surgery.Slicer`: really removed,
    nothing repaired),

    .. math:: s_u = \frac{1}{\sum_b n_b} \sum_b n_b (L_{b,-u} - L_b)^2 \quad\text{or}\quad
              s_u = \frac{1}{\sum_b n_b} \sum_b n_b (L_{b,-u} - L_b) .

    The squares are those of small batches for the reason that `optprune.scores.Taylor` gives: over
    all samples at once, a unit that helps half of them and harms the other half would count as one
    that does nothing, and the order of the many units whose changes nearly cancel would be chance.

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
    batch_size: int = 8
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

        labels = torch.split(split.labels, self.batch_size)
        weights = np.array([len(part) for part in labels]) / len(split)

        def losses(structure: Structure) -> _Floats:
            candidate = slicer.load(structure, slicer.take(structure))
            outputs = task.predict(candidate, split, meter=context.meter)
            parts = torch.split(outputs, self.batch_size)
            return np.array([float(task.loss(*pair)) for pair in zip(parts, labels, strict=True)])

        whole = losses(graph.full())
        if not np.isfinite(whole).all():
            raise TaskError(
                f"The loss of the network on the {self.split} split is {weights @ whole}: check "
                "its weights and the task's loss."
            )
        importance = np.zeros(graph.n_units)
        for unit in range(graph.n_units):
            kept = np.ones(graph.n_units, dtype=np.bool_)
            kept[unit] = False
            change = losses(graph.structure(kept)) - whole
            importance[unit] = weights @ (change**2 if self.squared else change)
        known = np.isfinite(importance)
        importance[~known] = importance[known].max() if known.any() else 0.0
        return importance
