"""The activation score: units that are silent, or always say the same, leave first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from optprune.errors import ArgumentError
from optprune.moments import LayerMoments
from optprune.scores.consumers import Consumer, ConsumerScore
from optprune.surgery import ChannelGroup

__all__ = ["Activation"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Activation(ConsumerScore):
    r"""How strongly a unit varies, or how large it is, where it is consumed.

    Parameters
    ----------
    statistic : {"variance", "mean"}
        The variance of the activation, or the absolute value of its mean. Behind a ReLU, or
        whatever else keeps one sign, the latter is the mean absolute activation.
    samples : int
        Calibration samples, at most; no labels are needed.
    positions : int or None
        Output positions of a sample and layer, at most; None for all.
    seed : int
        Draws samples and positions.
    otherwise : Score
        For groups that no convolution or linear layer consumes, of which a `ScoreWarning` tells.

    Raises
    ------
    ArgumentError
        When a number cannot be used, or there is no such statistic.

    Notes
    -----
    Let :math:`t_{l,u}` be the statistic of unit u in the inputs of its consumer l, averaged over
    its columns: the positions under the kernel, the groups of a grouped convolution, and the
    indices that leave together (through a flatten, or as an attention head). With the consumers
    :math:`L_g` of its group g,

    .. math:: s_u = \frac{1}{|L_g|} \sum_{l \in L_g}
              \frac{t_{l,u}}{\frac{1}{|g|} \sum_{v \in g} t_{l,v}}

    where a consumer that the whole group reaches as zeros counts 0. So a consumer that sees large
    activations does not drown the others; the weights that wait for the unit have no part. One
    forward pass; memory :math:`8 d^2` bytes for a consumer with d columns.

    References
    ----------
    .. [1] A. Polyak and L. Wolf, Channel-level acceleration of deep face representations, IEEE
       Access 3, 2163-2175, 2015, doi:10.1109/ACCESS.2015.2494536 (the variance of a channel).
    .. [2] P. Molchanov, S. Tyree, T. Karras, T. Aila and J. Kautz, Pruning convolutional neural
       networks for resource efficient inference, ICLR 2017, arXiv:1611.06440 (the mean activation,
       as a criterion to compare with). The average over relative consumers is ours.
    """

    statistic: Literal["variance", "mean"] = field(default="variance", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.statistic not in ("variance", "mean"):
            raise ArgumentError(f"statistic must be 'variance' or 'mean', got {self.statistic!r}.")

    def of_group(self, consumers: Sequence[Consumer], group: ChannelGroup) -> _Floats | None:
        """Average what the consumers see of a group; see `ConsumerScore.of_group`."""
        relative = [_relative(self._of_channels(k), units, group) for k, units in consumers]
        return np.asarray(np.mean(relative, axis=0), dtype=np.float64)

    def _of_channels(self, known: LayerMoments) -> _Floats:
        """Return the statistic of a layer's input channels, shape ``(channels a group,)``."""
        moments = known.moments
        if self.statistic == "mean":
            columns = moments.mean.abs()
        else:
            columns = moments.second.diagonal(dim1=1, dim2=2) / max(moments.count, 1)
        channels: torch.Tensor = columns.mean(0).view(-1, known.layer.kernel).mean(1)
        return channels.cpu().numpy()


def _relative(channels: _Floats, units: npt.NDArray[np.int32], group: ChannelGroup) -> _Floats:
    """Return the mean over each unit's channels, relative to the mean of the group's units."""
    own = (units >= group.start) & (units < group.stop)
    place = units[own] - group.start
    counts = np.bincount(place, minlength=group.width)
    means = np.bincount(place, channels[own], minlength=group.width) / np.maximum(counts, 1)
    whole = means.mean()
    return means / whole if whole > 0 else np.zeros(group.width)
