from __future__ import annotations

from contextlib import suppress
from functools import cache

import numpy as np
import pytest

from optprune.errors import ArgumentError, SearchStopped
from optprune.formulation import Masks, Metric, Problem, Ratios, Widths, metrics
from optprune.optimizers import GreedyElimination, Random
from optprune.scores import L1
from optprune.search import Budget, Session, hypervolume
from optprune.testing.networks import chain_task
from optprune.testing.problems import Distortion, Fragile, exhaustive

SENSITIVITY = (1.0, 4.0, 2.0)
DISTORTION = Metric("distortion", Distortion(SENSITIVITY), needs="structure", version=1)


@cache
def posed(space=None, widths=(5, 5, 5), constraint=None):
    objectives = [Metric("distortion", Distortion(SENSITIVITY), needs="structure", version=1)]
    return Problem(
        chain_task(widths),
        space=space or Widths(),
        objectives=objectives,
        subject_to=[] if constraint is None else [constraint],
    )


def run(optimizer, problem, evaluations=500):
    """Return the batches of structures and their values."""
    batches = []
    with Session(problem, Budget(evaluations=evaluations)) as session:
        inner = session.evaluate
        session.evaluate = lambda points: (batches.append(inner(points)), batches[-1])[1]
        with suppress(SearchStopped):
            optimizer.search(problem, session)
    return batches


def path(batches):
    """Return the structures gone on from where the smallest value decides: the best of a batch."""
    return [batch.structures[0] for batch in batches[:1]] + [
        min(
            batch.structures,
            key=lambda s: batch.objectives[batch.structures.index(s), 0],
        )
        for batch in batches[1:]
    ]


def test_for_a_separable_convex_loss_every_structure_on_the_way_is_the_best_of_its_size():
    problem = posed()
    every = exhaustive(problem)
    sizes = np.array([structure.widths.sum() for structure in every.structures])
    on_the_way = path(run(GreedyElimination(targets=(1e-9,), per_cost=False), problem))
    assert [s.widths.sum() for s in on_the_way] == list(range(15, 2, -1))
    for structure in on_the_way:
        value = every.objectives[every.structures.index(structure), 0]
        best = every.objectives[sizes == structure.widths.sum(), 0].min()
        assert value == pytest.approx(best)


@pytest.mark.parametrize("space", [Widths(), Ratios(score=L1()), Masks(score=L1())], ids=repr)
def test_a_batch_narrows_each_group_alone(space):
    batches = run(GreedyElimination(targets=(1e-9,)), posed(space))
    assert batches[0].structures[0].widths.tolist() == [5, 5, 5]
    full = batches[0].structures[0]
    narrowed = [(full.widths - s.widths).tolist() for s in batches[1].structures]
    assert narrowed == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert all(len(batch.structures) <= 3 for batch in batches)
    assert batches[-1].structures[-1].widths.tolist() == [1, 1, 1]


def test_it_ends_where_the_smallest_target_is_met():
    problem = posed()
    macs = problem.graph.costs.macs
    batches = run(GreedyElimination(targets=(0.7, 0.4)), problem)
    fractions = [
        min(float(macs(s.widths)[0]) / macs.dense for s in batch.structures) for batch in batches
    ]
    assert fractions[-1] <= 0.4
    assert min(fractions[:-2]) > 0.4


def test_a_larger_step_needs_fewer_evaluations():
    one = run(GreedyElimination(targets=(0.1,)), posed())
    two = run(GreedyElimination(targets=(0.1,), step=2), posed())
    assert len(two) < len(one)
    assert (two[0].structures[0].widths - two[1].structures[0].widths).tolist() == [2, 0, 0]


def test_the_space_s_own_steps_are_kept():
    problem = posed(Widths(step=2), widths=(6, 6, 6))
    for batch in run(GreedyElimination(targets=(0.1,)), problem):
        assert all(set(s.widths.tolist()) <= {2, 4, 6} for s in batch.structures)


def test_of_a_mask_that_was_given_the_least_important_kept_unit_leaves():
    problem = posed(Masks(score=L1()))
    kept = np.ones(15, dtype=bool)
    order = np.argsort(problem.importance[:5])
    kept[order[-1]] = False  # the most important unit of the first group is gone already
    start = problem.graph.structure(kept)
    batches = run(GreedyElimination(targets=(0.1,), seeded_by=start), problem)
    assert batches[0].structures[0] == start
    narrower = batches[1].structures[0]
    assert np.flatnonzero(start.kept & ~narrower.kept).tolist() == [order[0]]


def test_ways_that_meet_go_on_as_one():
    problem = posed()
    start = problem.graph.structure_from_widths(np.array([4, 5, 5]), problem.importance)
    twice = run(GreedyElimination(targets=(0.1,), seeded_by=[start, start]), problem)
    once = run(GreedyElimination(targets=(0.1,), seeded_by=start), problem)
    assert len(twice) == len(once) + 1


def test_structures_that_fail_or_violate_are_not_gone_on_from():
    fragile = Metric("fragile", Fragile((0.5, 0.5, 0.5)), needs="structure", version=1)
    problem = Problem(
        chain_task((4, 5, 6)), objectives=[fragile], subject_to=[metrics.parameters >= 0.4]
    )
    batches = run(GreedyElimination(targets=(0.01,)), problem)
    assert len(batches) > 3
    # From 4 units in the first group the next is 3, which fails.
    assert all(s.widths[0] >= 3 for batch in batches for s in batch.structures)
    assert not batches[-1].feasible.any()


def test_a_start_that_breaks_a_constraint_is_refused_with_the_remedy():
    problem = posed(constraint=metrics.macs <= 0.5)
    with pytest.raises(ArgumentError, match=r"give `targets=` .* or begin at a smaller structure"):
        run(GreedyElimination(), problem)
    small = problem.graph.structure_from_widths(np.array([3, 3, 3]), problem.importance)
    assert len(run(GreedyElimination(seeded_by=small), problem)) > 1


def test_losses_are_weighed_by_what_a_step_saves():
    losses, saved = np.array([2.0, 3.0, np.inf]), np.array([1.0, 2.0, 9.0])
    assert GreedyElimination()._choose(losses, saved) == 1
    assert GreedyElimination(per_cost=False)._choose(losses, saved) == 0
    assert GreedyElimination()._choose(np.array([-1.0, -2.0]), np.array([1.0, 9.0])) == 1
    assert GreedyElimination()._choose(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1
    assert GreedyElimination()._choose(np.array([1.0, np.inf]), np.array([0.0, 1.0])) == 0
    assert GreedyElimination()._choose(np.array([np.inf]), np.array([1.0])) is None


def test_the_curve_is_better_than_random_search_at_as_many_evaluations():
    task = chain_task((16, 16, 18))
    problem = Problem(task, objectives=[DISTORTION, metrics.macs])

    def volume(optimizer, evaluations, seed=0):
        with Session(problem, Budget(evaluations=evaluations), seed=seed) as session:
            with suppress(SearchStopped):
                optimizer.search(problem, session)
            rows = [[row.metrics[n] for n in problem.objective_names] for row in session.rows]
        return hypervolume(np.array(rows), np.full(2, 1.01)), len(rows)

    greedy, used = volume(GreedyElimination(targets=(0.01,), step=2), 500)
    assert used < 100
    assert greedy > np.median([volume(Random(), used, seed)[0] for seed in range(3)])
