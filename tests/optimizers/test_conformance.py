"""Every shipped optimizer keeps the rules on every problem of the canonical list."""

from __future__ import annotations

import pytest

from optprune.dependence import Dependence
from optprune.optimizers import (
    NSGA2,
    Calibration,
    CompensationAllocation,
    ConvexAllocation,
    DeapGA,
    HSICAllocation,
    ProjectionLosses,
    Random,
    TableAllocation,
    UniformWidths,
)
from optprune.testing import CASES, check_optimizer

OPTIMIZERS = [
    NSGA2(population=16),
    NSGA2(population=8, start="random", mutation=0.3),
    DeapGA(population=16),
    Random(),
]
TARGETS = (0.8, 0.6)
ALLOCATIONS = [
    ConvexAllocation(TARGETS),
    HSICAllocation(TARGETS, dependence=Dependence(samples=16)),
    CompensationAllocation(TARGETS),
    CompensationAllocation(TARGETS, combine="log", floor=0.9),
    TableAllocation(TARGETS, tables=ProjectionLosses()),
    TableAllocation(TARGETS, tables=ProjectionLosses(), calibration=Calibration()),
]


@pytest.mark.parametrize("case", CASES, ids=repr)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_the_optimizer_keeps_the_rules(optimizer, case):
    check_optimizer(optimizer, cases=[case], seeded=case.name == "rugged")


@pytest.mark.parametrize("optimizer", [UniformWidths(), UniformWidths(steps=5)], ids=repr)
def test_the_sweep_keeps_the_rules_without_a_seed(optimizer):
    check_optimizer(optimizer, seeded=False)


@pytest.mark.parametrize("optimizer", ALLOCATIONS, ids=repr)
def test_an_allocation_keeps_the_rules_without_a_seed(optimizer):
    check_optimizer(optimizer, seeded=False)
