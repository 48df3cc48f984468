from __future__ import annotations

import random
from contextlib import suppress

import numpy as np
import pytest

from optprune.errors import SearchStopped
from optprune.optimizers import DeapGA, DeapNSGA2
from optprune.optimizers.deap_evolution import crowded_parents, crowded_survivors
from optprune.optimizers.deap_members import Member, fitness_type
from optprune.optimizers.lending import lent, lent_numpy, numpy_source
from optprune.search import Budget, Session
from optprune.testing import CASES


def test_feasible_beats_infeasible_whatever_the_objective():
    fitness = fitness_type(1)
    assert fitness([9.0], 0.0) > fitness([1.0], 0.1)


def test_of_two_infeasible_the_smaller_violation_wins():
    fitness = fitness_type(1)
    assert fitness([9.0], 0.1) > fitness([1.0], 0.2)


def test_of_two_feasible_the_smaller_objective_wins():
    fitness = fitness_type(1)
    assert fitness([1.0]) > fitness([9.0])
    assert fitness([1.0]) == fitness([1.0])
    assert fitness([1.0]) != fitness([1.0], 0.1)


def test_domination_looks_at_the_violation_first():
    fitness = fitness_type(2)
    assert fitness([9.0, 9.0], 0.1).dominates(fitness([1.0, 1.0], 0.2))
    assert not fitness([1.0, 1.0], 0.2).dominates(fitness([9.0, 9.0], 0.1))
    assert fitness([1.0, 2.0]).dominates(fitness([1.0, 3.0]))
    assert not fitness([1.0, 3.0]).dominates(fitness([2.0, 2.0]))


def test_the_global_random_is_put_back_also_after_an_exception():
    def draw_and_fail():
        with lent(random.Random(1)):
            random.random()
            raise KeyError

    before = random.getstate()
    with pytest.raises(KeyError):
        draw_and_fail()
    assert random.getstate() == before


def test_the_lent_source_goes_on_from_where_it_was():
    lone, source = random.Random(1), random.Random(1)
    drawn = []
    for _ in range(3):
        with lent(source):
            drawn.append(random.random())
        random.random()
    assert drawn == [lone.random() for _ in range(3)]


def test_the_global_numpy_generator_is_lent_and_put_back_also_after_an_exception():
    lone, source = (numpy_source(np.random.default_rng(3)) for _ in range(2))
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    drawn = []
    for _ in range(3):
        with suppress(KeyError), lent_numpy(source):
            drawn.append(np.random.randn())  # noqa: NPY002
            raise KeyError
    assert drawn == [lone.randn() for _ in range(3)]
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def batches(optimizer, case, evaluations=60):
    """Return the sizes of the batches that a search proposes."""
    problem = next(c for c in CASES if c.name == case).make()
    sizes = []
    with Session(problem, Budget(evaluations=evaluations), seed=1) as session:
        inner = session.evaluate
        session.evaluate = lambda points: (sizes.append(len(points)), inner(points))[1]
        with suppress(SearchStopped):
            optimizer.search(problem, session)
    return sizes


@pytest.mark.parametrize("offspring", [1, 5, 24])
@pytest.mark.parametrize(("kind", "case"), [(DeapGA, "rugged"), (DeapNSGA2, "two objectives")])
def test_a_generation_has_as_many_children_as_were_asked_for(kind, case, offspring):
    sizes = batches(kind(population=8, offspring=offspring), case)
    assert sizes[0] == 8
    assert set(sizes[1:-1]) <= {offspring}


def members(values, violations=None):
    fitness = fitness_type(len(values[0]))
    return [
        Member([float(i)], fitness(value, (violations or [0.0] * len(values))[i]))
        for i, value in enumerate(values)
    ]


@pytest.mark.parametrize("n_members", [3, 4, 6, 8])
@pytest.mark.parametrize("n", [2, 8, 14])
def test_there_are_as_many_parents_as_are_needed(n_members, n):
    found = members([(i, 10 - i) for i in range(n_members)])
    with lent(random.Random(1)):
        assert len(crowded_parents(crowded_survivors(found, n_members), n)) == n
