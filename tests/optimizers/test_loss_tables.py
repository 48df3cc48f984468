"""Sources of tables: sums of scores, distances from dense, tables that are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation import Problem, Widths, metrics
from optprune.optimizers import ProjectionLosses, RandomImportance, ScoreLosses
from optprune.optimizers.loss_tables import tables_of
from optprune.scores import L1, Taylor
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


def posed(score: Any = None, widths: tuple[int, ...] = (4, 3)) -> Problem:
    space = Widths(score=L1() if score is None else score)
    return Problem(chain_task(widths), space=space, objectives=[metrics.macs])


def as_lists(tables: Any) -> list[list[float]]:
    return [table.tolist() for table in tables]


def test_scores_of_what_leaves_add_up() -> None:
    problem = posed(Given((1, 4, 2, 3, 5, 7, 6)))
    assert as_lists(ScoreLosses()(problem)) == [[10, 6, 3, 1, 0], [18, 11, 5, 0]]


def test_a_curve_is_its_own_table() -> None:
    problem = posed(Curve((1, 4, 2, 3, 5, 7, 6)))
    assert as_lists(ScoreLosses()(problem)) == [[4, 3, 2, 1, 0], [7, 6, 5, 0]]


def test_negative_scores_lose_nothing() -> None:
    problem = posed(Given((1, -4, 2, -3, 5, 7, -6)))
    assert as_lists(ScoreLosses()(problem)) == [[3, 1, 0, 0, 0], [12, 5, 0, 0]]


def test_another_score_tells_what_is_lost_in_the_order_of_the_problem_s() -> None:
    problem = posed(Given((4, 3, 2, 1, 1, 2, 3)))
    told = Given((10, 1, 100, 1000, 1, 10, 100))
    assert as_lists(ScoreLosses(told)(problem)) == [[1111, 1101, 1100, 1000, 0], [111, 11, 1, 0]]
    curve = Curve((10, 1, 100, 1000, 1, 10, 100))
    assert as_lists(ScoreLosses(curve)(problem)) == [[1000, 1000, 1000, 1000, 0], [100, 10, 1, 0]]
    same = Problem(residual_task(), space=Widths(score=Taylor(samples=16)), objectives=metrics.macs)
    for one, other in zip(ScoreLosses()(same), ScoreLosses(Taylor(samples=16))(same), strict=True):
        assert np.array_equal(one, other)


def test_another_score_counts_its_passes() -> None:
    problem = Problem(residual_task(), objectives=[metrics.macs])
    ScoreLosses(Taylor(samples=16))(problem)
    assert problem.setup_meter.samples == 32


def test_distances_are_the_squares_of_the_shares_that_leave() -> None:
    problem = posed()
    first, second = ProjectionLosses()(problem)
    np.testing.assert_allclose(first, [1, 0.5625, 0.25, 0.0625, 0])
    np.testing.assert_allclose(second, np.array([9, 4, 1, 0]) / 9)
    weighted = ProjectionLosses((2.0, 3.0))(problem)
    np.testing.assert_allclose(weighted[0], 2 * first)
    np.testing.assert_allclose(weighted[1], 3 * second)
    drawn = RandomImportance(seed=1)
    weights = [table[0] for table in ProjectionLosses(drawn)(problem)]
    np.testing.assert_allclose(weights, drawn(problem))


@pytest.mark.parametrize(
    ("weights", "words"),
    [((1.0,), "shape"), ((1.0, -1.0), "negative"), ((0.0, 0.0), "zero for every group")],
)
def test_weights_that_cannot_be_are_refused(weights: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=f"ProjectionLosses.*{words}"):
        ProjectionLosses(weights)(posed())


def test_functions_and_lists_give_tables_as_well() -> None:
    problem = posed()
    given = [[9, 2, 1, 0.5, 0], np.array([np.inf, 2, 1, 0])]
    one = tables_of("X", given, problem)
    other = tables_of("X", lambda asked: given if asked is problem else [], problem)
    assert as_lists(one) == as_lists(other) == [[9, 2, 1, 0.5, 0], [np.inf, 2, 1, 0]]
    assert {table.dtype for table in one} == {np.dtype(np.float64)}


@pytest.mark.parametrize(
    ("tables", "error", "words"),
    [
        ([[4, 3, 2, 1, 0]], ArgumentError, "each of the 2 groups.*got 1"),
        ([[3, 2, 1, 0], [3, 2, 1, 0]], ArgumentError, "'hidden0' must have 5 entries.*0 to|5"),
        ([[4, 3, 2, 1, 0], [[3, 2, 1, 0]]], ArgumentError, "'hidden1' must have 4 entries"),
        ([[4, 3, 2, 1, 0], [3, np.nan, 1, 0]], ArgumentError, "'hidden1' has nan for 1 units"),
        ([[4, 3, -np.inf, 1, 0], [3, 2, 1, 0]], ArgumentError, "'hidden0' has -inf for 2 units"),
        ([["a", 3, 2, 1, 0], [3, 2, 1, 0]], ArgumentTypeError, "'hidden0' must be numbers"),
        (7, ArgumentTypeError, "list of tables"),
    ],
)
def test_tables_that_do_not_fit_the_groups_are_refused(
    tables: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=f"X.*{words}"):
        tables_of("X", lambda _: tables, posed())
