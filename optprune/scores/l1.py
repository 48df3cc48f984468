"""The L1 score: units with small weights leave first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from torch import nn

from optprune.scores.magnitude import ROLES, check_roles, relative_norms
from optprune.scores.protocol import ScoreContext
from optprune.surgery import ChannelGraph

__all__ = ["L1"]


@dataclass(frozen=True)
class L1:
    """The relative L1 norm (sum of absolute values) of all that leaves with a unit.

    Parameters
    ----------
    members : tuple of {"out", "in", "norm"}
        Which members count: the producing rows, the consuming columns, and the normalization
        along the way. All by default.

    Raises
    ------
    ArgumentError
        When `members` is empty or holds an unknown role.

    Notes
    -----
    The formula is that of `optprune.scores.magnitude.relative_norms` with p = 1. It needs no data.

    References
    ----------
    .. [1] H. Li, A. Kadav, I. Durdanovic, H. Samet and H. P. Graf, Pruning filters for efficient
       ConvNets, ICLR 2017, arXiv:1608.08710 (the producing side alone, ``members=("out",)``).
    """

    higher_is_better: ClassVar[bool] = True

    members: tuple[str, ...] = ROLES

    def __post_init__(self) -> None:
        check_roles(self.members)

    def __call__(
        self,
        network: nn.Module,
        graph: ChannelGraph,
        context: ScoreContext,  # noqa: ARG002 - part of the protocol
    ) -> npt.NDArray[np.float64]:
        """Score every unit; see `optprune.scores.Score`."""
        return relative_norms(network, graph, 1, self.members)
