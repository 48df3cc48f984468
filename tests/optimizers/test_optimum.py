"""The evolutionary optimizers reach the known optimum where random search fails."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import numpy as np
import pytest

from optprune.errors import SearchStopped
from optprune.optimizers import NSGA2, DeapGA, DeapNSGA2, Random
from optprune.search import Budget, Session, hypervolume, to_minimization
from optprune.testing import CASES, exhaustive
from optprune.testing.problems import ripples

SEEDS = range(5)


@cache
def whole(make):
    """Return a problem and all of its structures, evaluated once."""
    problem = make()
    return problem, exhaustive(problem)


def listed():
    """Return the rugged problem, its lowest value, and its number of structures."""
    problem, every = whole(ripples)
    return problem, every.objectives.min(), len(every)


def best(optimizer, problem, evaluations, seed):
    with Session(problem, Budget(evaluations=evaluations), seed=seed) as session:
        with pytest.raises(SearchStopped):
            optimizer.search(problem, session)
        return min(row.metrics["ripples"] for row in session.rows)


def test_the_rugged_problem_is_what_it_says():
    _, lowest, size = listed()
    every = whole(ripples)[1]
    assert size == 5184
    assert lowest == 0.0
    assert (every.objectives == lowest).sum() == 1
    winner = every.structures[int(every.objectives.argmin())]
    assert winner.widths.tolist() == [3, 6, 2, 7]


def test_the_rugged_problem_has_many_local_optima():
    _, _, size = listed()
    values = whole(ripples)[1].objectives.reshape(8, 8, 9, 9)
    lower = np.ones_like(values, dtype=bool)
    for axis in range(4):
        for shift in (1, -1):
            neighbor = np.roll(values, shift, axis)
            edge = [slice(None)] * 4
            edge[axis] = 0 if shift == 1 else -1
            neighbor[tuple(edge)] = np.inf
            lower &= values <= neighbor
    assert size / 500 < lower.sum()


@pytest.mark.parametrize("optimizer", [NSGA2(), DeapGA()], ids=repr)
def test_the_optimum_is_reached_with_a_tenth_of_the_space(optimizer):
    problem, lowest, size = listed()
    reached = [best(optimizer, problem, size // 10, seed) == lowest for seed in SEEDS]
    assert sum(reached) >= 4


def test_random_search_misses_the_optimum_in_most_seeds():
    problem, lowest, size = listed()
    reached = [best(Random(), problem, size // 10, seed) == lowest for seed in SEEDS]
    assert sum(reached) <= 2


TOO_LARGE_OR_SMALL = ("rugged", "tiny", "single", "single, several objectives")
HALVED = [case for case in CASES if case.name not in TOO_LARGE_OR_SMALL]
INFEASIBLE = [case for case in HALVED if case.name.startswith("infeasible")]
FEASIBLE = [case for case in HALVED if case not in INFEASIBLE]


def of_deap(problem):
    """Return the genetic algorithm of DEAP that is made for a problem."""
    return (DeapGA if problem.n_objectives == 1 else DeapNSGA2)(population=16)


def of_pymoo(_):
    return NSGA2(population=16)


@pytest.mark.parametrize("optimizer_for", [of_pymoo, of_deap])
@pytest.mark.parametrize("case", FEASIBLE, ids=repr)
def test_half_of_a_small_space_suffices_for_nearly_all_that_can_be_had(optimizer_for, case):
    problem, every = whole(case.make)
    optimizer = optimizer_for(problem)
    values, violations = to_minimization(problem, every)
    values = values[every.feasible]
    assert (violations[every.feasible] == 0).all()
    # From the best to the worst value of each objective: 0 to 1.
    low, high = values.min(axis=0), values.max(axis=0)
    reference = np.full(problem.n_objectives, 1.01)
    signs = [metric.sign for metric in problem.objectives]
    best = hypervolume((values - low) / (high - low), reference)
    shares = []
    for seed in range(3):
        budget = Budget(evaluations=min(len(every) // 2 + 1, 400))
        with Session(problem, budget, seed=seed) as session:
            with suppress(SearchStopped):
                optimizer.search(problem, session)
            rows = [row for row in session.rows if row.feasible]
        found = [[row.metrics[n] for n in problem.objective_names] for row in rows]
        scaled = (np.array(found) * signs - low) / (high - low)
        shares.append(hypervolume(scaled, reference) / best)
    assert np.median(shares) >= 0.95


@pytest.mark.parametrize("optimizer_for", [of_pymoo, of_deap])
@pytest.mark.parametrize("case", INFEASIBLE, ids=repr)
def test_half_of_a_small_space_suffices_for_the_least_violation(optimizer_for, case):
    problem, every = whole(case.make)
    optimizer = optimizer_for(problem)
    least = every.violations.sum(axis=1).min()
    reached = []
    for seed in range(3):
        with Session(problem, Budget(evaluations=len(every) // 2), seed=seed) as session:
            with pytest.raises(SearchStopped):
                optimizer.search(problem, session)
            reached.append(min(row.violation for row in session.rows) == pytest.approx(least))
    assert sum(reached) >= 2
