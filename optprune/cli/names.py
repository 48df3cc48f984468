"""What optprune's own optimizers are called on the command line.

Nothing is imported here, so that ``optprune solve --help`` can tell the names at once.
"""

from __future__ import annotations

__all__ = ["OPTIMIZERS"]

OPTIMIZERS = {
    "age-moea2": "AGEMOEA2",
    "binary-structural-search": "BinaryStructuralSearch",
    "c-taea": "CTAEA",
    "cma-es": "CMAES",
    "compensation-allocation": "CompensationAllocation",
    "convex-allocation": "ConvexAllocation",
    "deap-ga": "DeapGA",
    "deap-nsga2": "DeapNSGA2",
    "deap-nsga3": "DeapNSGA3",
    "differential-evolution": "DifferentialEvolution",
    "dual-annealing": "DualAnnealing",
    "ga": "GA",
    "genetic-selection": "GeneticSelection",
    "global-selection": "GlobalSelection",
    "greedy-elimination": "GreedyElimination",
    "hsic-allocation": "HSICAllocation",
    "mo-cma-es": "MOCMAES",
    "moead": "MOEAD",
    "nsga2": "NSGA2",
    "nsga3": "NSGA3",
    "particle-swarm": "ParticleSwarm",
    "pbil": "PBIL",
    "random": "Random",
    "rounds": "Rounds",
    "rvea": "RVEA",
    "scipy-de": "ScipyDE",
    "sensitivity-scan": "SensitivityScan",
    "simulated-annealing": "SimulatedAnnealing",
    "sms-emoa": "SMSEMOA",
    "spea2": "SPEA2",
    "table-allocation": "TableAllocation",
    "uniform": "UniformWidths",
    "unsga3": "UNSGA3",
}
"""What ``--optimizer`` takes, and the class in `optprune.optimizers`."""
