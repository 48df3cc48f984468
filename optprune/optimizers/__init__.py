"""Optimizers: each proposes structures to a session and knows nothing of how they are run."""

from optprune.optimizers.age_moea2 import AGEMOEA2
from optprune.optimizers.binary_structural_search import BinaryStructuralSearch
from optprune.optimizers.c_taea import CTAEA
from optprune.optimizers.calibration import Calibration
from optprune.optimizers.cma_es import CMAES
from optprune.optimizers.convex_allocation import ConvexAllocation, HSICAllocation
from optprune.optimizers.deap_ga import DeapGA
from optprune.optimizers.deap_nsga2 import DeapNSGA2
from optprune.optimizers.deap_nsga3 import DeapNSGA3
from optprune.optimizers.differential_evolution import DifferentialEvolution
from optprune.optimizers.dual_annealing import DualAnnealing
from optprune.optimizers.genetic_algorithm import GA
from optprune.optimizers.genetic_selection import GeneticSelection
from optprune.optimizers.global_selection import GlobalSelection
from optprune.optimizers.greedy_elimination import GreedyElimination
from optprune.optimizers.group_importance import (
    Equal,
    GroupImportance,
    Independence,
    RandomImportance,
    ScoreSum,
)
from optprune.optimizers.latency_model import LatencyModel, fit_latency
from optprune.optimizers.loss_tables import LossTables, ProjectionLosses, ScoreLosses
from optprune.optimizers.mo_cma_es import MOCMAES
from optprune.optimizers.moead import MOEAD
from optprune.optimizers.nsga2 import NSGA2
from optprune.optimizers.nsga3 import NSGA3
from optprune.optimizers.particle_swarm import ParticleSwarm
from optprune.optimizers.pbil import PBIL
from optprune.optimizers.random_search import Random
from optprune.optimizers.rounds import Rounds
from optprune.optimizers.rvea import RVEA
from optprune.optimizers.scan_losses import ScanLosses
from optprune.optimizers.scipy_de import ScipyDE
from optprune.optimizers.selector import Selector
from optprune.optimizers.sensitivity_scan import SensitivityScan
from optprune.optimizers.simulated_annealing import SimulatedAnnealing
from optprune.optimizers.sms_emoa import SMSEMOA
from optprune.optimizers.spea2 import SPEA2
from optprune.optimizers.table_allocation import CompensationAllocation, TableAllocation
from optprune.optimizers.uniform_widths import UniformWidths
from optprune.optimizers.unsga3 import UNSGA3

__all__ = [
    "AGEMOEA2",
    "CMAES",
    "CTAEA",
    "GA",
    "MOCMAES",
    "MOEAD",
    "NSGA2",
    "NSGA3",
    "PBIL",
    "RVEA",
    "SMSEMOA",
    "SPEA2",
    "UNSGA3",
    "BinaryStructuralSearch",
    "Calibration",
    "CompensationAllocation",
    "ConvexAllocation",
    "DeapGA",
    "DeapNSGA2",
    "DeapNSGA3",
    "DifferentialEvolution",
    "DualAnnealing",
    "Equal",
    "GeneticSelection",
    "GlobalSelection",
    "GreedyElimination",
    "GroupImportance",
    "HSICAllocation",
    "Independence",
    "LatencyModel",
    "LossTables",
    "ParticleSwarm",
    "ProjectionLosses",
    "Random",
    "RandomImportance",
    "Rounds",
    "ScanLosses",
    "ScipyDE",
    "ScoreLosses",
    "ScoreSum",
    "Selector",
    "SensitivityScan",
    "SimulatedAnnealing",
    "TableAllocation",
    "UniformWidths",
    "fit_latency",
]
