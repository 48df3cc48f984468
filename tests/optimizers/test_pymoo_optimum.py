"""Each of pymoo's methods does better than random search, in the median of its seeds."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import numpy as np
import pytest

from optprune.errors import SearchStopped
from optprune.formulation import Metric, Problem, Ratios, metrics
from optprune.optimizers import (
    AGEMOEA2,
    CMAES,
    CTAEA,
    GA,
    MOEAD,
    NSGA3,
    RVEA,
    SMSEMOA,
    SPEA2,
    UNSGA3,
    DifferentialEvolution,
    ParticleSwarm,
    Random,
)
from optprune.scores import L1
from optprune.search import Budget, Session, hypervolume
from optprune.testing.networks import chain_task
from optprune.testing.problems import Distortion, Valley, ripples

SEEDS = range(3)
EVALUATIONS = 240
WIDTHS = (16, 16, 18, 18, 16, 20)
ONE = [GA(), UNSGA3(), DifferentialEvolution(), ParticleSwarm(), CMAES()]
SEVERAL = [NSGA3(), UNSGA3(), SMSEMOA(), SPEA2(), RVEA(), CTAEA(), MOEAD(), AGEMOEA2()]


def measure(name, function):
    return Metric(name, function, needs="structure", version=1)


VALLEY = measure("valley", Valley((0.3, 0.7, 0.2, 0.8, 0.5, 0.6)))
DISTORTION = measure("distortion", Distortion((1.0, 4.0, 2.0, 1.0, 3.0, 1.0)))


@cache
def posed(name):
    """Return a problem on 30 million structures."""
    task = chain_task(WIDTHS)
    if name == "smooth":
        return Problem(task, objectives=[VALLEY])
    if name == "bounded":
        return Problem(
            task,
            objectives=[DISTORTION],
            subject_to=[metrics.macs <= 0.3, metrics.parameters >= 0.2],
        )
    if name == "ratios":
        return Problem(task, space=Ratios(score=L1()), objectives=[VALLEY])
    objectives = [DISTORTION, metrics.macs, VALLEY]
    return Problem(task, objectives=objectives[: {"two": 2, "three": 3}[name]])


def feasible(optimizer, problem, seed, evaluations=EVALUATIONS):
    """Return the objectives of what a search finds, shape (n, n_objectives)."""
    with Session(problem, Budget(evaluations=evaluations), seed=seed) as session:
        with suppress(SearchStopped):
            optimizer.search(problem, session)
        rows = [row for row in session.rows if row.feasible]
    return np.array([[row.metrics[name] for name in problem.objective_names] for row in rows])


@cache
def least(optimizer, name):
    """Return the median over the seeds of the lowest value."""
    return np.median([feasible(optimizer, posed(name), seed).min() for seed in SEEDS])


@cache
def volume(optimizer, name):
    """Return the median over the seeds of the front's hypervolume."""
    reference = np.array([1.01, 1.01, 1.5])[: posed(name).n_objectives]
    return np.median(
        [hypervolume(feasible(optimizer, posed(name), seed), reference) for seed in SEEDS]
    )


@pytest.mark.parametrize("name", ["smooth", "bounded", "ratios"])
@pytest.mark.parametrize("optimizer", ONE, ids=lambda o: o.name)
def test_one_objective_is_lower_than_by_chance(optimizer, name):
    assert least(optimizer, name) < least(Random(), name)


@pytest.mark.parametrize("name", ["two", "three"])
@pytest.mark.parametrize("optimizer", SEVERAL, ids=lambda o: o.name)
def test_the_front_covers_more_than_by_chance(optimizer, name):
    assert volume(optimizer, name) > volume(Random(), name)


def test_cma_es_comes_nearest_on_a_smooth_objective():
    # The nearest widths to the target: half a unit off at most in each group.
    nearest = sum((0.5 / width) ** 2 for width in WIDTHS)
    assert least(CMAES(), "smooth") <= nearest
    assert least(GA(), "smooth") > least(CMAES(), "smooth")


@pytest.mark.parametrize("optimizer", [GA(), CMAES(), DifferentialEvolution()], ids=repr)
def test_the_rugged_optimum_is_reached_with_a_tenth_of_the_space(optimizer):
    problem = ripples()
    reached = [feasible(optimizer, problem, seed, 518).min() == 0.0 for seed in SEEDS]
    assert sum(reached) >= 2
