"""A search begins with what was found before."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from optprune.errors import (
    ArgumentError,
    ArgumentTypeError,
    GraphMismatchError,
    SearchStopped,
)
from optprune.formulation import Masks, Problem, Ratios, Widths, metrics
from optprune.optimizers import (
    CMAES,
    CTAEA,
    GA,
    MOEAD,
    NSGA2,
    NSGA3,
    RVEA,
    SMSEMOA,
    SPEA2,
    UNSGA3,
    ConvexAllocation,
    DifferentialEvolution,
    ParticleSwarm,
)
from optprune.optimizers.warm_start import as_warm_start, warm_points
from optprune.scores import L1
from optprune.search import Budget, Session, solve
from optprune.testing.networks import chain_task

SEVERAL = [NSGA2, NSGA3, UNSGA3, SMSEMOA, SPEA2, RVEA, CTAEA, MOEAD]
ONE = [GA, UNSGA3, DifferentialEvolution, ParticleSwarm, CMAES]
SPACES = {"widths": Widths(), "ratios": Ratios(score=L1()), "masks": Masks(score=L1())}


@cache
def posed(space="widths", n_objectives=2, widths=(8, 8, 9)):
    objectives = [metrics.macs, metrics.parameters][:n_objectives]
    return Problem(chain_task(widths), space=SPACES[space], objectives=objectives)


@cache
def found(widths=(8, 8, 9)):
    return solve(posed(widths=widths), NSGA2(population=8), evaluations=24, progress=False)


def structures(problem, *widths):
    return [problem.graph.structure_from_widths(np.array(w), problem.importance) for w in widths]


def first(optimizer, problem, n):
    """Return the widths of the first n structures proposed."""
    with Session(problem, Budget(evaluations=40), seed=1) as session:
        with suppress(SearchStopped):
            optimizer.search(problem, session)
        return [row.widths for row in session.rows[:n]]


@pytest.mark.parametrize("space", SPACES)
def test_a_structure_is_found_again_in_every_space(space):
    problem = posed(space)
    given = structures(problem, (3, 6, 2), (8, 1, 9))
    points = warm_points(problem, as_warm_start("NSGA2", given))
    assert points.dtype == np.float64
    assert problem.bound_space.decode(points) == given


def test_no_warm_start_gives_no_points():
    assert as_warm_start("NSGA2", None) == ()
    assert as_warm_start("NSGA2", []) == ()
    assert warm_points(posed(), ()).shape == (0, 3)


def test_a_result_gives_its_front():
    result = found()
    start = as_warm_start("NSGA2", result)
    assert len(start) == len(result.front_indices)
    expected = [result.row(index).widths for index in result.front_indices]
    assert [tuple(s.widths.tolist()) for s in start] == expected


def test_a_selector_chooses_when_the_problem_is_known():
    selector = ConvexAllocation((0.7, 0.4))
    assert as_warm_start("NSGA2", selector) == (selector,)
    points = warm_points(posed(), (selector,))
    chosen = list(selector.select(posed()).values())
    assert posed().bound_space.decode(points) == chosen


def test_several_come_in_their_order():
    (one,), result, selector = structures(posed(), (2, 2, 2)), found(), ConvexAllocation((0.7,))
    start = as_warm_start("NSGA2", [selector, one, result])
    assert start[:2] == (selector, one)
    assert start[2:] == as_warm_start("NSGA2", result)
    decoded = posed().bound_space.decode(warm_points(posed(), start))
    assert decoded[1] == one
    assert len(decoded) == 2 + len(result.front_indices)


@pytest.mark.parametrize("wrong", [3, "result.json", [None], L1(), np.ones((2, 3))], ids=repr)
def test_something_else_is_refused_where_it_is_written(wrong):
    with pytest.raises(ArgumentTypeError, match="NSGA2: `seeded_by` must be a structure"):
        NSGA2(seeded_by=wrong)


def test_a_class_is_refused_with_its_instance_named():
    with pytest.raises(ArgumentTypeError, match=r"write ConvexAllocation\(\)"):
        NSGA2(seeded_by=ConvexAllocation)


def test_a_result_without_its_problem_is_refused():
    with pytest.raises(ArgumentError, match="without its problem"):
        NSGA2(seeded_by=replace(found(), problem=None))


def test_a_result_without_a_feasible_row_is_refused():
    problem = Problem(
        chain_task((8, 8, 9)), objectives=[metrics.macs], subject_to=[metrics.macs >= 1]
    )
    result = solve(problem, NSGA2(start="random", population=4), evaluations=4, progress=False)
    assert not result.front_indices
    with pytest.raises(ArgumentError, match="without a feasible row"):
        NSGA2(seeded_by=result)


def test_structures_of_another_network_are_refused_before_anything_is_evaluated():
    for other in (found(widths=(4, 5)), structures(posed(widths=(4, 5)), (2, 2))):
        with (
            Session(posed(), Budget(evaluations=4)) as session,
            pytest.raises(GraphMismatchError),
        ):
            NSGA2(seeded_by=other).search(posed(), session)
        assert not session.rows


@pytest.mark.parametrize("start", ["spread", "random"])
@pytest.mark.parametrize(
    ("kind", "n_objectives"),
    [(kind, 2) for kind in SEVERAL] + [(kind, 1) for kind in ONE],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_search_begins_with_its_warm_start(kind, n_objectives, start):
    problem = posed(n_objectives=n_objectives)
    given = structures(problem, (3, 6, 2), (8, 1, 9))
    optimizer = kind(population=6, start=start, seeded_by=given)
    assert first(optimizer, problem, 2) == [(3, 6, 2), (8, 1, 9)]
    assert optimizer == kind(population=6, start=start, seeded_by=tuple(given))
    assert "0x" not in repr(optimizer)


@pytest.mark.parametrize("kind", [NSGA2, SMSEMOA, CTAEA, MOEAD])
def test_a_warm_start_larger_than_the_population_is_cut(kind):
    problem = posed()
    given = structures(problem, *[(w, 1 + w % 8, 9) for w in range(1, 9)])
    widths = first(kind(population=4, seeded_by=given), problem, 4)
    assert widths == [tuple(s.widths.tolist()) for s in given[:4]]


@pytest.mark.parametrize("kind", [DifferentialEvolution, ParticleSwarm, CMAES])
def test_moves_begin_at_no_more_points_than_they_have(kind):
    problem = posed(n_objectives=1)
    given = structures(problem, *[(w, 1 + w % 8, 9) for w in range(1, 9)])
    widths = first(kind(population=4, seeded_by=given), problem, 4)
    assert widths == [tuple(s.widths.tolist()) for s in given[:4]]
