from __future__ import annotations

import math

import numpy as np
import pytest

from optprune.optimizers import DeapNSGA3
from optprune.optimizers.deap_members import Member, fitness_type
from optprune.optimizers.deap_nsga3 import _Niches
from optprune.optimizers.lending import lent_numpy, numpy_source


def members(values, violations=None):
    fitness = fitness_type(len(values[0]))
    violations = np.zeros(len(values)) if violations is None else violations
    return [
        Member([float(i)], fitness(value, violation))
        for i, (value, violation) in enumerate(zip(values, violations, strict=True))
    ]


def survivors(values, n, violations=None, partitions=4):
    directions = DeapNSGA3(partitions=partitions)._directions(len(values[0]))
    with lent_numpy(numpy_source(np.random.default_rng(1))):
        chosen = _Niches(directions).survivors(members(values, violations), n)
    return sorted(int(member[0]) for member in chosen)


def front(n=60):
    """Return points of a plane with its corners, in three scales; some are dominated."""
    drawn = np.random.default_rng(0).dirichlet((2.0, 2.0, 2.0), n)
    drawn *= np.where(np.arange(n) < n // 2, 1.0, 1.5)[:, None]
    return np.concatenate([np.eye(3), drawn])[:n] * [1.0, 4.0, 16.0]


@pytest.mark.parametrize("shift", [0.5, 100.0, -3.0])
def test_who_survives_does_not_depend_on_where_the_objectives_begin(shift):
    # Powers of two, so that the shifted values are exact.
    values = np.round(front() * 2**20) / 2**20
    assert survivors(values + shift, 15) == survivors(values, 15)


def test_survivors_spread_over_the_directions():
    corners = np.eye(3) + 1e-3
    crowd = np.full((20, 3), 1 / 3) + np.random.default_rng(1).normal(0, 1e-3, (20, 3))
    chosen = survivors(np.concatenate([crowd, corners]), 6, partitions=2)
    assert {20, 21, 22} <= set(chosen)


def test_feasible_members_stay_and_the_least_violation_fills_up():
    values, violations = front(10), np.array([3, 0, 2, 0, 1, 0, 5, 4, 6, 7.0])
    assert survivors(values, 5, violations) == [1, 2, 3, 4, 5]


def test_infeasible_members_do_not_decide_where_the_front_is():
    values = front()
    with_others = np.concatenate([values, np.full((5, 3), 1e30)])
    violations = np.array([0.0] * len(values) + [1.0] * 5)
    assert survivors(with_others, 15, violations) == survivors(values, 15)


@pytest.mark.parametrize(("population", "n_objectives"), [(32, 2), (32, 3), (100, 4), (4, 5)])
def test_by_default_there_are_as_many_directions_as_members_at_most(population, n_objectives):
    directions = DeapNSGA3(population=population)._directions(n_objectives)
    assert np.allclose(directions.sum(axis=1), 1.0)
    parts = round(1 / directions[directions > 0].min())
    assert len(directions) == math.comb(parts + n_objectives - 1, parts)
    more = math.comb(parts + n_objectives, parts + 1)
    assert len(directions) <= max(population, n_objectives) < more
