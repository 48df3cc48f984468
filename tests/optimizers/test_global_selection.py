"""Global selection: where the score says that it costs least, until the budget is met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from optprune.errors import ArgumentError, ArgumentTypeError, InfeasibleError
from optprune.formulation import Masks, Problem, Ratios, Widths, metrics
from optprune.optimizers import GlobalSelection
from optprune.scores import L1, Compensation
from optprune.search import Budget, Session, solve
from optprune.testing.networks import chain_task, residual_task


@dataclass(frozen=True)
class Given:
    """A score that is given."""

    values: tuple[float, ...]
    additive: ClassVar[bool] = True

    def __call__(self, network: Any, graph: Any, context: Any) -> Any:
        return np.array(self.values)


@dataclass(frozen=True)
class Curve(Given):
    """A score that is a curve of losses."""

    additive: ClassVar[bool] = False


def posed(score: Any, space: Any = Widths, **settings: Any) -> Problem:
    return Problem(
        chain_task((4, 4)), space=space(score=score, **settings), objectives=[metrics.macs]
    )


@pytest.mark.parametrize("cost", ["macs", "parameters"])
@pytest.mark.parametrize("score", [L1(), Compensation(samples=64)], ids=repr)
def test_targets_are_met_and_one_unit_more_would_not(score: Any, cost: Any) -> None:
    problem = Problem(residual_task(), space=Widths(score=score), objectives=[metrics.macs])
    polynomial = getattr(problem.graph.costs, cost)
    found = GlobalSelection(targets=(0.3, 0.7, 0.5), cost=cost).select(problem)
    assert set(found) == {0.3, 0.5, 0.7}
    for target, structure in found.items():
        assert polynomial(structure.widths)[0] <= target * polynomial.dense
        wider = structure.widths + np.eye(problem.graph.n_groups, dtype=int)
        assert (polynomial(wider) > target * polynomial.dense).any()
    assert (found[0.3].kept <= found[0.5].kept).all()
    assert (found[0.5].kept <= found[0.7].kept).all()


def test_the_units_of_least_loss_leave_wherever_they_are() -> None:
    problem = posed(Given((9, 1, 8, 2, 7, 3, 6, 5)))
    structure = GlobalSelection(targets=(0.55,), cost="parameters", per_cost=False).select(problem)[
        0.55
    ]
    order = np.argsort(-problem.importance)
    assert set(np.flatnonzero(structure.kept)) == set(order[: structure.kept.sum()])


def test_a_curve_is_not_added_up() -> None:
    # alone, each of the last three of the first group costs 0.1; as a curve, all three together do
    values = (9, 0.1, 0.1, 0.1, 9, 0.08, 0.0, 0.0)
    added, curved = posed(Given(values)), posed(Curve(values))
    macs = added.graph.costs.macs
    target = 0.999 * float(macs([4, 2])[0]) / macs.dense
    selection = GlobalSelection(targets=(target,), per_cost=False)
    assert selection.select(added)[target].widths.tolist() == [4, 1]
    assert selection.select(curved)[target].widths.tolist() == [3, 2]


def test_what_saves_more_leaves_first_at_equal_loss() -> None:
    problem = Problem(
        chain_task((4, 16)),
        space=Widths(score=Given((1.0,) * 20)),
        objectives=[metrics.macs],
    )
    share = problem.graph.costs.macs
    saved = [
        share.dense - share(problem.graph.widths - np.eye(2, dtype=int)[group])[0]
        for group in range(2)
    ]
    first = GlobalSelection(targets=(0.95,)).select(problem)[0.95]
    gone = problem.graph.widths - first.widths
    assert gone[int(np.argmax(saved))] > 0
    assert gone[int(np.argmin(saved))] == 0


@pytest.mark.parametrize(
    "space", [Widths(step=3), Widths(minimum=2), Masks(), Ratios()], ids=lambda s: repr(s)[:20]
)
def test_every_space_is_kept_to(space: Any) -> None:
    problem = Problem(chain_task((8, 12)), space=space, objectives=[metrics.macs])
    structure = GlobalSelection(targets=(0.5,)).select(problem)[0.5]
    bound = problem.bound_space
    assert (structure.widths >= bound.narrowest).all()
    assert bound.decode(bound.encode(structure)[None])[0] == structure
    assert problem.graph.costs.macs(structure.widths)[0] <= 0.5 * problem.graph.costs.macs.dense


def test_equal_targets_are_evaluated_once_and_in_the_order_asked() -> None:
    problem = posed(L1())
    with Session(problem, Budget(evaluations=9)) as session:
        GlobalSelection(targets=(0.4, 0.8, 0.4)).search(problem, session)
        macs = [row.metrics["macs"] for row in session.rows]
    assert len(macs) == 2
    assert macs[0] <= 0.4 < macs[1] <= 0.8


def test_a_search_evaluates_nothing_but_what_it_found() -> None:
    result = solve(posed(L1()), GlobalSelection(), evaluations=50, seed=3, progress=False)
    assert len(result.rows) == 3


def test_what_cannot_be_reached_is_told() -> None:
    with pytest.raises(InfeasibleError, match="narrowest has"):
        GlobalSelection(targets=(0.01,)).select(posed(L1(), minimum=3))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"targets": 0.5}, ArgumentTypeError),
        ({"targets": ()}, ArgumentTypeError),
        ({"targets": (1.5,)}, ArgumentError),
        ({"targets": ("half",)}, ArgumentTypeError),
        ({"cost": "latency"}, ArgumentError),
    ],
)
def test_arguments_that_cannot_be_are_refused(wrong: Any, error: Any) -> None:
    with pytest.raises(error):
        GlobalSelection(**wrong)
