"""Genetic selection finds what brute force finds, and keeps as many units as it is told."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch

import optprune as op
from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation import Problem, Widths, metrics
from optprune.optimizers import GeneticSelection
from optprune.search import Budget, Session
from optprune.testing.networks import chain_task, residual_task


def form(n: int, seed: int) -> np.ndarray:
    """Return a quadratic form whose units partly undo each other."""
    generator = np.random.default_rng(seed)
    factors = generator.standard_normal((2 * n, n)) * generator.uniform(0.2, 2, n)
    return factors.T @ factors


def error(gram: np.ndarray, kept: np.ndarray) -> float:
    removed = (~kept).astype(float)
    return float(removed @ gram @ removed)


def greedy(gram: np.ndarray, count: int) -> np.ndarray:
    """Remove one unit after another, the cheapest first."""
    kept = np.ones(len(gram), dtype=bool)
    while kept.sum() > count:
        costs = {}
        for unit in np.flatnonzero(kept):
            without = kept.copy()
            without[unit] = False
            costs[unit] = error(gram, without)
        kept[min(costs, key=costs.__getitem__)] = False
    return kept


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [3, 6, 9])
def test_it_finds_the_optimum_of_brute_force(seed, count):
    gram = form(12, seed)
    kept = GeneticSelection().select(gram, count, random.Random(seed))
    best = min(
        error(gram, np.isin(np.arange(12), chosen))
        for chosen in itertools.combinations(range(12), count)
    )
    assert kept.sum() == count
    assert error(gram, kept) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_on_larger_groups_it_is_no_worse_than_greedy_and_better_than_own_contributions(seed):
    gram = form(40, seed)
    kept = GeneticSelection(population=80, generations=200).select(gram, 20, random.Random(seed))
    largest = np.isin(np.arange(40), np.argsort(-np.diag(gram))[:20])
    assert error(gram, kept) <= 1.02 * error(gram, greedy(gram, 20))
    assert error(gram, kept) < error(gram, largest)


def test_keeping_all_is_no_search():
    kept = GeneticSelection().select(form(5, 0), 5, random.Random(0))
    assert kept.all()


def test_every_ratio_gives_one_structure_of_uniform_widths():
    problem = Problem(residual_task(), objectives=[metrics.macs])
    with Session(problem, Budget(evaluations=10)) as session:
        GeneticSelection(ratios=(0.75, 0.5)).search(problem, session)
        rows = session.rows
        assert [row.widths for row in rows] == [(6, 9), (4, 6)]
        assert session.meter.forward_samples == 48


def test_seeds_decide_and_the_global_generator_does_not():
    def run(seed: int) -> list[str]:
        problem = Problem(chain_task((48, 64)), objectives=[metrics.macs])
        optimizer = GeneticSelection(ratios=(0.5,), generations=6, population=12)
        with Session(problem, Budget(evaluations=10), seed=seed) as session:
            optimizer.search(problem, session)
            return [row.digest for row in session.rows]

    random.seed(1)
    state = random.getstate()
    first = run(0)
    assert random.getstate() == state
    random.seed(2)
    assert run(0) == first
    assert run(1) != first


def test_it_loses_less_than_the_largest_contributions_without_compensation():
    task = op.problems.digits.task()
    problem = Problem(task, objectives=[metrics.loss], space=Widths())
    result = op.solve(problem, GeneticSelection(ratios=(0.75,)), evaluations=5, progress=False)
    other = Problem(task, objectives=[metrics.loss], space=Widths(score=op.scores.Random()))
    uniform = other.bound_space.decode(other.bound_space.uniform(0.75))[0]
    assert result.rows[0].metrics["loss"] < other.evaluate(uniform)["loss"]


def test_a_group_that_no_layer_takes_in_is_told():
    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(6, 6)
            self.matrix = torch.nn.Parameter(torch.randn(6, 3))

        def forward(self, x):
            return torch.relu(self.first(x)) @ self.matrix

    torch.manual_seed(0)
    split = (torch.randn(12, 6), torch.arange(12) % 3)
    problem = Problem(op.Task(Bare(), train=split, validation=split), objectives=[metrics.macs])
    with (
        Session(problem, Budget(evaluations=10)) as session,
        pytest.raises(ArgumentError, match=r"takes in the group 'first', .*frozen="),
    ):
        GeneticSelection().search(problem, session)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ratios": ()}, "ratios"),
        ({"ratios": (1.0,)}, "between 0 and 1"),
        ({"population": 2}, "population"),
        ({"generations": 0}, "generations"),
        ({"mutation": 2.0}, "mutation"),
        ({"samples": 1}, "samples"),
    ],
)
def test_parameters_that_cannot_be_are_refused(wrong, words):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=words):
        GeneticSelection(**wrong)
