"""Allocations: one program gives the widths for every budget, in any space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import optprune as op
from optprune.allocation import Inverse, Log
from optprune.dependence import Dependence
from optprune.errors import ArgumentError, ArgumentTypeError, InfeasibleError
from optprune.formulation import Candidate, Masks, Metric, Problem, Ratios, Widths, metrics
from optprune.optimizers import (
    NSGA2,
    Calibration,
    CompensationAllocation,
    ConvexAllocation,
    Equal,
    HSICAllocation,
    Independence,
    ProjectionLosses,
    RandomImportance,
    ScoreSum,
    TableAllocation,
    allocating,
)
from optprune.optimizers.latency_model import LatencyModel
from optprune.scores import L1, Taylor
from optprune.search import Budget, Session, solve
from optprune.testing.networks import chain_task, residual_task

OPTIMIZERS = [
    ConvexAllocation(targets=(0.8, 0.6)),
    ConvexAllocation(targets=(0.8, 0.6), floor=0.0),
    HSICAllocation(targets=(0.8, 0.6), dependence=Dependence(samples=16)),
    CompensationAllocation(targets=(0.8, 0.6)),
    CompensationAllocation(targets=(0.8, 0.6), combine="log", floor=0.9),
    TableAllocation(targets=(0.8, 0.6), tables=ProjectionLosses()),
    TableAllocation(targets=(0.8, 0.6), calibration=Calibration()),
]


def posed(space: Any = None, **changes: Any) -> Problem:
    return Problem(residual_task(), space=space, objectives=[metrics.macs], **changes)


@dataclass(frozen=True)
class Curve:
    """A score that is a curve of losses."""

    values: tuple[float, ...]
    additive: ClassVar[bool] = False

    def __call__(self, network: Any, graph: Any, context: Any) -> Any:
        return np.array(self.values)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize(
    "space",
    [Widths(), Widths(step=4, frozen=["inner"]), Masks(bounds={"inner": (2, 5)}), Ratios()],
    ids=repr,
)
def test_budgets_are_met_and_widths_are_the_space_s(optimizer: Any, space: Any) -> None:
    problem = posed(space)
    allocations, structures = optimizer.allocate(problem), optimizer.select(problem)
    assert list(allocations) == list(structures) == [0.8, 0.6]
    macs = problem.graph.costs.macs
    for target, structure in structures.items():
        allocation = allocations[target]
        assert np.array_equal(structure.widths, allocation.widths)
        spent = float(macs(structure.widths)[0])
        assert spent <= target * macs.dense
        assert allocation.costs["macs"] == spent
        for width, allowed in zip(structure.widths, problem.bound_space.options, strict=True):
            assert width in allowed
        better = allocation.bound - allocation.objective
        assert (better if allocation.sense == "maximize" else -better) >= -1e-9


@pytest.mark.parametrize("cost", ["parameters", "activation_bytes"])
def test_other_costs_can_be_budgeted(cost: Any) -> None:
    problem = posed()
    polynomial = getattr(problem.graph.costs, cost)
    structure = ConvexAllocation((0.6,), cost).select(problem)[0.6]
    spent = float(polynomial(structure.widths)[0])
    assert spent <= 0.6 * polynomial.dense
    wider = structure.widths + np.eye(problem.graph.n_groups, dtype=int)
    wider = wider[(wider <= problem.graph.widths).all(axis=1)]
    assert (polynomial(wider) > 0.6 * polynomial.dense).all()


def test_the_problem_s_own_bounds_hold_beside_the_target() -> None:
    free = ConvexAllocation((0.6,)).allocate(posed())[0.6]
    problem = posed(subject_to=[metrics.parameters <= 0.5, metrics.activation_memory <= 0.7])
    bound = ConvexAllocation((0.6,)).allocate(problem)[0.6]
    costs = problem.graph.costs
    assert free.costs["macs"] <= 0.6 * costs.macs.dense
    assert float(costs.parameters(free.widths)[0]) > 0.5 * costs.parameters.dense
    assert bound.costs["parameters"] <= 0.5 * costs.parameters.dense
    assert bound.costs["activation_bytes"] <= 0.7 * costs.activation_bytes.dense
    assert bound.objective < free.objective
    # a bound on the cost itself that is tighter than the target
    tighter = posed(subject_to=[metrics.macs.absolute <= 0.4 * costs.macs.dense])
    assert ConvexAllocation((0.6,)).allocate(tighter)[0.6].costs["macs"] <= 0.4 * costs.macs.dense


def test_latencies_are_bounded_through_their_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Metric] = []

    def half_of_macs(problem: Problem, latency: Metric, **_: Any) -> LatencyModel:
        asked.append(latency)
        nothing = np.empty(0)
        return LatencyModel(problem.graph.costs.macs, np.empty((0, 3), int), nothing, nothing)

    monkeypatch.setattr(allocating, "fit_latency", half_of_macs)
    by_latency = ConvexAllocation((0.5,), "latency").allocate(posed())[0.5]
    assert np.array_equal(by_latency.widths, ConvexAllocation((0.5,)).allocate(posed())[0.5].widths)
    dense = posed().graph.costs.macs.dense
    bounded = posed(subject_to=[metrics.Latency(repeats=3) <= 0.3 * dense])
    found = ConvexAllocation((0.9,), "parameters").allocate(bounded)[0.9]
    assert found.costs["latency"] <= 0.3 * dense
    assert len(asked) == 2


def test_a_measured_latency_can_be_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    def milliseconds(candidate: Candidate) -> float:
        return 0.1 + 1e-5 * float(candidate.graph.costs.macs(candidate.widths)[0])

    measured = Metric("latency", milliseconds, unit="ms", needs="structure", version=1)
    monkeypatch.setattr(metrics, "latency", measured)
    problem = posed()
    found = ConvexAllocation((0.6,), "latency").allocate(problem)[0.6]
    dense = 0.1 + 1e-5 * problem.graph.costs.macs.dense
    assert found.budgets["latency"] == pytest.approx(0.6 * dense, rel=1e-6)
    assert 0.5 * dense < found.costs["latency"] <= 0.6 * dense
    macs = float(problem.graph.costs.macs(found.widths)[0])
    assert found.costs["latency"] == pytest.approx(0.1 + 1e-5 * macs, rel=1e-6)


def test_the_importance_decides_and_its_scale_does_not() -> None:
    problem = posed()
    n = problem.graph.n_groups
    first = np.ones(n)
    first[0] = 50.0
    plain, wide = (
        ConvexAllocation((0.4,), importance=values).allocate(problem)[0.4].widths
        for values in (np.ones(n), first)
    )
    assert wide[0] > plain[0]
    tiny = ConvexAllocation((0.4,), importance=1e-8 * first).allocate(problem)[0.4].widths
    assert np.array_equal(tiny, wide)
    equal = ConvexAllocation((0.4,)).allocate(problem)[0.4].widths
    assert np.array_equal(equal, plain)


def test_utilities_differ() -> None:
    problem = Problem(chain_task((16, 16, 16, 16)), objectives=[metrics.macs])
    first = (9.0, 1.0, 1.0, 4.0)
    log, inverse = (
        ConvexAllocation((0.3,), floor=0.0, importance=first, utility=utility)
        .allocate(problem)[0.3]
        .relaxed
        for utility in (Log(), Inverse())
    )
    # the inverse shies away from narrow groups more than the logarithm does
    assert inverse.min() > log.min() + 0.2


def test_sources_of_importance() -> None:
    problem = posed(Widths(score=Taylor(samples=16)))
    graph = problem.graph
    assert Equal()(problem).tolist() == [1.0] * graph.n_groups
    sums = ScoreSum(Taylor(samples=16))(problem)
    expected = [problem.importance[group.slice].sum() for group in graph.groups]
    np.testing.assert_allclose(sums, expected)
    curve = Curve(tuple(range(graph.n_units)))
    assert ScoreSum(curve)(problem).tolist() == [group.stop - 1 for group in graph.groups]
    drawn = RandomImportance(spread=4.0, seed=1)(problem)
    assert ((drawn >= 0.25) & (drawn <= 4.0)).all()
    assert np.array_equal(drawn, RandomImportance(seed=1)(problem))
    assert not np.array_equal(drawn, RandomImportance(seed=2)(problem))
    before = problem.setup_meter.forward_samples
    dependence = Dependence(samples=16)
    found = Independence(dependence, beta=2.0)(problem)
    assert problem.setup_meter.forward_samples == before + 16
    np.testing.assert_allclose(
        found, dependence.measure(problem.task, graph).importance(2.0), rtol=1e-12
    )


def test_hsic_allocation_is_convex_allocation_with_independence() -> None:
    problem = posed()
    dependence = Dependence(samples=20)
    one = HSICAllocation((0.4,), dependence=dependence, beta=3.0).allocate(problem)[0.4]
    other = ConvexAllocation((0.4,), importance=Independence(dependence, 3.0)).allocate(problem)[
        0.4
    ]
    assert np.array_equal(one.widths, other.widths)
    none = HSICAllocation((0.4,), dependence=dependence, beta=0.0).allocate(problem)[0.4]
    equal = ConvexAllocation((0.4,)).allocate(problem)[0.4]
    assert np.array_equal(none.widths, equal.widths)


@pytest.mark.parametrize("kind", [ConvexAllocation, HSICAllocation, CompensationAllocation])
@pytest.mark.parametrize("floor", [0.0, 0.5, 1.0])
def test_no_group_falls_below_its_share_of_the_common_ratio(kind: Any, floor: float) -> None:
    problem = Problem(chain_task((16, 32, 24)), objectives=[metrics.macs])
    macs, dense = problem.graph.costs.macs, problem.graph.widths
    for target, found in kind((0.5, 0.1), floor=floor).allocate(problem).items():
        assert found.costs["macs"] <= target * macs.dense
        # uniform widths, before they are rounded
        ratios = np.linspace(0, 1, 10001)[1:]
        fits = macs(np.maximum(ratios[:, None] * dense, 1)) <= target * macs.dense
        assert (found.widths >= np.floor(floor * (ratios[fits].max() - 1e-3) * dense)).all()


def test_the_floor_lifts_the_groups_that_the_logarithm_starves() -> None:
    problem = op.problems.digits.problem(space=Widths())
    free, floored = (
        ConvexAllocation((0.05,), floor=floor).allocate(problem)[0.05] for floor in (0.0, 0.7)
    )
    assert free.widths.min() == 1
    assert floored.widths.min() > 1
    assert floored.objective <= free.objective


@pytest.mark.parametrize("kind", [ConvexAllocation, CompensationAllocation])
def test_a_floor_makes_no_budget_infeasible(kind: Any) -> None:
    space = Widths(step=4, minimum=2, frozen=["hidden2"])
    problem = Problem(chain_task((16, 32, 24)), space=space, objectives=[metrics.macs])
    macs = problem.graph.costs.macs
    least = float(macs(problem.bound_space.narrowest)[0]) / macs.dense
    target = 1.0001 * least
    found = kind((target,), floor=1.0).allocate(problem)[target]
    assert np.array_equal(found.widths, problem.bound_space.narrowest)
    with pytest.raises(InfeasibleError, match="narrowest"):
        kind((0.999 * least,), floor=1.0).allocate(problem)


def test_a_search_evaluates_one_structure_for_each_target() -> None:
    problem = Problem(residual_task(), objectives=[metrics.error, metrics.macs])
    result = solve(problem, ConvexAllocation((0.3, 0.7)), evaluations=10, progress=False)
    assert len(result.rows) == 2
    assert result.rows[0].metrics["macs"] <= 0.3 < result.rows[1].metrics["macs"] <= 0.7


def test_lower_bounds_are_judged_by_the_session() -> None:
    problem = posed(subject_to=[metrics.parameters >= 0.6])
    rows = solve(problem, ConvexAllocation((0.3, 0.9)), evaluations=2, progress=False).rows
    assert [row.feasible for row in rows] == [False, True]


def test_nsga2_starts_from_an_allocation() -> None:
    problem = posed()
    selector = ConvexAllocation((0.7, 0.5, 0.3))
    optimizer = NSGA2(population=6, seeded_by=selector)
    with Session(problem, Budget(evaluations=6)) as session, pytest.raises(op.errors.SearchStopped):
        optimizer.search(problem, session)
    first = [row.widths for row in session.rows]
    expected = [tuple(s.widths.tolist()) for s in selector.select(problem).values()]
    assert first[:3] == expected
    assert len(set(first)) == 6


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"targets": ()}, "targets"),
        ({"targets": (1.5,)}, "targets"),
        ({"targets": [0.5]}, "targets"),
        ({"cost": "flops"}, "cost"),
        ({"floor": 1.5}, "floor"),
        ({"floor": "half"}, "floor"),
    ],
)
@pytest.mark.parametrize(
    "kind", [ConvexAllocation, HSICAllocation, CompensationAllocation, TableAllocation]
)
def test_parameters_that_cannot_be_are_refused(kind: Any, wrong: Any, words: str) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match=words):
        kind(**wrong)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomImportance(spread=0.5), "spread"),
        (lambda: RandomImportance(seed=-1), "seed"),
        (lambda: Independence(beta=-1.0), "beta"),
        (lambda: HSICAllocation(beta=float("nan")), "beta"),
        (lambda: CompensationAllocation(combine="product"), "combine"),  # type: ignore[arg-type]
        (lambda: NSGA2(seeded_by=L1()), "seeded_by"),  # type: ignore[arg-type]
    ],
)
def test_other_parameters_that_cannot_be_are_refused(make: Any, words: str) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match=words):
        make()


@pytest.mark.parametrize(
    ("importance", "words"),
    [((1.0,), "shape"), ((1.0, float("nan"), 1.0), "finite"), ((1.0, -1.0, 1.0), "negative")],
)
def test_importances_that_cannot_be_are_refused(importance: Any, words: str) -> None:
    problem = posed()
    values = (
        importance[:1] + (1.0,) * (problem.graph.n_groups - 1) if len(importance) > 1 else (1.0,)
    )
    values = (*values[:-1], importance[1]) if len(importance) > 1 else values
    with pytest.raises(ArgumentError, match=words):
        ConvexAllocation((0.5,), importance=values).allocate(problem)


def test_what_cannot_be_met_is_told() -> None:
    with pytest.raises(InfeasibleError, match="narrowest"):
        ConvexAllocation((0.001,)).allocate(posed())
    with pytest.raises(InfeasibleError, match="narrowest"):
        CompensationAllocation((0.001,)).allocate(posed())
