from __future__ import annotations

import numpy as np
import pytest

from optprune.formulation import Masks, Problem, Ratios, Widths, metrics
from optprune.optimizers.first_population import spread
from optprune.optimizers.proposed import Proposed
from optprune.testing.networks import chain_task


@pytest.fixture(params=[Widths(), Masks(), Ratios(), Widths(frozen=["hidden1"])], ids=repr)
def space(request):
    problem = Problem(chain_task((3, 4)), space=request.param, objectives=[metrics.macs])
    return problem.bound_space


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def structures(space, points):
    return space.decode(points)


def test_nothing_is_taken_twice(space, generator):
    proposed = Proposed(space)
    points = space.sample(generator, 40)
    taken = proposed.take(points)
    assert len(set(structures(space, taken))) == len(taken)
    assert set(structures(space, taken)) == set(structures(space, points))
    assert len(proposed.take(points)) == 0


def test_what_the_limit_left_out_can_be_taken_later(space, generator):
    proposed = Proposed(space)
    points = space.sample(generator, 40)
    first = proposed.take(points, limit=2)
    rest = proposed.take(points)
    assert len(first) == 2
    assert set(structures(space, first)).isdisjoint(structures(space, rest))
    assert len(proposed) == 2 + len(rest)


def test_draws_use_up_a_small_space_exactly(space, generator):
    proposed = Proposed(space)
    drawn = np.concatenate([proposed.draw(generator, 5) for _ in range(40)])
    sizes = {"integer": 4 if space.n_variables == 1 else 12, "binary": 7 * 15, "continuous": 12}
    expected = 3 if space.n_variables == 1 else sizes[space.kind]
    assert len(drawn) == expected
    assert len(set(structures(space, drawn))) == expected
    assert len(proposed.draw(generator, 5)) == 0


def test_the_first_population_lies_in_the_space_and_holds_the_full_structure(space, generator):
    points = spread(space, generator, 30)
    assert points.shape == (30, space.n_variables)
    assert (points >= space.lower).all()
    assert (points <= space.upper).all()
    np.testing.assert_array_equal(points[0], space.full())
    if space.kind != "continuous":
        np.testing.assert_array_equal(points, np.rint(points))


@pytest.mark.parametrize("described", [Widths(), Masks(), Ratios()], ids=repr)
def test_the_first_population_spreads_over_more_sizes_than_random_draws(described, generator):
    problem = Problem(chain_task((16,) * 6), space=described, objectives=[metrics.macs])
    space = problem.bound_space

    def sizes(points):
        return problem.graph.costs.macs(space.widths(points)) / problem.graph.costs.macs.dense

    spread_out, drawn = sizes(spread(space, generator, 60)), sizes(space.sample(generator, 60))
    assert np.ptp(spread_out) > 1.3 * np.ptp(drawn)
    assert np.quantile(spread_out, 0.25) < np.quantile(drawn, 0.25)
    assert np.quantile(spread_out, 0.75) > np.quantile(drawn, 0.75)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_small_first_populations_have_the_size_asked_for(space, generator, n):
    assert spread(space, generator, n).shape == (n, space.n_variables)
