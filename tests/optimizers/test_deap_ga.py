from __future__ import annotations

import random

import pytest

from optprune.optimizers.deap_ga import fitness_type, lent


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
