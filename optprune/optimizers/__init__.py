"""Optimizers: each proposes structures to a session and knows nothing of how they are run."""

from optprune.optimizers.binary_structural_search import BinaryStructuralSearch
from optprune.optimizers.deap_ga import DeapGA
from optprune.optimizers.genetic_selection import GeneticSelection
from optprune.optimizers.global_selection import GlobalSelection
from optprune.optimizers.nsga2 import NSGA2
from optprune.optimizers.random_search import Random
from optprune.optimizers.rounds import Rounds
from optprune.optimizers.sensitivity_scan import SensitivityScan
from optprune.optimizers.uniform_widths import UniformWidths

__all__ = [
    "NSGA2",
    "BinaryStructuralSearch",
    "DeapGA",
    "GeneticSelection",
    "GlobalSelection",
    "Random",
    "Rounds",
    "SensitivityScan",
    "UniformWidths",
]
