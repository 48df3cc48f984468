"""Pymoo's methods keep the rules on all problems that they are made for, and refuse the others."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib.util import find_spec

import pytest

from optprune.errors import ArgumentError, ArgumentTypeError, MissingDependencyError, SearchStopped
from optprune.formulation import Problem, Widths, metrics
from optprune.optimizers import (
    AGEMOEA2,
    CMAES,
    CTAEA,
    GA,
    MOEAD,
    NSGA3,
    RVEA,
    SMSEMOA,
    SPEA2,
    UNSGA3,
    DifferentialEvolution,
    ParticleSwarm,
    age_moea2,
)
from optprune.search import Budget, Session
from optprune.testing import CASES, Case, check_optimizer
from optprune.testing.networks import chain_task

HAS_NUMBA = find_spec("numba") is not None
SEVERAL = [
    NSGA3(population=12),
    SMSEMOA(population=12),
    SPEA2(population=12),
    RVEA(population=12),
    CTAEA(population=12),
    MOEAD(population=12, neighbors=4),
    *([AGEMOEA2(population=12)] if HAS_NUMBA else []),
]
ONE = [
    GA(population=12),
    DifferentialEvolution(population=8),
    ParticleSwarm(population=8),
    CMAES(population=6),
]
ANY = [UNSGA3(population=12, partitions=3)]


def lonely():
    """One variable."""
    return Problem(chain_task((8, 9)), space=Widths(frozen=["hidden1"]), objectives=[metrics.macs])


# Each problem is traced once; three generations are enough to break a rule.
EVERY = [replace(case, make=cache(case.make), evaluations=40) for case in CASES]
LONELY = Case("one variable", cache(lonely), evaluations=8)


def suits(optimizer, case):
    """Tell whether an optimizer is made for a problem."""
    problem = case.make()
    if optimizer in ANY:
        return True
    if optimizer in SEVERAL:
        constrained = isinstance(optimizer, MOEAD) and problem.constraints
        return problem.n_objectives > 1 and not constrained
    real_moves = not isinstance(optimizer, GA)
    return problem.n_objectives == 1 and not (real_moves and problem.bound_space.kind == "binary")


@pytest.mark.parametrize("case", EVERY, ids=repr)
@pytest.mark.parametrize("optimizer", [*SEVERAL, *ONE, *ANY], ids=lambda o: o.name)
def test_the_rules_are_kept_or_the_problem_is_refused(optimizer, case):
    if suits(optimizer, case):
        check_optimizer(optimizer, cases=[case], seeded=case.name in ("rugged", "three objectives"))
        return
    with Session(case.make(), Budget(evaluations=8)) as session:
        with pytest.raises(ArgumentError, match=f"^{optimizer.name} "):
            optimizer.search(case.make(), session)
        assert not session.rows


@pytest.mark.parametrize(
    ("optimizer", "case", "words"),
    [
        (GA(), "two objectives", "has 2 (distortion, macs). Keep one and bound the others"),
        (NSGA3(), "smooth", "this problem has one (valley). Add an objective"),
        (MOEAD(), "narrow", "this problem has 1 (macs <= 0.2). Make what is bounded an objective"),
        (CMAES(), "binary", "Use GA or NSGA2, or decide widths (op.Widths) or ratios"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_refusal_says_what_to_do(optimizer, case, words):
    problem = next(c for c in EVERY if c.name == case).make()
    with (
        Session(problem, Budget(evaluations=8)) as session,
        pytest.raises(ArgumentError, match=re.escape(words)),
    ):
        optimizer.search(problem, session)


@pytest.mark.parametrize("optimizer", [GA(population=4), DifferentialEvolution(population=4)])
def test_one_variable_is_enough(optimizer):
    check_optimizer(optimizer, cases=[LONELY], seeded=False)


def test_cma_es_needs_two_variables():
    with (
        Session(LONELY.make(), Budget(evaluations=8)) as session,
        pytest.raises(ArgumentError, match=r"two variables or more, this problem has one \(hidden"),
    ):
        CMAES().search(LONELY.make(), session)


def test_without_numba_age_moea2_names_the_remedy(monkeypatch):
    monkeypatch.setattr(age_moea2, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="pip install numba"):
        AGEMOEA2()


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (GA, {"population": 3}),
        (GA, {"start": "middle"}),
        (SPEA2, {"crossover": 1.5}),
        (NSGA3, {"partitions": 0}),
        (UNSGA3, {"partitions": 2.0}),
        (CTAEA, {"partitions": -1}),
        (RVEA, {"generations": 0}),
        (RVEA, {"alpha": 0.0}),
        (RVEA, {"adaptation": 0.0}),
        (MOEAD, {"neighbors": 1}),
        (MOEAD, {"locality": 2.0}),
        (MOEAD, {"decomposition": "sum"}),
        (DifferentialEvolution, {"base": "worst"}),
        (DifferentialEvolution, {"weight": 0.0}),
        (DifferentialEvolution, {"mutation": -0.1}),
        (ParticleSwarm, {"inertia": -1.0}),
        (ParticleSwarm, {"speed": 0.0}),
        (ParticleSwarm, {"population": True}),
        (CMAES, {"step": 0.0}),
        (CMAES, {"growth": 0}),
        (CMAES, {"start": None}),
    ],
)
def test_parameters_that_cannot_be_are_refused_by_name(kind, wrong):
    (name,) = wrong
    with pytest.raises((ArgumentError, ArgumentTypeError), match=f"{kind.__name__}: `{name}`"):
        kind(**wrong)


@pytest.mark.parametrize("optimizer", [*SEVERAL, *ONE, *ANY], ids=lambda o: o.name)
def test_no_method_proposes_a_point_twice_at_a_charge(optimizer):
    case = next(c for c in EVERY if suits(optimizer, c))
    with Session(case.make(), Budget(evaluations=60), seed=2) as session:
        with suppress(SearchStopped):
            optimizer.search(case.make(), session)
        assert len({row.structure for row in session.rows}) == len(session.rows) > 12
