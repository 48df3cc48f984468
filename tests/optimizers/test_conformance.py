"""Every shipped optimizer keeps the rules on every problem of the canonical list."""

from __future__ import annotations

import pytest

from optprune.optimizers import NSGA2, DeapGA, Random, UniformWidths
from optprune.testing import CASES, check_optimizer

OPTIMIZERS = [
    NSGA2(population=16),
    NSGA2(population=8, start="random", mutation=0.3),
    DeapGA(population=16),
    Random(),
]


@pytest.mark.parametrize("case", CASES, ids=repr)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_the_optimizer_keeps_the_rules(optimizer, case):
    check_optimizer(optimizer, cases=[case], seeded=case.name == "rugged")


@pytest.mark.parametrize("optimizer", [UniformWidths(), UniformWidths(steps=5)], ids=repr)
def test_the_sweep_keeps_the_rules_without_a_seed(optimizer):
    check_optimizer(optimizer, seeded=False)
