"""How searches begin, go on and end: with what is given, with nothing twice, by themselves."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from optprune.errors import SearchStopped
from optprune.optimizers import CMAES, MOEAD, DifferentialEvolution, ParticleSwarm
from optprune.search import Budget, Session
from tests.optimizers.shipped import EVERY, SHIPPED

DRAWING = [shipped for shipped in SHIPPED if shipped.draws]
STARTED = [s for s in DRAWING if "seeded_by" in {field.name for field in fields(s.optimizer)}]
# These go on moving until the session finds that nothing new comes.
WITHOUT_END = (CMAES, MOEAD, DifferentialEvolution, ParticleSwarm)
ENDING = [s for s in DRAWING if not isinstance(s.optimizer, WITHOUT_END)]


def first_of(cases, shipped):
    """Return the first of some problems that an optimizer is made for."""
    return next(problem for case in cases if shipped.suits(problem := case.make()))


@dataclass(frozen=True)
class Chosen:
    """A selector of two structures."""

    def select(self, problem):
        return {0.5: kept(problem, 2, 4, 1), 0.2: kept(problem, 1, 1, 2)}


def kept(problem, *widths):
    clipped = np.minimum(widths, problem.bound_space.widest)
    return problem.bound_space.decode(problem.bound_space.keeping(clipped[None]))[0]


@pytest.mark.parametrize("shipped", STARTED, ids=repr)
def test_a_search_begins_with_what_it_is_given(shipped):
    problem = first_of(EVERY, shipped)
    one = kept(problem, 3, 2, 2)
    started = replace(shipped.optimizer, seeded_by=[Chosen(), one])
    assert started == replace(shipped.optimizer, seeded_by=(Chosen(), one))
    with Session(problem, Budget(evaluations=12), seed=1) as session:
        with suppress(SearchStopped):
            started.search(problem, session)
        found = [row.structure for row in session.rows[:3]]
    assert found == [s.to_json() for s in (*Chosen().select(problem).values(), one)]


@pytest.mark.parametrize("shipped", DRAWING, ids=repr)
def test_no_method_proposes_a_point_twice_at_a_charge(shipped):
    problem = first_of(EVERY, shipped)
    with Session(problem, Budget(evaluations=60), seed=2) as session:
        with suppress(SearchStopped):
            shipped.optimizer.search(problem, session)
        assert len({row.structure for row in session.rows}) == len(session.rows) > 12


@pytest.mark.parametrize("shipped", ENDING, ids=repr)
def test_a_small_space_is_searched_whole_and_then_the_search_ends(shipped):
    small = [case for case in reversed(EVERY) if case.name in ("tiny", "smooth")]
    problem = first_of(small, shipped)
    with Session(problem, Budget(evaluations=1000), seed=1) as session:
        shipped.optimizer.search(problem, session)  # by itself: no exception of the session
        assert session.evaluations == problem.bound_space.cardinality
