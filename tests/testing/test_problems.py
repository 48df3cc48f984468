"""The canonical problems have the optima that their formulas say."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest

from optprune.errors import ArgumentError
from optprune.formulation import Problem, metrics
from optprune.search import Evaluations, nondominated, to_minimization
from optprune.testing import CASES, exhaustive
from optprune.testing.networks import chain_task

BY_NAME = {case.name: case for case in CASES}


@cache
def whole(name: str) -> tuple[Problem, Evaluations]:
    """Return a problem and all of its structures, evaluated once."""
    problem = BY_NAME[name].make()
    return problem, exhaustive(problem)


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
    every = whole(name)[1]
    assert len(every) == size
    assert len(set(every.structures)) == size


def test_the_valley_has_its_lowest_point_at_the_target():
    every = whole("smooth")[1]
    winner = every.structures[int(every.objectives.argmin())]
    assert winner.widths.tolist() == [2, 3, 3]
    assert every.objectives.min() == 0.0


def test_the_two_objectives_pull_apart():
    distortion, macs = whole("two objectives")[1].objectives.T
    assert np.corrcoef(distortion, macs)[0, 1] < -0.5
    assert distortion[macs.argmax()] == 0.0


def test_the_constraints_exclude_the_free_optimum():
    every = whole("constrained")[1]
    assert 0.05 < every.feasible.mean() < 0.8
    assert np.nanmin(every.objectives[every.feasible]) > 0.0


def test_the_narrow_constraint_is_met_by_few():
    every = whole("narrow")[1]
    assert 0 < every.feasible.mean() < 0.2


def test_a_failing_problem_fails_on_more_than_half():
    every = whole("failing")[1]
    assert 0.5 < every.failed.mean() < 1.0
    assert all(every.reasons[i] for i in np.flatnonzero(every.failed))


def best_of(name: str) -> np.ndarray:
    """Return the values that no other structure is better than, each once, in order."""
    problem, every = whole(name)
    values = np.unique(to_minimization(problem, every)[0][every.feasible], axis=0)
    return values[nondominated(values)]


def test_the_front_of_three_objectives_has_the_ends_that_the_formulas_say():
    front = best_of("three objectives")
    assert len(front) == 36
    # The least of each: the dense network, the narrowest one, and the valley's target.
    assert front[0] == pytest.approx(np.array([0.0, 1.0, 0.25 + 0.16 + 0.25]))
    assert front[:, 1].min() == pytest.approx((6 + 1 + 1 + 3) / 92)
    at_target = front[front[:, 2] == 0.0]
    macs = (6 * 2 + 2 * 3 + 3 * 3 + 3 * 3) / 92
    assert at_target == pytest.approx(np.array([[(0.25 + 4 * 0.16 + 2 * 0.25) / 7, macs, 0.0]]))


def test_the_best_ratios_within_the_bound_are_those_that_the_formulas_say():
    every = whole("continuous, one objective")[1]
    widths = np.array(list(itertools.product(range(1, 5), range(1, 6), range(1, 7))))
    first, second, third = widths.T
    macs = (6 * first + first * second + second * third + 3 * third) / 92
    kept = widths / [4, 5, 6]
    distortion = ((1 - kept) ** 2 @ [1.0, 4.0, 2.0]) / 7
    assert every.feasible.sum() == (macs <= 0.5).sum() == 72
    best = distortion[macs <= 0.5].min()
    assert best_of("continuous, one objective").tolist() == [[pytest.approx(best)]]
    assert 0.0 < best < 0.2


def test_the_front_of_masks_is_that_of_all_bits():
    problem = whole("binary front")[0]
    front = best_of("binary front")
    every = np.array([s.kept for s in whole("binary front")[1].structures])
    pairs = problem.objectives[0].function
    generator = np.random.default_rng(pairs.seed)
    alone, together = generator.standard_normal((2, 9))
    values = every @ alone + (every[:, :-1] & every[:, 1:]) @ together[:-1]
    assert front[:, 0].min() == pytest.approx(values.min())
    assert len(front) == 6


def test_the_front_with_failures_has_the_widest_first_group_only():
    every = whole("failing, several objectives")[1]
    first = np.array([s.widths[0] for s in every.structures])
    assert every.failed.tolist() == (first != 4).tolist()
    front = best_of("failing, several objectives")
    assert len(front) == 7
    # A first group kept whole is half of its width from the target.
    assert front[:, 0].min() == pytest.approx(0.25)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_the_minimization_form_is_finite(case):
    F, G = to_minimization(*whole(case.name))
    assert np.isfinite(F).all()
    assert np.isfinite(G).all()


def test_a_space_too_large_to_be_listed_is_refused():
    problem = Problem(chain_task((64,) * 3), objectives=[metrics.macs])
    with pytest.raises(ArgumentError, match="too large to be listed"):
        exhaustive(problem)
