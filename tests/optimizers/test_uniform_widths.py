from __future__ import annotations

import numpy as np
import pytest

from optprune.errors import BudgetSpent
from optprune.formulation import Problem, Ratios, Widths, metrics
from optprune.optimizers import UniformWidths
from optprune.search import Budget, Session
from optprune.testing.networks import chain_task


@pytest.fixture
def problem():
    return Problem(chain_task((8, 12, 16)), objectives=[metrics.macs])


def swept(problem, optimizer, evaluations=1000):
    with Session(problem, Budget(evaluations=evaluations)) as session:
        optimizer.search(problem, session)
        return np.array([row.widths for row in session.rows])


def test_every_uniform_structure_is_met_once(problem):
    widths = swept(problem, UniformWidths())
    assert len(np.unique(widths, axis=0)) == len(widths)
    ratios = np.linspace(1e-6, 1, 10_001)
    expected = problem.bound_space.widths(problem.bound_space.uniform(ratios))
    assert set(map(tuple, widths)) == set(map(tuple, expected))


def test_the_ends_come_first_and_then_the_middle(problem):
    widths = swept(problem, UniformWidths())
    assert widths[:3].tolist() == [[1, 1, 1], [8, 12, 16], [4, 6, 8]]


def test_groups_grow_together(problem):
    widths = swept(problem, UniformWidths())
    ordered = widths[np.argsort(widths.sum(axis=1))]
    assert (np.diff(ordered, axis=0) >= 0).all()


def test_a_budget_cuts_the_sweep_into_even_pieces(problem):
    with Session(problem, Budget(evaluations=9)) as session:
        with pytest.raises(BudgetSpent):
            UniformWidths().search(problem, session)
        widths = np.sort([row.widths[2] for row in session.rows])
    assert np.diff(widths).max() <= 2


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_so_many_steps_give_so_many_structures(problem, steps):
    assert len(swept(problem, UniformWidths(steps=steps))) == steps


@pytest.mark.parametrize("space", [Widths(step=4), Ratios()], ids=repr)
def test_other_spaces_are_swept_too(space):
    problem = Problem(chain_task((8, 12, 16)), space=space, objectives=[metrics.macs])
    widths = swept(problem, UniformWidths())
    assert widths.max(axis=0).tolist() == [8, 12, 16]
    assert len(widths) >= 4
