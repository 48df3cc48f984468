"""The two walks that cool down, and the distributions of PBIL."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest

from optprune.errors import SearchStopped
from optprune.formulation import Masks, Metric, Problem, Ratios, Widths, metrics
from optprune.optimizers import PBIL, DualAnnealing, SimulatedAnnealing
from optprune.optimizers.dual_annealing import SIDE, _descend
from optprune.optimizers.pbil import _model
from optprune.optimizers.simulated_annealing import _Moves, _State, _Units
from optprune.scores import L1
from optprune.search import Budget, Session
from optprune.testing.networks import chain_task
from optprune.testing.problems import Ripples

SPACES = {"widths": Widths(), "ratios": Ratios(score=L1()), "masks": Masks(score=L1())}


def space_of(name, widths=(8, 9)):
    objectives = [metrics.macs]
    return Problem(chain_task(widths), space=SPACES[name], objectives=objectives).bound_space


@dataclass(frozen=True)
class Scaled:
    factor: float

    def __call__(self, candidate):
        return self.factor * Ripples((3, 6, 2))(candidate)


@pytest.mark.parametrize("optimizer", [SimulatedAnnealing(steps=30), DualAnnealing()], ids=repr)
def test_the_unit_of_the_objective_does_not_matter(optimizer):
    walks = []
    for factor in (1.0, 2.0**20, 2.0**-20):
        metric = Metric("scaled", Scaled(factor), needs="structure", version=1)
        problem = Problem(chain_task((8, 8, 9)), objectives=[metric])
        with Session(problem, Budget(evaluations=60), seed=1) as session:
            with suppress(SearchStopped):
                optimizer.search(problem, session)
            walks.append([row.digest for row in session.rows])
    assert walks[0] == walks[1] == walks[2]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("reach", [0.01, 0.3, 1.0])
def test_neighbors_lie_in_the_space_and_differ(name, reach):
    space = space_of(name)
    moves = _Moves(space, np.random.default_rng(1))
    point = space.full()
    farthest = 0.0
    for _ in range(200):
        moved = moves.neighbor(point, reach)
        assert ((moved >= space.lower) & (moved <= space.upper)).all()
        assert (moved != point).any()
        if space.kind != "continuous":
            assert (moved == np.rint(moved)).all()
        farthest = max(farthest, (np.abs(moved - point) / (space.upper - space.lower)).max())
        point = moved
    if name == "ratios":
        assert farthest <= max(reach, 1 / 9) + 1e-12
    if name == "widths":
        assert farthest <= np.ceil(max(reach * 8, 1)) / 7


def test_feasibility_decides_before_the_temperature():
    units = _Units(objective=2.0, violation=4.0)
    good, worse = _State(np.array([1.0]), 0.0, False), _State(np.array([2.0]), 0.0, False)
    broken, less = _State(np.array([-9.0]), 3.0, False), _State(np.array([9.0]), 1.0, False)
    failed = _State(np.array([0.0]), 0.0, True)
    assert units.rise(good, worse) == 0.5
    assert units.rise(worse, broken) == np.inf == units.rise(less, failed)
    assert units.rise(broken, good) == -np.inf == units.rise(failed, broken)
    assert units.rise(broken, less) == -0.5
    assert units.rise(failed, failed) == 0.0
    assert sorted([failed, broken, worse, good, less], key=lambda s: s.key) == [
        good,
        worse,
        less,
        broken,
        failed,
    ]


def test_the_descent_ends_in_a_local_optimum_of_the_smallest_step():
    cells = 8

    def steps(place):
        cell = np.minimum(np.floor(np.asarray(place) / SIDE * cells), cells - 1)
        return float(np.square(cell - (2, 6)).sum() + abs(cell[0] - 2) * abs(cell[1] - 6))

    found = _descend(steps, [9.5, 0.5], least=SIDE / cells)
    assert found.fun == 0.0
    assert steps(found.x) == 0.0


@pytest.mark.parametrize("name", SPACES)
def test_a_distribution_goes_where_it_is_moved_and_gives_no_value_up(name):
    space = space_of(name)
    model, generator = _model(space, margin=0.1), np.random.default_rng(1)
    target = space.keeping([[2, 7]])
    for _ in range(30):
        model.move(np.repeat(target, 3, axis=0), rate=0.3)
    drawn = model.draw(generator, 2000)
    assert ((drawn >= space.lower) & (drawn <= space.upper)).all()
    wide = space.upper - space.lower
    assert np.median(np.abs(drawn - target) / wide) < 0.02
    assert (np.abs(drawn - target) / wide).max(axis=0).min() > 0.5


@pytest.mark.parametrize("name", SPACES)
def test_a_distribution_begins_uniform(name):
    space = space_of(name)
    drawn = _model(space, margin=0.1).draw(np.random.default_rng(1), 8000)
    middle = (space.lower + space.upper) / 2
    assert np.allclose(drawn.mean(axis=0), middle, atol=0.03 * (space.upper - space.lower).max())
    if name == "widths":
        shares = np.bincount(drawn[:, 0].astype(int)) / 8000
        assert np.allclose(shares, 1 / 8, atol=0.02)


def test_bits_follow_the_rule_of_the_paper():
    space = space_of("masks")
    model = _model(space, margin=0.01)
    best = np.zeros((2, space.n_variables))
    best[:, 0], best[0, 1] = 1.0, 1.0
    model.move(best, rate=0.25)
    assert model._ones[:3].tolist() == [0.625, 0.5, 0.375]


def test_pbil_learns_which_bits_matter():
    @dataclass(frozen=True)
    class Half:
        def __call__(self, candidate):
            wanted = np.arange(20) % 2 == 0
            return float((candidate.structure.kept != wanted).sum())

    problem = Problem(
        chain_task((10, 10)),
        space=Masks(score=L1()),
        objectives=[Metric("half", Half(), needs="structure", version=1)],
    )
    with Session(problem, Budget(evaluations=400), seed=1) as session:
        with suppress(SearchStopped):
            PBIL().search(problem, session)
        assert min(row.metrics["half"] for row in session.rows) == 0
