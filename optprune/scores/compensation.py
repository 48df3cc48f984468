"""The compensation-aware score: units that the others cannot make up for stay longest."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from optprune.errors import ArgumentError, ScoreWarning
from optprune.moments import LayerMoments, Sample, collect
from optprune.scores.l1 import L1
from optprune.scores.protocol import Score, ScoreContext
from optprune.surgery import ChannelGraph, ChannelGroup

__all__ = ["Compensation"]

_Floats = npt.NDArray[np.float64]
_LEAST = 1e-6  # of a column's own variance: what single-precision moments cannot tell from nothing


@dataclass(frozen=True)
class Compensation:
    r"""How much of what a group's consumers answer its units explain, chosen greedily.

    A unit is worth what the units that stay cannot make up for once the weights behind are
    fitted anew (`optprune.recovery.LeastSquares`), which has little to do with the size of its
    weights: of two units that carry the same, one leaves at no loss.

    Parameters
    ----------
    samples : int
        Calibration samples, at most.
    positions : int or None
        Output positions of a sample and layer, at most; None for all.
    seed : int
        Draws samples and positions.
    otherwise : Score
        For groups that no convolution or linear layer consumes, of which a `ScoreWarning` tells.

    Raises
    ------
    ArgumentError
        When a number cannot be used.

    Notes
    -----
    Let x be the inputs of a consumer with weights W, C their covariance, and G what is left of it
    once the columns S that were chosen have explained what they can,
    :math:`G = C - C_{:S} C_{SS}^{-1} C_{S:}`. Starting from nothing (or from what other groups
    deliver to the same consumer), the unit t is chosen that explains most of the variance of W x,

    .. math:: \operatorname{tr}\left(W G_{:t} \, G_{tt}^{-1} \, G_{t:} W^T\right),

    added up over the group's consumers, each relative to the variance of its outputs; then G is
    deflated by it. The columns of a unit are the positions under the kernel. The score of a unit is
    the share of the variance that was unexplained when it was chosen, in (0, 1]: it falls along the
    ranking, and after the first k units the share that is left is that which least squares leaves.
    This is the pivoted form of the published selection; what it costs is
    :math:`O(d^3)` for a consumer with d columns, after one forward pass.

    References
    ----------
    .. [1] Z. Xie, Y. Fu, S. Tian, J. Zhou and D. Chen, Pruning with compensation: efficient channel
       pruning for deep convolutional neural networks, 2021, arXiv:2108.13728.
    """

    samples: int = 1024
    positions: int | None = 16
    seed: int = 0
    otherwise: Score = field(default_factory=L1)

    def __post_init__(self) -> None:
        _ = self.sample

    @property
    def sample(self) -> Sample:
        """The rows that are looked at."""
        return Sample(self.samples, self.positions, seed=self.seed)

    def __call__(self, network: nn.Module, graph: ChannelGraph, context: ScoreContext) -> _Floats:
        """Score every unit; see `optprune.scores.Score`.

        Raises
        ------
        ArgumentError
            When there is no task to take samples from.
        TaskError
            When the task has no calibration split of two samples or more.
        """
        if context.task is None:
            raise ArgumentError(
                "the score Compensation needs data: give ScoreContext(task=...), as "
                "op.Problem does."
            )
        columns = _consumed(graph)
        names = sorted({layer for layers in columns.values() for layer in layers})
        taken, _ = collect(context.task, network, self.sample, meter=context.meter, layers=names)
        importance = np.zeros(graph.n_units)
        without: list[ChannelGroup] = []
        with context.meter.timed():
            for group in graph.groups:
                consumers = [
                    _Consumer(taken[name], owners, group)
                    for name, owners in columns[group.index].items()
                    if name in taken
                ]
                consumers = [consumer for consumer in consumers if consumer.variance > 0]
                if consumers:
                    importance[group.slice] = _shares(consumers, group.width)
                else:
                    without.append(group)
        if without:
            warnings.warn(
                "Compensation knows no consumer of the groups "
                f"{', '.join(repr(group.name) for group in without)}; they are scored by "
                f"{self.otherwise!r}.",
                ScoreWarning,
                stacklevel=2,
            )
            other = self.otherwise(network, graph, context)
            for group in without:
                importance[group.slice] = other[group.slice]
        return importance


def _consumed(graph: ChannelGraph) -> dict[int, dict[str, npt.NDArray[np.int32]]]:
    """Return, for every group, the layers that it enters, with the unit of each input channel."""
    found: dict[int, dict[str, npt.NDArray[np.int32]]] = {g.index: {} for g in graph.groups}
    group_of = np.repeat(np.arange(graph.n_groups), graph.widths)
    inputs = {m.tensor for g in graph.groups for m in g.members if m.role == "in" and m.dim == 1}
    for axis in graph.axes:
        layer, _, leaf = axis.tensor.rpartition(".")
        if axis.dim == 1 and leaf == "weight" and axis.tensor in inputs:
            for index in np.unique(group_of[axis.units[axis.units >= 0]]):
                found[int(index)][layer] = axis.units
    return found


class _Consumer:
    """What is left to explain of one layer's outputs.

    Parameters
    ----------
    known : LayerMoments
        Moments of the layer.
    owners : ndarray of int, shape (channels,)
        The unit of each input channel.
    group : ChannelGroup
        The group whose units are chosen.
    """

    def __init__(
        self, known: LayerMoments, owners: npt.NDArray[np.int32], group: ChannelGroup
    ) -> None:
        layer, moments = known.layer, known.moments
        device = moments.mean.device
        units = np.repeat(owners.astype(np.int64), layer.kernel)
        own = (units >= group.start) & (units < group.stop)
        order = np.argsort(np.where(own, units, -1), kind="stable")
        rest = int((~own).sum())
        columns = torch.from_numpy(order).to(device)
        second = moments.second / max(moments.count, 1)
        second = second.index_select(1, columns).index_select(2, columns)
        weight = layer.weight.double().index_select(2, columns)
        self.variance = float(((weight @ second) * weight).sum())
        answer = weight @ second
        # what other groups deliver stays
        second, answer = _deflated(second, answer, slice(0, rest))
        self.second, self.answer = second[:, rest:, rest:], answer[:, :, rest:]
        self.size = self.second.shape[1] // group.width
        self.floor = self.second.diagonal(dim1=1, dim2=2).clone()
        self.left = self._left(weight[:, :, rest:])

    def _left(self, weight: torch.Tensor) -> float:
        """Return the variance of the outputs that is unexplained, as a fraction."""
        return float((self.answer * weight).sum()) / self.variance if self.variance else 0.0

    def gains(self) -> torch.Tensor:
        """Return what each unit would explain, as a fraction, shape ``(width,)``."""
        groups, columns = self.floor.shape
        width = columns // self.size
        blocks = self.second.view(groups, width, self.size, width, self.size)
        blocks = blocks.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        answers = self.answer.view(groups, -1, width, self.size).permute(0, 2, 3, 1)
        solved = torch.linalg.solve(_lifted(blocks, self.floor.view(groups, width, -1)), answers)
        explained: torch.Tensor = (answers * solved).sum((0, 2, 3)) / self.variance
        return explained

    def choose(self, unit: int) -> None:
        """Deflate by a unit's columns."""
        part = slice(unit * self.size, (unit + 1) * self.size)
        self.second, self.answer = _deflated(self.second, self.answer, part, self.floor[:, part])


def _shares(consumers: list[_Consumer], width: int) -> _Floats:
    """Return the unexplained share of the variance at which each unit was chosen."""
    shares = np.zeros(width)
    free = torch.ones(width, dtype=torch.bool, device=consumers[0].second.device)
    left = before = sum(consumer.left for consumer in consumers)
    for chosen, gain in _greedy(consumers, free):
        shares[chosen] = left / before if before > 0 else 0.0
        left = max(left - gain, 0.0)
    return shares


def _greedy(consumers: list[_Consumer], free: torch.Tensor) -> Iterator[tuple[int, float]]:
    """Choose one unit after another, the most explaining first; among equals the lower index."""
    for _ in range(len(free)):
        gains = torch.stack([consumer.gains() for consumer in consumers]).sum(0)
        gains = torch.where(free, gains.clamp_min(0), -1.0)
        chosen = int(gains.argmax())
        yield chosen, float(gains[chosen])
        free[chosen] = False
        for consumer in consumers:
            consumer.choose(chosen)


def _deflated(
    second: torch.Tensor, answer: torch.Tensor, part: slice, floor: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take out what some columns explain of all columns and of the outputs."""
    if part.stop == part.start:
        return second, answer
    block = second[:, part, part]
    floor = block.diagonal(dim1=1, dim2=2) if floor is None else floor
    explains = torch.linalg.solve(_lifted(block, floor), second[:, part, :])
    return second - second[:, :, part] @ explains, answer - answer[:, :, part] @ explains


def _lifted(blocks: torch.Tensor, floor: torch.Tensor) -> torch.Tensor:
    """Keep blocks solvable that the chosen columns explain, or that have no variance."""
    least = _LEAST * floor + torch.finfo(torch.float64).tiny ** 0.5
    return blocks + torch.diag_embed(least)
