"""The L2 score: units with small weights leave first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from torch import nn

from optprune.scores.magnitude import ROLES, check_roles, relative_norms
from optprune.scores.protocol import ScoreContext
from optprune.surgery import ChannelGraph

__all__ = ["L2"]


@dataclass(frozen=True)
class L2:
    """The relative L2 norm (Euclidean length) of all that leaves with a unit.

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
    The formula is that of `optprune.scores.magnitude.relative_norms` with p = 2. It needs no data.

    References
    ----------
    .. [1] G. Fang, X. Ma, M. Song, M. Bi Mi and X. Wang, DepGraph: Towards any structural pruning,
       CVPR 2023, arXiv:2301.12900 (magnitudes over all coupled layers; the normalization by layer
       and group is ours).
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
        return relative_norms(network, graph, 2, self.members)
