"""Repairing weights after removal."""

from optprune.recovery.batch_norm import BatchNorm
from optprune.recovery.bias_correction import BiasCorrection
from optprune.recovery.fine_tune import FineTune
from optprune.recovery.layer_fit import LayerFit
from optprune.recovery.least_squares import LeastSquares
from optprune.recovery.nothing import Nothing
from optprune.recovery.pipeline import Pipeline
from optprune.recovery.protocol import Recovery, RecoveryContext, Shared

__all__ = [
    "BatchNorm",
    "BiasCorrection",
    "FineTune",
    "LayerFit",
    "LeastSquares",
    "Nothing",
    "Pipeline",
    "Recovery",
    "RecoveryContext",
    "Shared",
]
