"""Every optimizer of the package, and which of the canonical problems each is made for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from optprune.dependence import Dependence
from optprune.formulation import Problem
from optprune.optimizers import (
    AGEMOEA2,
    CMAES,
    CTAEA,
    GA,
    MOCMAES,
    MOEAD,
    NSGA2,
    NSGA3,
    PBIL,
    RVEA,
    SMSEMOA,
    SPEA2,
    UNSGA3,
    BinaryStructuralSearch,
    Calibration,
    CompensationAllocation,
    ConvexAllocation,
    DeapGA,
    DeapNSGA2,
    DeapNSGA3,
    DifferentialEvolution,
    DualAnnealing,
    GeneticSelection,
    GlobalSelection,
    GreedyElimination,
    HSICAllocation,
    ParticleSwarm,
    ProjectionLosses,
    Random,
    Rounds,
    ScipyDE,
    SensitivityScan,
    SimulatedAnnealing,
    TableAllocation,
    UniformWidths,
)
from optprune.search import Optimizer
from optprune.testing import CASES

__all__ = ["EVERY", "OTHERWISE", "REAL", "SHIPPED", "SOME", "Shipped", "case_named"]

TARGETS = (0.8, 0.6)

# Each problem is traced once; three generations are enough to break a rule, and two where every
# candidate is run.
EVERY = [
    replace(case, make=cache(case.make), evaluations=16 if "real" in case.name else 24)
    for case in CASES
]
REAL = [case for case in EVERY if "real" in case.name]
SOME = [
    case
    for case in EVERY
    if case.name in ("rugged", "constrained", "continuous", "binary", "failing, several objectives")
]


def case_named(name):
    """Return a canonical problem, traced once."""
    return next(case for case in EVERY if case.name == name).make()


@dataclass(frozen=True)
class Shipped:
    """An optimizer, and what it is made for; the other problems it refuses.

    Parameters
    ----------
    optimizer : Optimizer
        With a small population.
    objectives : {"one", "several", "any"}
        How many the problem may have.
    bits, constraints : bool
        Whether the space may consist of bits, and the problem have constraints.
    variables : int
        How many the problem has at least.
    begins_full : bool
        Whether it begins at the full structure, which has to satisfy the constraints.
    draws : bool
        Whether it draws random numbers that lead to other proposals.
    """

    optimizer: Optimizer
    objectives: Literal["one", "several", "any"] = "any"
    bits: bool = True
    constraints: bool = True
    variables: int = 1
    begins_full: bool = False
    draws: bool = True

    def __repr__(self) -> str:
        return type(self.optimizer).__name__

    def suits(self, problem: Problem) -> bool:
        """Tell whether the optimizer is made for a problem."""
        several = problem.n_objectives > 1
        return (
            self.objectives in ("any", "several" if several else "one")
            and (self.bits or problem.bound_space.kind != "binary")
            and (self.constraints or not problem.constraints)
            and problem.bound_space.n_variables >= self.variables
            # No canonical problem allows the full structure if it bounds anything.
            and not (self.begins_full and problem.constraints)
        )

    @property
    def refusal(self) -> str:
        """What it says of a problem that it is not made for: why, and what to do."""
        if self.begins_full:
            return r" (begins at|starts from) .*(`targets=`|`macs=`)"
        return " .* ([Uu]se|Add|Keep|Make) "


SHIPPED = [
    *(
        Shipped(optimizer, "one", bits=False)
        for optimizer in (
            DifferentialEvolution(population=8),
            ParticleSwarm(population=8),
            ScipyDE(population=8),
            DualAnnealing(first=5),
        )
    ),
    Shipped(CMAES(population=6), "one", bits=False, variables=2),
    *(
        Shipped(optimizer, "one")
        for optimizer in (
            GA(population=8),
            DeapGA(population=7, offspring=5),
            PBIL(population=8),
            SimulatedAnnealing(steps=25, first=5),
        )
    ),
    *(
        Shipped(optimizer, "several")
        for optimizer in (
            NSGA3(population=8),
            SMSEMOA(population=8),
            SPEA2(population=8),
            RVEA(population=8),
            CTAEA(population=8),
            AGEMOEA2(population=8),
            DeapNSGA3(population=7),
        )
    ),
    Shipped(MOEAD(population=8, neighbors=4), "several", constraints=False),
    Shipped(MOCMAES(population=8), "several", bits=False),
    *(
        Shipped(optimizer)
        for optimizer in (
            NSGA2(population=8),
            UNSGA3(population=12, partitions=3),
            DeapNSGA2(population=8),
            Random(batch=8),
        )
    ),
    *(
        Shipped(optimizer, draws=False)
        for optimizer in (
            UniformWidths(),
            SensitivityScan(levels=3),
            GlobalSelection(targets=TARGETS),
            ConvexAllocation(TARGETS),
            HSICAllocation(TARGETS, dependence=Dependence(samples=16)),
            CompensationAllocation(TARGETS),
            TableAllocation(TARGETS, tables=ProjectionLosses(), calibration=Calibration()),
            GeneticSelection(ratios=(0.75, 0.5, 0.25), generations=2, population=4),
            Rounds(3, macs=0.75),
        )
    ),
    Shipped(GreedyElimination((0.2,)), begins_full=True, draws=False),
    Shipped(BinaryStructuralSearch(0.1, steps=3), begins_full=True, draws=False),
]
"""Every optimizer once."""

OTHERWISE = [
    Shipped(NSGA2(population=8, start="random", mutation=0.3)),
    Shipped(NSGA2(population=4, seeded_by=ConvexAllocation((0.8,)))),
    Shipped(UniformWidths(steps=5), draws=False),
    Shipped(CompensationAllocation(TARGETS, combine="log", floor=0.9), draws=False),
    Shipped(TableAllocation(TARGETS, tables=ProjectionLosses()), draws=False),
]
"""Some with other settings."""
