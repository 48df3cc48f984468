"""Every shipped optimizer keeps the rules on every problem of the canonical list."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

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

# Each problem is traced once; three generations are enough to break a rule.
EVERY = [replace(case, make=cache(case.make), evaluations=40) for case in CASES]
SOME = [
    case
    for case in EVERY
    if case.name in ("rugged", "constrained", "continuous", "binary", "failing, several objectives")
]
OPTIMIZERS = [NSGA2(population=16), DeapGA(population=16), Random()]
OTHERWISE = NSGA2(population=8, start="random", mutation=0.3)
TARGETS = (0.8, 0.6)
ALLOCATIONS = [
    ConvexAllocation(TARGETS),
    HSICAllocation(TARGETS, dependence=Dependence(samples=16)),
    CompensationAllocation(TARGETS),
    TableAllocation(TARGETS, tables=ProjectionLosses(), calibration=Calibration()),
]
ALLOCATED_OTHERWISE = [
    CompensationAllocation(TARGETS, combine="log", floor=0.9),
    TableAllocation(TARGETS, tables=ProjectionLosses()),
]


@pytest.mark.parametrize("case", EVERY, ids=repr)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_the_optimizer_keeps_the_rules(optimizer, case):
    check_optimizer(optimizer, cases=[case], seeded=case.name == "rugged")


@pytest.mark.parametrize("case", SOME, ids=repr)
def test_with_other_settings_it_keeps_them_too(case):
    check_optimizer(OTHERWISE, cases=[case], seeded=case.name == "rugged")


@pytest.mark.parametrize("optimizer", [UniformWidths(), UniformWidths(steps=5)], ids=repr)
def test_the_sweep_keeps_the_rules_without_a_seed(optimizer):
    check_optimizer(optimizer, cases=EVERY, seeded=False)


@pytest.mark.parametrize("optimizer", ALLOCATIONS, ids=repr)
def test_an_allocation_keeps_the_rules_without_a_seed(optimizer):
    check_optimizer(optimizer, cases=EVERY, seeded=False)


@pytest.mark.parametrize("optimizer", ALLOCATED_OTHERWISE, ids=repr)
def test_an_allocation_with_other_settings_keeps_them_too(optimizer):
    check_optimizer(optimizer, cases=SOME, seeded=False)
