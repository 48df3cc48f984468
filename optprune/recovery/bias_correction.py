"""Bias correction: the means of the outputs are put back, and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import nn

from optprune.recovery.layer_fit import LayerFit
from optprune.recovery.least_squares import LeastSquares
from optprune.recovery.protocol import RecoveryContext

__all__ = ["BiasCorrection"]


@dataclass(frozen=True)
class BiasCorrection:
    """Shifts the outputs of the layers behind a cut to the means that they had.

    The intercepts of least squares alone: the weights stay. It costs about as much. A constant goes
    into the bias, or into the running mean of the batch normalization that follows; a layer with
    neither is left alone.

    Parameters
    ----------
    statistics : {"asymmetric", "symmetric"}
        On what the pruned network delivers, front to back, or from the dense network's means
        alone, without a forward pass; see `optprune.recovery.LeastSquares`.
    samples : int
        Calibration samples, at most.
    positions : int or None
        Output positions of a sample and layer, at most; None for all.
    seed : int
        Draws samples and positions: the same for every candidate.

    Raises
    ------
    ArgumentError
        When an argument has a value that cannot be used.

    References
    ----------
    .. [1] M. Nagel, M. van Baalen, T. Blankevoort and M. Welling, Data-free quantization through
       weight equalization and bias correction, ICCV 2019, arXiv:1906.04721 (there for
       quantization).
    """

    statistics: Literal["asymmetric", "symmetric"] = "asymmetric"
    samples: int = 1024
    positions: int | None = 16
    seed: int = 0

    def __post_init__(self) -> None:
        _ = self._least_squares

    @property
    def _least_squares(self) -> LeastSquares:
        """The fit in which an infinite ridge keeps the weights as they are."""
        return LeastSquares(
            self.statistics,
            samples=self.samples,
            positions=self.positions,
            ridge=math.inf,
            refinements=0,
            seed=self.seed,
        )

    def recover(self, network: nn.Module, context: RecoveryContext) -> None:
        """Correct the network in place; see `optprune.recovery.Recovery.recover`.

        Raises
        ------
        RecoveryError
            When the task has no calibration split of two samples or more.
        """
        self.fit(network, context)

    def fit(self, network: nn.Module, context: RecoveryContext) -> list[LayerFit]:
        """Correct the network in place and tell what happened to every layer.

        Parameters
        ----------
        network : nn.Module
            The small network.
        context : RecoveryContext
            Task, graph, structure and meters.

        Returns
        -------
        list of LayerFit
            In the order of the layers' calls.

        Raises
        ------
        RecoveryError
            When the task has no calibration split of two samples or more.
        """
        return self._least_squares.fit(network, context)
