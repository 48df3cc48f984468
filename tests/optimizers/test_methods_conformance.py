"""DEAP's, SciPy's and our own methods keep the rules, and refuse what they are not made for."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from optprune.errors import ArgumentError, ArgumentTypeError, SearchStopped
from optprune.optimizers import (
    MOCMAES,
    PBIL,
    DeapGA,
    DeapNSGA2,
    DeapNSGA3,
    DualAnnealing,
    GreedyElimination,
    ScipyDE,
    SimulatedAnnealing,
)
from optprune.search import Budget, Session
from optprune.testing import CASES, check_optimizer

# Each problem is traced once.
EVERY = [replace(case, make=cache(case.make), evaluations=24) for case in CASES]
SEVERAL = [DeapNSGA3(population=8), MOCMAES(population=8)]
REAL = [ScipyDE(population=8), DualAnnealing(first=5)]
ONE = [*REAL, PBIL(population=10), SimulatedAnnealing(steps=25, first=5)]
ANY = [DeapGA(population=8, offspring=5), DeapNSGA2(population=8)]


def suits(optimizer, case):
    """Tell whether an optimizer is made for a problem."""
    problem = case.make()
    bits = problem.bound_space.kind == "binary"
    if optimizer in SEVERAL:
        return problem.n_objectives > 1 and not (bits and isinstance(optimizer, MOCMAES))
    if optimizer in ONE:
        return problem.n_objectives == 1 and not (bits and optimizer in REAL)
    return True


@pytest.mark.parametrize("case", EVERY, ids=repr)
@pytest.mark.parametrize("optimizer", [*SEVERAL, *ONE, *ANY], ids=lambda o: o.name)
def test_the_rules_are_kept_or_the_problem_is_refused(optimizer, case):
    if suits(optimizer, case):
        seeded = case.name == ("narrow" if optimizer in SEVERAL else "rugged")
        check_optimizer(optimizer, cases=[case], seeded=seeded)
        return
    with Session(case.make(), Budget(evaluations=8)) as session:
        with pytest.raises(ArgumentError, match=f"^{optimizer.name} .* (Use|Add|Keep|Make) "):
            optimizer.search(case.make(), session)
        assert not session.rows


@pytest.mark.parametrize("case", EVERY, ids=repr)
def test_elimination_keeps_the_rules_or_says_where_to_begin(case):
    if case.make().constraints:
        with pytest.raises(ArgumentError, match=r"GreedyElimination begins at .*`targets="):
            check_optimizer(GreedyElimination(), cases=[case], seeded=False)
        return
    check_optimizer(GreedyElimination((0.2,)), cases=[case], seeded=False)


@dataclass(frozen=True)
class Chosen:
    """A selector of two structures."""

    def select(self, problem):
        return {0.5: kept(problem, 2, 4, 1), 0.2: kept(problem, 1, 1, 2)}


def kept(problem, *widths):
    wide = problem.bound_space.widest
    clipped = np.minimum(widths, wide)
    return problem.bound_space.decode(problem.bound_space.keeping(clipped[None]))[0]


@pytest.mark.parametrize("optimizer", [*SEVERAL, *ONE, *ANY], ids=lambda o: o.name)
def test_a_search_begins_with_what_it_is_given(optimizer):
    case = next(c for c in EVERY if suits(optimizer, c))
    problem = case.make()
    one = kept(problem, 3, 2, 2)
    started = replace(optimizer, seeded_by=[Chosen(), one])
    assert started == replace(optimizer, seeded_by=(Chosen(), one))
    with Session(problem, Budget(evaluations=12), seed=1) as session:
        with suppress(SearchStopped):
            started.search(problem, session)
        found = [row.structure for row in session.rows[:3]]
    assert found == [s.to_json() for s in (*Chosen().select(problem).values(), one)]


@pytest.mark.parametrize("optimizer", [*SEVERAL, *ONE, *ANY], ids=lambda o: o.name)
def test_a_small_space_is_searched_whole_and_then_the_search_ends(optimizer):
    case = next(c for c in reversed(EVERY) if c.name in ("tiny", "smooth") and suits(optimizer, c))
    problem = case.make()
    with Session(problem, Budget(evaluations=1000), seed=1) as session:
        optimizer.search(problem, session)  # by itself: no exception of the session
        assert session.evaluations == problem.bound_space.cardinality


@pytest.mark.parametrize(
    ("kind", "wrong", "words"),
    [
        (DeapGA, {"offspring": 0}, "must be at least 1, not 0"),
        (DeapNSGA2, {"population": 6}, "multiple of 4, not 6"),
        (DeapNSGA3, {"partitions": 0}, "must be at least 1, not 0"),
        (MOCMAES, {"sigma": 0.0}, "above 0 and at most 1, not 0.0"),
        (MOCMAES, {"population": 1}, "must be at least 2"),
        (PBIL, {"elite": 25}, "at most `population`, 24, not 25"),
        (PBIL, {"rate": 0}, "above 0 and at most 1"),
        (PBIL, {"margin": 1.0}, "between 0 and 1"),
        (ScipyDE, {"population": 4}, "must be at least 5"),
        (ScipyDE, {"strategy": "best"}, "must be one of 'best1bin'"),
        (ScipyDE, {"differential": 3.0}, "between 0 and 2, not 3.0"),
        (ScipyDE, {"differential": (1.0, 0.5)}, "a number or (least, most)"),
        (ScipyDE, {"crossover": 1.5}, "a probability"),
        (DualAnnealing, {"temperature": 0.0}, "above 0.01"),
        (DualAnnealing, {"visit": 3.5}, "above 1 and at most 3"),
        (DualAnnealing, {"accept": -4.0}, "at most -5"),
        (DualAnnealing, {"local_search": 1}, "True or False"),
        (DualAnnealing, {"first": 0}, "must be at least 1"),
        (SimulatedAnnealing, {"cold": 1.0}, "less than `hot`"),
        (SimulatedAnnealing, {"reach": 0.0}, "between 0 and 1"),
        (SimulatedAnnealing, {"steps": 2.5}, "a whole number"),
        (GreedyElimination, {"targets": (1.5,)}, "between 0 and 1; got 1.5"),
        (GreedyElimination, {"cost": "latency"}, "'macs', 'parameters'"),
        (GreedyElimination, {"step": 0}, "must be at least 1"),
        (GreedyElimination, {"per_cost": None}, "True or False"),
        (GreedyElimination, {"seeded_by": 3}, "must be a structure, a result"),
    ],
)
def test_parameters_that_cannot_be_are_refused_by_name(kind, wrong, words):
    (name,) = wrong
    expected = f"{kind.__name__}: `{name}`.*{re.escape(words)}"
    with pytest.raises((ArgumentError, ArgumentTypeError), match=expected):
        kind(**wrong)
