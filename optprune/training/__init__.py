"""Fitting weights: trainers for any network, with hooks for what a method adds to training."""

from optprune.training import assimilation
from optprune.training.assimilation import EKI, ESMDA, EnKF
from optprune.training.distillation import Distillation
from optprune.training.hooks import Hooks, TrainingStep
from optprune.training.protocol import FitReport, TaughtTrainer, Trainer, taught_by
from optprune.training.sgd import SGD

__all__ = [
    "EKI",
    "ESMDA",
    "SGD",
    "Distillation",
    "EnKF",
    "FitReport",
    "Hooks",
    "TaughtTrainer",
    "Trainer",
    "TrainingStep",
    "assimilation",
    "taught_by",
]
