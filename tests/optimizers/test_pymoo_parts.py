"""What the adapters add to pymoo: directions, repeatable ties, scales, penalties, schedules."""

from __future__ import annotations

import warnings
from contextlib import suppress
from functools import cache
from math import comb

import numpy as np
import pytest

from optprune.errors import ArgumentError, SearchStopped
from optprune.formulation import Metric, Problem, Ratios, metrics
from optprune.optimizers import CMAES, NSGA3, RVEA, SPEA2, UNSGA3, DifferentialEvolution
from optprune.optimizers.cma_es import Penalized
from optprune.optimizers.moead import _first_child
from optprune.optimizers.pymoo_algorithm import AskAndTell, Minimized, variation
from optprune.optimizers.reference_directions import reference_directions
from optprune.optimizers.tournaments import better_in_niche, less_violation
from optprune.scores import L1
from optprune.search import Budget, Session
from optprune.search.minimization import WORST
from optprune.testing.networks import chain_task
from optprune.testing.problems import CASES, Distortion, Fragile


def measure(name, function, **options):
    return Metric(name, function, needs="structure", version=1, **options)


@cache
def case(name):
    return next(case for case in CASES if case.name == name).make()


def proposed(optimizer, problem, evaluations=80, seed=1):
    with Session(problem, Budget(evaluations=evaluations), seed=seed) as session:
        with suppress(SearchStopped):
            optimizer.search(problem, session)
        return [row.digest for row in session.rows]


# Reference directions


@pytest.mark.parametrize("n_objectives", [2, 3, 4, 6])
def test_directions_lie_on_the_simplex_and_are_no_more_than_members(n_objectives):
    directions = reference_directions("NSGA3", n_objectives, 40)
    np.testing.assert_allclose(directions.sum(axis=1), 1.0)
    assert (directions >= 0).all()
    assert n_objectives <= len(directions) <= 40
    assert len(np.unique(directions.round(9), axis=0)) == len(directions)
    for corner in np.eye(n_objectives):
        assert np.isclose(directions, corner).all(axis=1).any()


def test_two_objectives_have_a_direction_for_every_member():
    np.testing.assert_allclose(
        np.sort(reference_directions("NSGA3", 2, 5)[:, 0]), [0.0, 0.25, 0.5, 0.75, 1.0]
    )


def test_many_objectives_have_directions_within_the_simplex_too():
    directions = reference_directions("NSGA3", 6, 40)
    assert len(directions) == comb(7, 2) + 6
    assert (directions > 0).all(axis=1).any()


def test_partitions_that_need_more_members_are_refused_with_the_number():
    assert len(reference_directions("NSGA3", 3, 10, 3)) == 10
    with pytest.raises(ArgumentError, match=r"NSGA3: 15 .* population of at least 15; it is 10"):
        reference_directions("NSGA3", 3, 10, 4)
    with pytest.raises(ArgumentError, match="population of at least 6; it is 4"):
        reference_directions("NSGA3", 6, 4)


# Ties


class Members(dict):
    def get(self, name):
        return self[name]


def test_less_violation_wins_and_a_direction_decides_among_the_feasible():
    members = Members(
        CV=np.array([[0.0], [0.0], [0.0], [0.5], [0.2]]),
        niche=np.array([1, 1, 2, None, None], dtype=object),
        rank=np.array([0, 1, 0, None, None], dtype=object),
        dist_to_niche=np.array([0.3, 0.1, 0.2, None, None], dtype=object),
    )
    one, other = np.array([0, 1, 0, 3, 4, 0]), np.array([1, 0, 2, 4, 3, 3])
    assert less_violation(members, one, other).tolist() == [False] * 4 + [True, True]
    assert better_in_niche(members, one, other).tolist() == [True, False, False, False, True, True]
    members["rank"][1] = 0
    assert better_in_niche(members, one, other).tolist()[:2] == [False, True]


def tied():
    """Return a problem whose violations are all alike: by counting what is broken."""
    # Most structures break it, all by the same.
    over = measure("over", lambda candidate: float(candidate.widths.sum() > 12))
    return Problem(
        chain_task((8, 8, 9, 9)),
        objectives=[measure("distortion", Distortion((1.0, 4.0, 2.0, 1.0))), metrics.macs],
        subject_to=[over <= 0.5],
    )


@pytest.mark.parametrize(
    "optimizer", [NSGA3(population=12), UNSGA3(population=12, partitions=5)], ids=repr
)
def test_a_seed_repeats_nsga3_also_where_violations_tie(optimizer):
    problem = tied()
    assert proposed(optimizer, problem) == proposed(optimizer, problem)


# What pymoo is told


def evaluated(problem, points):
    with Session(problem, Budget(evaluations=100)) as session:
        return session.evaluate(points)


def test_a_failure_breaks_a_constraint_where_there_is_none():
    problem = case("failing")
    evaluations = evaluated(problem, [[1, 2, 3], [3, 2, 3], [2, 2, 3]])
    minimized = Minimized(problem)
    objectives, violations = minimized(evaluations)
    assert minimized.n_constraints == 1
    assert violations.tolist() == [[1.0], [0.0], [1.0]]
    assert (objectives[[0, 2]] == WORST).all()
    assert Minimized(problem, failures=False)(evaluations)[1].shape == (3, 0)


def test_the_first_batch_sets_the_scale_of_the_objectives():
    problem = case("two objectives")
    minimized = Minimized(problem, scaled=True)
    first, _ = minimized(evaluated(problem, [[0, 0, 0], [3, 4, 5], [2, 3, 3]]))
    assert first.min(axis=0).tolist() == [0.0, 0.0]
    assert first.max(axis=0).tolist() == [1.0, 1.0]
    again, _ = minimized(evaluated(problem, [[2, 3, 3]]))
    np.testing.assert_array_equal(again[0], first[2])


def test_values_that_are_unknown_are_not_scaled():
    fragile = measure("fragile", Fragile((0.5, 0.6, 0.5)))
    problem = Problem(chain_task((4, 5, 6)), objectives=[fragile, metrics.macs])
    minimized = Minimized(problem, scaled=True)
    objectives, _ = minimized(evaluated(problem, [[0, 0, 0], [2, 4, 5]]))
    assert (objectives == WORST).all()
    objectives, _ = minimized(evaluated(problem, [[3, 1, 1]]))
    assert (objectives < WORST).all()


def test_a_penalty_puts_every_feasible_point_first():
    problem = case("constrained")
    points = [[3, 4, 5], [2, 3, 1], [1, 3, 3], [0, 0, 0], [3, 4, 4]]
    evaluations = evaluated(problem, points)
    values, none = Penalized(problem)(evaluations)
    assert none.shape == (5, 0)
    assert np.isfinite(values).all()
    total = evaluations.violations.sum(axis=1)
    feasible = total == 0
    assert 0 < feasible.sum() < 5
    assert values[feasible].max() < values[~feasible].min()
    np.testing.assert_array_equal(values[feasible], evaluations.objectives[feasible])
    assert np.argsort(values[~feasible, 0]).tolist() == np.argsort(total[~feasible]).tolist()


def test_whole_numbers_have_as_much_room_at_the_ends_as_in_between():
    from pymoo.algorithms.soo.nonconvex.de import DE

    problem = case("smooth")
    points = np.array([[0.0, 0.0, 0.0], [3.0, 4.0, 5.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    method = AskAndTell(
        DE(pop_size=4, sampling=points), problem, Minimized(problem), 1, relaxed=True
    )
    bare = method.algorithm.problem
    drawn = np.random.default_rng(0).uniform(bare.xl, bare.xu, (20_000, 3))
    asked = method.ask()
    asked.set("X", drawn[: len(asked)])
    inside = np.clip(np.rint(drawn), problem.bound_space.lower, problem.bound_space.upper)
    np.testing.assert_array_equal(method.inside(asked), inside[: len(asked)])
    for column, count in zip(inside.T, (4, 5, 6), strict=True):
        shares = np.bincount(column.astype(int), minlength=count) / len(column)
        np.testing.assert_allclose(shares, 1 / count, atol=0.015)


# What runs must not share


def test_a_run_of_spea2_remembers_nothing_of_the_run_before():
    optimizer, problem = SPEA2(population=12), case("two objectives")
    alone = proposed(optimizer, problem)
    proposed(optimizer, case("maximized"))
    assert proposed(optimizer, problem) == alone


def test_the_filters_of_warnings_are_left_alone():
    before = list(warnings.filters)
    proposed(NSGA3(population=12), case("two objectives"))
    assert warnings.filters == before


# The children of MOEA/D


@pytest.mark.parametrize("name", ["two objectives", "binary", "continuous"])
def test_a_child_comes_from_its_own_mating(name):
    from pymoo.core.population import Population

    problem = case(name)
    crossover, _ = variation(
        problem, crossover=1.0, crossover_eta=3.0, mutation=None, mutation_eta=3.0
    )
    space = problem.bound_space
    low, high = np.full(space.n_variables, 0.0), np.full(space.n_variables, 1.0)
    population = Population.new(X=np.array([low, low, high, high]))
    method = AskAndTell(_Nothing(), problem, Minimized(problem), np.random.default_rng(0))
    children = _first_child(crossover)(
        method.algorithm.problem,
        population,
        parents=np.array([[0, 1], [2, 3], [0, 1]]),
        random_state=np.random.default_rng(0),
    )
    # Equal parents have children like them, inside the space.
    points = np.asarray(children.get("X"), dtype=np.float64)
    expected = np.clip(np.array([low, high, low]), space.lower, space.upper)
    np.testing.assert_array_equal(np.clip(points, space.lower, space.upper), expected)


class _Nothing:
    """An algorithm that does nothing."""

    termination = None

    def setup(self, problem, **_):
        self.problem = problem


# Schedules, restarts, the end


def test_rvea_takes_its_generations_from_the_budget_or_from_the_user():
    problem = case("two objectives")
    with Session(problem, Budget(evaluations=100)) as session:
        assert RVEA(population=16)._generations(session) == 6
        assert RVEA(population=16, generations=3)._generations(session) == 3
    with Session(problem, Budget(seconds=60)) as session:
        with pytest.raises(ArgumentError, match=r"give RVEA\(generations=...\) or evaluations="):
            RVEA().search(problem, session)
        assert not session.rows


def test_rvea_goes_on_after_its_last_generation():
    assert len(proposed(RVEA(population=8, generations=2), case("two objectives"))) == 80


def test_rvea_survives_members_that_agree_in_an_objective():
    level = measure("level", lambda _: 1.0)
    problem = Problem(chain_task((4, 5, 6)), objectives=[level, metrics.macs, metrics.parameters])
    assert len(proposed(RVEA(population=12), problem)) == 80


@pytest.mark.parametrize("optimizer", [CMAES(population=4), DifferentialEvolution(population=6)])
def test_a_search_that_finds_nothing_new_ends(optimizer):
    # Two groups of two units: four structures, but no end of ratios.
    problem = Problem(
        chain_task((2, 2)),
        space=Ratios(score=L1()),
        objectives=[measure("distortion", Distortion((1.0, 2.0)))],
    )
    assert len(proposed(optimizer, problem)) == 4


def test_cma_es_starts_again_until_the_budget_is_used_up():
    # 120 structures, a smooth valley: one run alone converges long before.
    assert len(proposed(CMAES(population=4), case("smooth"), 90)) == 90
