"""The canonical problems have the optima that their formulas say."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
import torch

from optprune.errors import ArgumentError
from optprune.formulation import Problem, metrics
from optprune.losses import accuracy
from optprune.search import Evaluations, nondominated, to_minimization
from optprune.surgery import cut
from optprune.testing import CASES, exhaustive
from optprune.testing.networks import chain_task

BY_NAME = {case.name: case for case in CASES}


@cache
def whole(name: str) -> tuple[Problem, Evaluations]:
    """Return a problem and all of its structures, evaluated once."""
    problem = BY_NAME[name].make()
    return problem, exhaustive(problem)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("smooth", 4 * 5 * 6),
        ("rugged", 8 * 8 * 9 * 9),
        ("maximized", 2 * 6),
        ("binary", (2**4 - 1) * (2**5 - 1)),
        ("continuous", 4 * 5 * 6),
        ("tiny", 2 * 3),
        ("deceptive", 6 * 7 * 8),
        ("knapsack", (2**4 - 1) * (2**5 - 1)),
        ("single", 10),
        ("real network", 8 * 12),
    ],
)
def test_every_structure_is_listed_once(name, size):
    every = whole(name)[1]
    assert len(every) == size
    assert len(set(every.structures)) == size


def test_the_valley_has_its_lowest_point_at_the_target():
    every = whole("smooth")[1]
    winner = every.structures[int(every.objectives.argmin())]
    assert winner.widths.tolist() == [2, 3, 3]
    assert every.objectives.min() == 0.0


def test_the_two_objectives_pull_apart():
    distortion, macs = whole("two objectives")[1].objectives.T
    assert np.corrcoef(distortion, macs)[0, 1] < -0.5
    assert distortion[macs.argmax()] == 0.0


def test_the_constraints_exclude_the_free_optimum():
    every = whole("constrained")[1]
    assert 0.05 < every.feasible.mean() < 0.8
    assert np.nanmin(every.objectives[every.feasible]) > 0.0


def test_the_narrow_constraint_is_met_by_few():
    every = whole("narrow")[1]
    assert 0 < every.feasible.mean() < 0.2


def test_a_failing_problem_fails_on_more_than_half():
    every = whole("failing")[1]
    assert 0.5 < every.failed.mean() < 1.0
    assert all(every.reasons[i] for i in np.flatnonzero(every.failed))


def best_of(name: str) -> np.ndarray:
    """Return the values that no other structure is better than, each once, in order."""
    problem, every = whole(name)
    values = np.unique(to_minimization(problem, every)[0][every.feasible], axis=0)
    return values[nondominated(values)]


def test_the_front_of_three_objectives_has_the_ends_that_the_formulas_say():
    front = best_of("three objectives")
    assert len(front) == 36
    # The least of each: the dense network, the narrowest one, and the valley's target.
    assert front[0] == pytest.approx(np.array([0.0, 1.0, 0.25 + 0.16 + 0.25]))
    assert front[:, 1].min() == pytest.approx((6 + 1 + 1 + 3) / 92)
    at_target = front[front[:, 2] == 0.0]
    macs = (6 * 2 + 2 * 3 + 3 * 3 + 3 * 3) / 92
    assert at_target == pytest.approx(np.array([[(0.25 + 4 * 0.16 + 2 * 0.25) / 7, macs, 0.0]]))


def test_the_best_ratios_within_the_bound_are_those_that_the_formulas_say():
    every = whole("continuous, one objective")[1]
    widths = np.array(list(itertools.product(range(1, 5), range(1, 6), range(1, 7))))
    first, second, third = widths.T
    macs = (6 * first + first * second + second * third + 3 * third) / 92
    kept = widths / [4, 5, 6]
    distortion = ((1 - kept) ** 2 @ [1.0, 4.0, 2.0]) / 7
    assert every.feasible.sum() == (macs <= 0.5).sum() == 72
    best = distortion[macs <= 0.5].min()
    assert best_of("continuous, one objective").tolist() == [[pytest.approx(best)]]
    assert 0.0 < best < 0.2


def test_the_front_of_masks_is_that_of_all_bits():
    problem = whole("binary front")[0]
    front = best_of("binary front")
    every = np.array([s.kept for s in whole("binary front")[1].structures])
    pairs = problem.objectives[0].function
    generator = np.random.default_rng(pairs.seed)
    alone, together = generator.standard_normal((2, 9))
    values = every @ alone + (every[:, :-1] & every[:, 1:]) @ together[:-1]
    assert front[:, 0].min() == pytest.approx(values.min())
    assert len(front) == 6


def test_the_front_with_failures_has_the_widest_first_group_only():
    every = whole("failing, several objectives")[1]
    first = np.array([s.widths[0] for s in every.structures])
    assert every.failed.tolist() == (first != 4).tolist()
    front = best_of("failing, several objectives")
    assert len(front) == 7
    # A first group kept whole is half of its width from the target.
    assert front[:, 0].min() == pytest.approx(0.25)


def test_from_nearly_everywhere_the_steepest_descent_misses_the_deceptive_optimum():
    every = whole("deceptive")[1]
    values = every.objectives.reshape(6, 7, 8)
    assert values.min() == values[1, 5, 2] == 0.0
    assert (values == 0.0).sum() == 1
    padded = np.pad(values, 1, constant_values=np.inf)
    steps = [(0, 0, 0), *(tuple(sign * row) for row in np.eye(3, dtype=int) for sign in (1, -1))]
    ends = []
    for cell in np.ndindex(values.shape):
        here, place = np.inf, np.array(cell) + 1
        while padded[tuple(place)] < here:
            here = padded[tuple(place)]
            place = min((place + step for step in steps), key=lambda near: padded[tuple(near)])
        ends.append(here)
    assert np.mean(np.array(ends) > 0) > 0.9


def test_the_fullest_knapsack_is_that_of_dynamic_programming():
    problem, every = whole("knapsack")
    value, weight = problem.objectives[0].function, problem.constraints[0].metric.function
    values, weights = (load.amounts(9).tolist() for load in (value, weight))
    assert 0.2 < every.feasible.mean() < 0.5
    # The most that units up to here are worth at each weight; one of each group has to stay.
    best = {(0, 0): 0}
    for unit, (worth, load) in enumerate(zip(values, weights, strict=True)):
        group = 1 if unit < 4 else 2
        for (groups, weighed), most in list(best.items()):
            key = groups | group, weighed + load
            best[key] = max(best.get(key, 0), most + worth)
    fits = [most for (groups, weighed), most in best.items() if groups == 3 and weighed <= 20]
    assert best_of("knapsack").tolist() == [[-max(fits)]]


def test_the_single_variable_is_best_at_the_target_and_trades_at_every_width():
    every = whole("single")[1]
    assert every.structures[int(every.objectives.argmin())].widths.tolist() == [4]
    assert every.objectives.min() == 0.0
    assert len(best_of("single, several objectives")) == 10


@pytest.mark.parametrize("name", ["infeasible", "infeasible, several objectives"])
def test_each_bound_can_be_met_but_not_both(name):
    problem, every = whole(name)
    assert not every.feasible.any()
    assert not every.failed.any()
    assert (every.violations == 0.0).any(axis=0).all()
    least = int(every.violations.sum(axis=1).argmin())
    assert every.structures[least].widths.tolist() == [2, 5, 5]
    # The distortion is (4 / 16) / 7 there, and within its bound.
    macs = (6 * 2 + 2 * 5 + 5 * 5 + 3 * 5) / 92
    assert every.violations[least] == pytest.approx([0.0, (macs - 0.4) / 0.4])
    assert problem.constraints[0].bound > (4 / 16 + 2 / 36) / 7


def test_the_real_network_errs_on_few_digits_and_more_when_it_is_cut():
    problem, every = whole("real network, several objectives")
    loss, macs = every.objectives.T
    task = problem.task
    assert accuracy(task.predict(task.network, task.validation), task.validation.labels) > 0.95
    assert loss[macs.argmin()] > 5 * loss[macs.argmax()]
    front = best_of("real network, several objectives")
    assert len(front) >= 8
    assert front[-1, 0] == loss[macs.argmin()]


def test_the_best_of_the_real_network_is_what_torch_measures_on_the_cut_one():
    problem, every = whole("real network")
    assert 0.3 < every.feasible.mean() < 0.8
    task = problem.task
    expected = []
    for structure in np.array(every.structures)[every.feasible]:
        small = cut(task.network, problem.graph, structure)
        with torch.no_grad():
            logits = small(task.validation.inputs)
        loss = torch.nn.functional.cross_entropy(logits, task.validation.labels)
        expected.append(loss.item())
    assert every.objectives[every.feasible, 0] == pytest.approx(np.array(expected), rel=1e-5)
    assert best_of("real network")[0, 0] == pytest.approx(min(expected), rel=1e-5)


def test_the_real_network_is_the_same_at_each_time():
    one, other = (BY_NAME["real network"].make() for _ in range(2))
    assert one.task.network is not other.task.network
    assert one.fingerprint == other.fingerprint


def test_the_list_has_a_screened_out_a_failed_and_a_nan_candidate():
    bounded, broken = whole("real network")[1], ~whole("real network")[1].feasible
    assert np.isnan(bounded.objectives[broken]).all()
    assert not bounded.failed.any()
    assert all("breaks macs <= 0.3" in bounded.reasons[i] for i in np.flatnonzero(broken))
    reasons = whole("failing")[1].reasons
    assert any("RuntimeError: the first group keeps an odd number" in text for text in reasons)
    assert any("must return a finite number, got nan" in text for text in reasons)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_the_minimization_form_is_finite(case):
    F, G = to_minimization(*whole(case.name))
    assert np.isfinite(F).all()
    assert np.isfinite(G).all()


def test_a_space_too_large_to_be_listed_is_refused():
    problem = Problem(chain_task((64,) * 3), objectives=[metrics.macs])
    with pytest.raises(ArgumentError, match="too large to be listed"):
        exhaustive(problem)
