"""Bisection finds, group by group, what a growing share of the tolerance allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation import Masks, Problem, Ratios, Widths, metrics
from optprune.formulation.decorator import metric
from optprune.formulation.space import Space
from optprune.optimizers import BinaryStructuralSearch
from optprune.search import Budget, Session
from optprune.testing.networks import chain_task

WIDTHS = (16, 32, 64)


class Counting(Session):
    """A session that counts what is proposed, also what it knew before."""

    proposals = 0

    def evaluate(self, points: Any) -> Any:
        self.proposals += len(points)
        return super().evaluate(points)


@metric(unit="", direction="minimize", needs="structure", version=1)
def lost(candidate):
    """Return a loss that adds up over the groups: the first costs most."""
    removed = 1 - candidate.widths / candidate.graph.widths
    return float((np.array([4.0, 2.0, 1.0]) * removed).sum())


@metric(unit="", direction="maximize", needs="structure", version=1)
def quality(candidate):
    removed = 1 - candidate.widths / candidate.graph.widths
    return 5 - float((np.array([4.0, 2.0, 1.0]) * removed).sum())


def problem(space: Space | None = None, objective=lost, **changes) -> Problem:
    return Problem(chain_task(WIDTHS), space=space, objectives=[objective, metrics.macs], **changes)


def run(optimizer: BinaryStructuralSearch, the_problem: Problem):
    with Counting(the_problem, Budget(evaluations=5000)) as session:
        optimizer.search(the_problem, session)
        return session, session.rows


def final(rows, tolerance: float):
    """Return the last row that was accepted: the narrowest within the tolerance."""
    accepted = [row for row in rows if row.metrics["lost"] <= tolerance + 1e-12]
    return min(accepted, key=lambda row: sum(row.widths))


@pytest.mark.parametrize("steps", [3, 6])
def test_it_makes_exactly_groups_times_steps_proposals(steps):
    session, rows = run(BinaryStructuralSearch(0.6, steps=steps), problem())
    assert session.proposals == 1 + 3 * steps
    assert len(rows) <= 1 + 3 * steps


def test_what_is_accepted_is_feasible_and_one_step_more_is_not():
    tolerance, steps = 0.6, 8
    the_problem = problem()
    _, rows = run(BinaryStructuralSearch(tolerance, steps=steps), the_problem)
    found = np.array(final(rows, tolerance).widths)
    removed = 1 - found / WIDTHS
    spent = np.cumsum(np.array([4.0, 2.0, 1.0]) * removed)
    allowed = tolerance * np.arange(1, 4) / 3
    assert (spent <= allowed + 1e-12).all()
    one_more = np.array([4.0, 2.0, 1.0]) / WIDTHS
    assert (spent + one_more > allowed).all()


def test_what_a_group_leaves_the_next_may_use():
    # the first group is so dear that a third of the tolerance buys nothing of it
    _, rows = run(BinaryStructuralSearch(0.3, steps=8), problem())
    found = np.array(final(rows, 0.3).widths)
    assert found[0] == 16
    assert (1 - found[1] / 32) * 2 > 0.1


def test_no_tolerance_removes_nothing_that_costs():
    _, rows = run(BinaryStructuralSearch(0.0), problem())
    assert final(rows, 0.0).widths == WIDTHS


def test_objectives_to_maximize_may_fall_by_the_tolerance():
    session, rows = run(BinaryStructuralSearch(0.6), problem(objective=quality))
    best = [row for row in rows if row.metrics["quality"] >= 5 - 0.6 - 1e-12]
    _, other = run(BinaryStructuralSearch(0.6), problem())
    assert min(sum(row.widths) for row in best) == sum(final(other, 0.6).widths)
    assert session.proposals == 1 + 3 * 6


@pytest.mark.parametrize("macs", [0.2, 0.5, 0.8])
def test_a_target_of_macs_is_met_closely(macs):
    session, rows = run(BinaryStructuralSearch(macs=macs, sweeps=6), problem())
    met = [row for row in rows if row.metrics["macs"] <= macs]
    assert met
    best = min(met, key=lambda row: row.metrics["lost"])
    assert best.metrics["macs"] > 0.75 * macs
    assert session.proposals == 2 + 6 * 3 * 6


def test_sweeps_go_on_until_the_macs_are_met():
    # a single sweep with the first tolerance removes too little
    session, rows = run(BinaryStructuralSearch(macs=0.05, sweeps=1), problem())
    assert min(row.metrics["macs"] for row in rows) <= 0.05
    assert session.proposals > 2 + 3 * 6


def test_macs_that_no_tolerance_reaches_end_the_search():
    session, rows = run(BinaryStructuralSearch(macs=0.1, most=0.3, steps=3), problem())
    assert min(row.metrics["macs"] for row in rows) > 0.1
    assert session.proposals <= 2 + 10 * 3 * 3


@pytest.mark.parametrize("space", [Widths(step=4), Ratios(), Masks()], ids=repr)
def test_every_space_can_be_bisected(space):
    _, rows = run(BinaryStructuralSearch(0.6), problem(space))
    assert sum(final(rows, 0.6).widths) < sum(WIDTHS)


def test_bounds_of_the_space_hold():
    space = Widths(frozen=["hidden2"], bounds={"hidden1": (20, 32)})
    _, rows = run(BinaryStructuralSearch(6.0), problem(space))
    assert min(row.widths[2] for row in rows) == 64
    assert min(row.widths[1] for row in rows) >= 20


def test_a_constraint_that_the_full_structure_breaks_is_told():
    the_problem = problem(subject_to=[metrics.macs <= 0.5])
    with pytest.raises(ArgumentError, match=r"starts from the full structure, .*macs"):
        run(BinaryStructuralSearch(0.1), the_problem)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "either `tolerance`"),
        ({"tolerance": 0.1, "macs": 0.5}, "either `tolerance`"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"macs": 1.5}, "fraction"),
        ({"tolerance": 0.1, "steps": 0}, "steps"),
        ({"tolerance": 0.1, "most": 1.0}, "most"),
        ({"macs": 0.5, "sweeps": 0}, "sweeps"),
    ],
)
def test_parameters_that_cannot_be_are_refused(wrong, words):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=words):
        BinaryStructuralSearch(**wrong)
