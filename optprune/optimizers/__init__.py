"""Optimizers: each proposes structures to a session and knows nothing of how they are run."""

from optprune.optimizers.binary_structural_search import BinaryStructuralSearch
from optprune.optimizers.calibration import Calibration
from optprune.optimizers.convex_allocation import ConvexAllocation, HSICAllocation
from optprune.optimizers.deap_ga import DeapGA
from optprune.optimizers.genetic_selection import GeneticSelection
from optprune.optimizers.global_selection import GlobalSelection
from optprune.optimizers.group_importance import (
    Equal,
    GroupImportance,
    Independence,
    RandomImportance,
    ScoreSum,
)
from optprune.optimizers.latency_model import LatencyModel, fit_latency
from optprune.optimizers.loss_tables import LossTables, ProjectionLosses, ScoreLosses
from optprune.optimizers.nsga2 import NSGA2
from optprune.optimizers.random_search import Random
from optprune.optimizers.rounds import Rounds
from optprune.optimizers.scan_losses import ScanLosses
from optprune.optimizers.selector import Selector
from optprune.optimizers.sensitivity_scan import SensitivityScan
from optprune.optimizers.table_allocation import CompensationAllocation, TableAllocation
from optprune.optimizers.uniform_widths import UniformWidths

__all__ = [
    "NSGA2",
    "BinaryStructuralSearch",
    "Calibration",
    "CompensationAllocation",
    "ConvexAllocation",
    "DeapGA",
    "Equal",
    "GeneticSelection",
    "GlobalSelection",
    "GroupImportance",
    "HSICAllocation",
    "Independence",
    "LatencyModel",
    "LossTables",
    "ProjectionLosses",
    "Random",
    "RandomImportance",
    "Rounds",
    "ScanLosses",
    "ScoreLosses",
    "ScoreSum",
    "Selector",
    "SensitivityScan",
    "TableAllocation",
    "UniformWidths",
    "fit_latency",
]
