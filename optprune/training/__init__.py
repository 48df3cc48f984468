"""Fitting weights: trainers for any network, with hooks for what a method adds to training."""

from optprune.training.hooks import Hooks, TrainingStep
from optprune.training.protocol import FitReport, Trainer
from optprune.training.sgd import SGD

__all__ = ["SGD", "FitReport", "Hooks", "Trainer", "TrainingStep"]
