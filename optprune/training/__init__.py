"""Fitting weights: trainers for any network, with hooks for what a method adds to training."""

from optprune.training.distillation import Distillation
from optprune.training.hooks import Hooks, TrainingStep
from optprune.training.protocol import FitReport, TaughtTrainer, Trainer, taught_by
from optprune.training.sgd import SGD

__all__ = [
    "SGD",
    "Distillation",
    "FitReport",
    "Hooks",
    "TaughtTrainer",
    "Trainer",
    "TrainingStep",
    "taught_by",
]
