"""Nothing that an optimizer proposes depends on the order of hashes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
from contextlib import suppress
from optprune.errors import ArgumentError, SearchStopped
from optprune.optimizers import *
from optprune.search import Budget, Session
from optprune.testing import CASES

OPTIMIZERS = (
    NSGA2(population=8),
    DeapGA(population=8),
    DeapNSGA2(population=8),
    Random(),
    UniformWidths(),
    ConvexAllocation((0.8,)),
    TableAllocation((0.8,), tables=ProjectionLosses(), calibration=Calibration()),
    DeapNSGA3(population=8),
    MOCMAES(population=6),
    PBIL(population=8),
    ScipyDE(population=8),
    DualAnnealing(),
    SimulatedAnnealing(steps=20),
    GreedyElimination(),
    GA(population=6),
    DifferentialEvolution(population=6),
    ParticleSwarm(population=6),
    CMAES(population=6),
    UNSGA3(population=6, partitions=3),
    NSGA3(population=6, partitions=3),
    SMSEMOA(population=6),
    SPEA2(population=6),
    RVEA(population=6, partitions=3),
    CTAEA(population=6, partitions=3),
    MOEAD(population=6, neighbors=3),
)
# Every kind of vector with one objective and with several, bounds, failures, a frozen group.
NAMES = (
    "constrained",
    "maximized",
    "binary",
    "continuous",
    "three objectives",
    "binary front",
    "continuous, one objective",
    "failing, several objectives",
)
for case in (case for case in CASES if case.name in NAMES):
    problem = case.make()
    for optimizer in OPTIMIZERS:
        with Session(problem, Budget(evaluations=18), seed=1) as session:
            with suppress(SearchStopped, ArgumentError):  # what it is not made for is refused
                optimizer.search(problem, session)
            print(case.name, optimizer.name, [row.digest for row in session.rows])
"""


@pytest.mark.slow
def test_processes_with_other_hashes_propose_the_same():
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (run.communicate()[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert len(first.splitlines()) == 8 * 25
    assert first == second
