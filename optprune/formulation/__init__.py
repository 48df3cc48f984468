"""Pruning written as an optimization problem: what is decided, measured and required."""

from optprune.formulation import metrics
from optprune.formulation.candidate import Candidate
from optprune.formulation.constraint import Constraint
from optprune.formulation.decorator import metric
from optprune.formulation.masks import Masks
from optprune.formulation.metric import Metric
from optprune.formulation.problem import Problem
from optprune.formulation.proposal import Proposal, Start
from optprune.formulation.ratios import Ratios
from optprune.formulation.space import BoundSpace, Space
from optprune.formulation.widths import Widths

__all__ = [
    "BoundSpace",
    "Candidate",
    "Constraint",
    "Masks",
    "Metric",
    "Problem",
    "Proposal",
    "Ratios",
    "Space",
    "Start",
    "Widths",
    "metric",
    "metrics",
]
