"""The check of optimizers finds each rule that is broken."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from optprune.errors import ArgumentError, SearchStopped
from optprune.optimizers import Random, UniformWidths
from optprune.testing import CASES, ConformanceError, check_optimizer

SMOOTH = [case for case in CASES if case.name == "smooth"]


@dataclass(frozen=True)
class Faulty:
    """Random search with room for a fault."""

    name: str = "faulty"

    def search(self, problem, session):
        while True:
            session.evaluate(self.points(problem, session))

    def points(self, problem, session):
        return problem.bound_space.sample(session.generator, 4)


class DrawsFromGlobalNumpy(Faulty):
    def points(self, problem, session):
        return np.rint(np.random.random((4, 3)) * problem.bound_space.upper)  # noqa: NPY002


class SeedsPython(Faulty):
    def points(self, problem, session):
        random.seed(12)
        return super().points(problem, session)


class SeedsTorch(Faulty):
    def points(self, problem, session):
        torch.manual_seed(12)
        return super().points(problem, session)


class IsUnseeded(Faulty):
    def points(self, problem, session):
        return problem.bound_space.sample(np.random.default_rng(), 4)


class IgnoresTheSeed(Faulty):
    def search(self, problem, session):
        generator = np.random.default_rng(0)
        while True:
            session.evaluate(problem.bound_space.sample(generator, 4))


class LeavesTheSpace(Faulty):
    def points(self, problem, session):
        return super().points(problem, session) + 1


class LeavesTheSpaceWithOneSeed(Faulty):
    def points(self, problem, session):
        return super().points(problem, session) + (session.seed == 7)


class ProposesFractions(Faulty):
    def points(self, problem, session):
        return super().points(problem, session) * 0.9


class CatchesTheEnd(Faulty):
    def search(self, problem, session):
        with suppress(SearchStopped):
            super().search(problem, session)


class ChangesTheNetwork(Faulty):
    def points(self, problem, session):
        with torch.no_grad():
            problem.task.network.hidden0.weight.mul_(0.999)
        return super().points(problem, session)


class LeavesTrainingMode(Faulty):
    def points(self, problem, session):
        problem.task.network.train()
        return super().points(problem, session)


class ProposesNothing(Faulty):
    def search(self, problem, session):
        return


class TrustsEveryEvaluation(Faulty):
    def search(self, problem, session):
        while True:
            if session.evaluate(self.points(problem, session)).failed.any():
                raise ValueError("this cannot be")


class WaitsForFeasibility(Faulty):
    def search(self, problem, session):
        while True:
            found = session.evaluate(self.points(problem, session))
            if session.evaluations > 40 and not found.feasible.any():
                raise ValueError("this cannot be")


class DependsOnWhatWasRun(Faulty):
    def points(self, problem, session):
        return super().points(problem, session)[: 1 + session.ran % 4]


class HasNoName(Faulty):
    name = ""

    def __init__(self):
        pass


class HasNoConfiguration:
    name = "anonymous"

    def search(self, problem, session):
        Random().search(problem, session)


def test_an_optimizer_that_keeps_the_rules_passes():
    check_optimizer(Faulty(), cases=SMOOTH)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (DrawsFromGlobalNumpy, "numpy's global generator"),
        (SeedsPython, "Python's global `random`"),
        (SeedsTorch, "torch's global generator"),
        (IsUnseeded, "two runs with one seed"),
        (IgnoresTheSeed, "the seeds 0, 1, 2 propose the same"),
        (LeavesTheSpace, "outside the space's bounds"),
        (ProposesFractions, "proposes fractions"),
        (CatchesTheEnd, "catches the exception BudgetSpent"),
        (ChangesTheNetwork, "changes 'hidden0.weight'"),
        (LeavesTrainingMode, "another mode"),
        (ProposesNothing, "proposes nothing"),
        (DependsOnWhatWasRun, "interrupted and started again"),
        (HasNoName, "`name` must be a text"),
        (HasNoConfiguration, "must be its configuration"),
        (object, "lacks `name` or `search"),
    ],
)
def test_a_broken_rule_is_named(kind, words):
    with pytest.raises(ConformanceError, match=words):
        check_optimizer(kind(), cases=SMOOTH)


def test_the_problem_on_which_it_happened_is_named():
    with pytest.raises(ConformanceError, match="on the problem 'smooth', with seed 0: "):
        check_optimizer(LeavesTheSpace(), cases=SMOOTH)


def test_every_seed_is_run():
    with pytest.raises(ConformanceError, match="with seed 7: the optimizer proposes points outs"):
        check_optimizer(LeavesTheSpaceWithOneSeed(), cases=SMOOTH, seeds=(3, 7))


@pytest.mark.parametrize(
    ("seeds", "seeded", "words"),
    [
        ((), False, r"seeds must be one or more; got \(\)"),
        ((1,), True, r"two different ones or more; got \(1,\). .* seeded=False"),
        ((1, 1), True, "two different ones or more"),
    ],
)
def test_too_few_seeds_are_refused(seeds, seeded, words):
    with pytest.raises(ArgumentError, match=words):
        check_optimizer(Faulty(), cases=SMOOTH, seeds=seeds, seeded=seeded)


def test_one_seed_is_enough_where_none_has_any_influence():
    check_optimizer(UniformWidths(), cases=SMOOTH, seeds=(5,), seeded=False)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(TrustsEveryEvaluation, "failing"), (WaitsForFeasibility, "infeasible")],
)
def test_an_optimizer_that_trusts_every_evaluation_is_found_out(kind, name):
    cases = [case for case in CASES if case.name == name]
    with pytest.raises(ValueError, match="this cannot be"):
        check_optimizer(kind(), cases=cases)
