"""The canonical problems have the optima that their formulas say."""

from __future__ import annotations

import numpy as np
import pytest

from optprune.errors import ArgumentError
from optprune.formulation import Problem, metrics
from optprune.search import to_minimization
from optprune.testing import CASES, exhaustive
from optprune.testing.networks import chain_task

BY_NAME = {case.name: case for case in CASES}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("smooth", 4 * 5 * 6),
        ("rugged", 8 * 8 * 9 * 9),
        ("maximized", 2 * 6),
        ("binary", (2**4 - 1) * (2**5 - 1)),
        ("continuous", 4 * 5 * 6),
        ("tiny", 2 * 3),
    ],
)
def test_every_structure_is_listed_once(name, size):
    every = exhaustive(BY_NAME[name].make())
    assert len(every) == size
    assert len(set(every.structures)) == size


def test_the_valley_has_its_lowest_point_at_the_target():
    every = exhaustive(BY_NAME["smooth"].make())
    winner = every.structures[int(every.objectives.argmin())]
    assert winner.widths.tolist() == [2, 3, 3]
    assert every.objectives.min() == 0.0


def test_the_two_objectives_pull_apart():
    problem = BY_NAME["two objectives"].make()
    distortion, macs = exhaustive(problem).objectives.T
    assert np.corrcoef(distortion, macs)[0, 1] < -0.5
    assert distortion[macs.argmax()] == 0.0


def test_the_constraints_exclude_the_free_optimum():
    every = exhaustive(BY_NAME["constrained"].make())
    assert 0.05 < every.feasible.mean() < 0.8
    assert np.nanmin(every.objectives[every.feasible]) > 0.0


def test_the_narrow_constraint_is_met_by_few():
    every = exhaustive(BY_NAME["narrow"].make())
    assert 0 < every.feasible.mean() < 0.2


def test_a_failing_problem_fails_on_more_than_half():
    every = exhaustive(BY_NAME["failing"].make())
    assert 0.5 < every.failed.mean() < 1.0
    assert all(every.reasons[i] for i in np.flatnonzero(every.failed))


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_the_minimization_form_is_finite(case):
    problem = case.make()
    F, G = to_minimization(problem, exhaustive(problem))
    assert np.isfinite(F).all()
    assert np.isfinite(G).all()


def test_a_space_too_large_to_be_listed_is_refused():
    problem = Problem(chain_task((64,) * 3), objectives=[metrics.macs])
    with pytest.raises(ArgumentError, match="too large to be listed"):
        exhaustive(problem)
