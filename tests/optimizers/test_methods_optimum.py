"""DEAP's, SciPy's and our own methods do better than random search, in the median of the seeds."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import numpy as np
import pytest

from optprune.errors import SearchStopped
from optprune.formulation import Masks, Metric, Problem, Ratios, metrics
from optprune.optimizers import (
    MOCMAES,
    PBIL,
    DeapGA,
    DeapNSGA2,
    DeapNSGA3,
    DualAnnealing,
    Random,
    ScipyDE,
    SimulatedAnnealing,
)
from optprune.scores import L1
from optprune.search import Budget, Session, hypervolume
from optprune.testing.networks import chain_task
from optprune.testing.problems import Distortion, Pairs, Ripples, Valley

SEEDS = range(3)
EVALUATIONS = {"bounded": 240, "3": 240}  # elsewhere half as many
WIDTHS = (16, 16, 18, 18, 16, 20)
REAL = [ScipyDE(population=12), DualAnnealing()]
ONE = [
    *REAL,
    PBIL(population=12),
    SimulatedAnnealing(steps=120),
    DeapGA(population=12, offspring=6),
]
SEVERAL = [DeapNSGA2(population=12), DeapNSGA3(population=12), MOCMAES(population=8)]


def measure(name, function):
    return Metric(name, function, needs="structure", version=1)


VALLEY = measure("valley", Valley((0.3, 0.7, 0.2, 0.8, 0.5, 0.6)))
DISTORTION = measure("distortion", Distortion((1.0, 4.0, 2.0, 1.0, 3.0, 1.0)))


@cache
def posed(name):
    """Return a problem on 26 million structures, or on 2^20 masks."""
    if name == "bits":
        pairs = measure("pairs", Pairs())
        return Problem(chain_task((10, 10)), space=Masks(score=L1()), objectives=[pairs])
    task = chain_task(WIDTHS)
    if name == "smooth":
        return Problem(task, objectives=[VALLEY])
    if name == "bounded":
        bounds = [metrics.macs <= 0.3, metrics.parameters >= 0.2]
        return Problem(task, objectives=[DISTORTION], subject_to=bounds)
    if name == "ratios":
        return Problem(task, space=Ratios(score=L1()), objectives=[VALLEY])
    if name == "front within bounds":
        objectives = [DISTORTION, metrics.parameters]
        return Problem(task, objectives=objectives, subject_to=[metrics.macs <= 0.2])
    return Problem(task, objectives=[DISTORTION, metrics.macs, VALLEY][: int(name)])


def feasible(optimizer, problem, seed, evaluations):
    """Return the objectives of what a search finds, shape (n, n_objectives)."""
    with Session(problem, Budget(evaluations=evaluations), seed=seed) as session:
        with suppress(SearchStopped):
            optimizer.search(problem, session)
        rows = [row for row in session.rows if row.feasible]
    return np.array([[row.metrics[name] for name in problem.objective_names] for row in rows])


@cache
def least(optimizer, name):
    """Return the median over the seeds of the lowest value."""
    evaluations = EVALUATIONS.get(name, 120)
    return np.median([feasible(optimizer, posed(name), seed, evaluations).min() for seed in SEEDS])


@cache
def volume(optimizer, name):
    """Return the median over the seeds of the front's hypervolume."""
    reference = np.array([1.01, 1.01, 1.5])[: posed(name).n_objectives]
    evaluations = EVALUATIONS.get(name, 120)
    found = [feasible(optimizer, posed(name), seed, evaluations) for seed in SEEDS]
    return np.median([hypervolume(values, reference) for values in found])


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        pytest.param(optimizer, name, id=f"{optimizer.name}-{name}")
        for optimizer in ONE
        for name in ("smooth", "bounded", "ratios", "bits")
        if name != "bits" or optimizer not in REAL  # which refuse them
    ],
)
def test_one_objective_is_lower_than_by_chance(optimizer, name):
    assert least(optimizer, name) < least(Random(), name)


@pytest.mark.parametrize("name", ["2", "3", "front within bounds"])
@pytest.mark.parametrize("optimizer", SEVERAL, ids=lambda o: o.name)
def test_the_front_covers_more_than_by_chance(optimizer, name):
    assert volume(optimizer, name) > volume(Random(), name)


@cache
def rugged():
    """Return a problem with many local optima on 576 structures; the best has the value 0."""
    function = measure("ripples", Ripples((3, 6, 2)))
    return Problem(chain_task((8, 8, 9)), objectives=[function])


def reached(optimizer):
    """Count the seeds with which a fifth of the space suffices for the only optimum."""
    return sum(feasible(optimizer, rugged(), seed, 115).min() == 0.0 for seed in SEEDS)


@pytest.mark.parametrize("optimizer", ONE, ids=lambda o: o.name)
def test_the_rugged_optimum_is_reached_with_a_fifth_of_the_space(optimizer):
    assert reached(optimizer) >= 2
    assert reached(optimizer) > reached(Random())
