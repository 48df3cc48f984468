"""Training without gradients: weights are conditioned on data by an ensemble of networks.

The weights are the state, the targets are the observations, and an ensemble carries the covariance
of the two. Everything is in the space of the members: the cost is linear in the number of weights
and of observations.

- `ESMDA`: all data, several times, each time less trusted;
- `EnKF`: a batch at a time, as it arrives;
- `EKI`: an optimizer, with new members for each batch;
- `Ensemble` and `analysis`: what they are made of.
"""

from optprune.training.assimilation.analysis import analysis
from optprune.training.assimilation.coefficients import coefficients
from optprune.training.assimilation.eki import EKI
from optprune.training.assimilation.enkf import EnKF
from optprune.training.assimilation.ensemble import Ensemble, Prediction
from optprune.training.assimilation.esmda import ESMDA
from optprune.training.assimilation.inflation import (
    Additive,
    Inflation,
    Multiplicative,
    Relaxation,
)
from optprune.training.assimilation.localization import (
    Correlation,
    Localization,
    Mask,
    OutputBlocks,
)
from optprune.training.assimilation.observation import (
    BinaryCrossEntropy,
    CrossEntropy,
    Gaussian,
    Observation,
)
from optprune.training.assimilation.report import AssimilationReport, Update

__all__ = [
    "EKI",
    "ESMDA",
    "Additive",
    "AssimilationReport",
    "BinaryCrossEntropy",
    "Correlation",
    "CrossEntropy",
    "EnKF",
    "Ensemble",
    "Gaussian",
    "Inflation",
    "Localization",
    "Mask",
    "Multiplicative",
    "Observation",
    "OutputBlocks",
    "Prediction",
    "Relaxation",
    "Update",
    "analysis",
    "coefficients",
]
