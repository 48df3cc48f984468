"""What solvers that call their function are given: known values at once, the feasible first."""

from __future__ import annotations

import numpy as np
import pytest

from optprune.errors import BudgetSpent, MetricError
from optprune.formulation import Masks, Problem, Ratios, Widths, metrics
from optprune.optimizers.evaluated import Evaluated, in_one_number
from optprune.optimizers.scipy_calls import call
from optprune.optimizers.unit_box import UnitBox
from optprune.scores import L1
from optprune.search import Budget, Session
from optprune.testing.networks import chain_task
from optprune.testing.problems import valley


def test_feasible_before_infeasible_before_failed():
    objectives = np.array([[-1e30], [-2.0], [3.0], [1e19], [-1e30], [0.0], [0.0], [0.0]])
    violations = np.array([0, 0, 0, 0, 1e-9, 1e-3, 1e15, 0.0])
    failed = np.array([False] * 7 + [True])
    values = in_one_number(objectives, violations, failed)
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()


def test_a_structure_is_evaluated_once():
    problem = valley()
    with Session(problem, Budget(evaluations=3)) as session:
        evaluated = Evaluated(problem, session)
        points = np.array([[0.0, 1, 2], [1, 1, 1], [0, 1, 2]])
        objectives, violations, failed = evaluated(points)
        assert session.evaluations == len(evaluated) == 2
        assert evaluated.idle == 0
        for _ in range(300):  # more than the session would take without calling it a stall
            assert (evaluated(points)[0] == objectives).all()
        assert evaluated.idle == 900
        assert (objectives[0] == objectives[2]).all()
        assert not violations.any()
        assert not failed.any()
        assert evaluated.spread() == np.std(objectives[:2])
        evaluated(np.array([[2.0, 2, 2]]))
        with pytest.raises(BudgetSpent):
            evaluated(np.array([[3.0, 2, 2]]))


@pytest.mark.parametrize("error", [MetricError("all failed"), TypeError("x"), StopIteration()])
def test_exceptions_pass_through_scipy_as_they_are(error):
    from scipy.optimize import differential_evolution

    def fails(_):
        raise error

    with pytest.raises(type(error)) as caught:
        call(differential_evolution, fails, bounds=[(0, 1)], vectorized=True, updating="deferred")
    assert caught.value is error


SPACES = {"widths": Widths(), "ratios": Ratios(score=L1()), "masks": Masks(score=L1())}


@pytest.mark.parametrize("space", SPACES)
def test_points_come_back_from_the_unit_cube(space):
    problem = Problem(chain_task((4, 7)), space=SPACES[space], objectives=[metrics.macs])
    points = problem.bound_space.sample(np.random.default_rng(1), 50)
    box = UnitBox(problem.bound_space)
    assert np.allclose(box.points(box.units(points)), points, atol=1e-12)


def test_whole_numbers_have_equal_shares_of_the_unit_interval():
    problem = Problem(chain_task((4, 5)), objectives=[metrics.macs])
    box = UnitBox(problem.bound_space)
    places = (np.arange(1000) + 0.5) / 1000
    points = box.points(np.stack([places, places], axis=1))
    assert np.bincount(points[:, 0].astype(int)).tolist() == [250] * 4
    assert np.bincount(points[:, 1].astype(int)).tolist() == [200] * 5
    assert box.finest == 0.2


def test_places_outside_are_put_onto_the_surface():
    problem = Problem(chain_task((4, 5)), objectives=[metrics.macs])
    box = UnitBox(problem.bound_space)
    assert box.points(np.array([[-1.0, 2.0]])).tolist() == [[0, 4]]
