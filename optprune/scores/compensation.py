"""The compensation-aware score: units that the others cannot make up for stay longest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from optprune.moments import LayerMoments
from optprune.scores.consumers import Consumer, ConsumerScore
from optprune.surgery import ChannelGroup

__all__ = ["Compensation"]

_Floats = npt.NDArray[np.float64]
_LEAST = 1e-6  # of a column's own variance: what single-precision moments cannot tell from nothing


@dataclass(frozen=True)
class Compensation(ConsumerScore):
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
    the share of the variance that was unexplained when it was chosen, added up over the consumers:
    it falls along the ranking, and after the first k units what is left is that which least squares
    leaves. So scores of different groups can be compared (`optprune.optimizers.GlobalSelection`).
    This is the pivoted form of the published selection; what it costs is
    :math:`O(d^3)` for a consumer with d columns, after one forward pass.

    References
    ----------
    .. [1] Z. Xie, Y. Fu, S. Tian, J. Zhou and D. Chen, Pruning with compensation: efficient channel
       pruning for deep convolutional neural networks, 2021, arXiv:2108.13728.
    """

    additive: ClassVar[bool] = False

    def of_group(self, consumers: Sequence[Consumer], group: ChannelGroup) -> _Floats | None:
        """Choose the units of a group one after another; see `ConsumerScore.of_group`."""
        left = [_Consumer(known, owners, group) for known, owners in consumers]
        left = [consumer for consumer in left if consumer.variance > 0]
        return _shares(left, group.width) if left else None


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
    """Return the unexplained shares of the variances at which each unit was chosen."""
    shares = np.zeros(width)
    free = torch.ones(width, dtype=torch.bool, device=consumers[0].second.device)
    left = sum(consumer.left for consumer in consumers)
    for chosen, gain in _greedy(consumers, free):
        shares[chosen] = left
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
