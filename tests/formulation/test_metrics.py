from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, MetricError
from optprune.formulation import Candidate, Problem, Proposal, metrics
from optprune.surgery import cut
from optprune.task import TaskScore
from tests.formulation.cases import (
    make_network,
    make_problem,
    make_regression,
    make_task,
    narrowed,
    small_graph,
)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem()


def full(problem: Problem) -> Candidate:
    return Candidate(problem, Proposal(problem.graph.full()))


def test_error_is_one_minus_accuracy_on_validation(problem: Problem) -> None:
    outputs = make_network()(problem.task.validation.inputs)
    accuracy = (outputs.argmax(1) == problem.task.validation.targets).double().mean().item()
    assert metrics.error(full(problem)) == pytest.approx(1 - accuracy, abs=1e-12)


def test_loss_and_score_are_those_of_the_task(problem: Problem) -> None:
    task = problem.task
    outputs = make_network()(task.validation.inputs)
    loss = nn.functional.cross_entropy(outputs, task.validation.labels).item()
    assert metrics.loss(full(problem)) == pytest.approx(loss, rel=1e-6)
    assert metrics.score(full(problem)) == pytest.approx(1 - metrics.error(full(problem)))


def test_error_is_refused_for_a_regression_with_the_alternative() -> None:
    with pytest.raises(ArgumentError, match=r"Use metrics\.loss or metrics\.score \(rmse\)"):
        make_problem(task=make_regression(), objectives=[metrics.error])


def test_the_score_takes_its_direction_from_the_task() -> None:
    regression = make_problem(task=make_regression(), objectives=[metrics.score])
    assert regression.objectives[0].direction == "minimize"
    assert make_problem(objectives=[metrics.score]).objectives[0].direction == "maximize"
    assert make_problem(subject_to=[metrics.score >= 0.5]).constraints[0].metric.direction == (
        "maximize"
    )


def test_outputs_that_are_not_finite_have_no_error_rate(problem: Problem) -> None:
    candidate = full(problem)
    candidate.predictions.fill_(float("nan"))
    with pytest.raises(MetricError, match="not all finite"):
        metrics.error(candidate)


def test_a_score_of_the_users_own_that_returns_nan_is_named() -> None:
    score = TaskScore("mine", "maximize", lambda outputs, targets: float("nan"))
    problem = make_problem(task=make_task(score=score))
    with pytest.raises(MetricError, match="metric 'score' must return a finite number"):
        metrics.score(full(problem))


@pytest.mark.parametrize(
    ("metric", "cost"),
    [
        (metrics.macs, "macs"),
        (metrics.parameters, "parameters"),
        (metrics.activation_memory, "activation_bytes"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_costs_are_fractions_of_dense(metric: metrics.Metric, cost: str, problem: Problem) -> None:
    polynomial = getattr(small_graph().costs, cost)
    candidate = Candidate(problem, Proposal(narrowed(3, 4)))
    assert metric(full(problem)) == 1.0
    assert 0.0 < metric(candidate) < 1.0
    assert metric.absolute(candidate) == polynomial(np.array([3, 4]))[0]
    assert metric(candidate) == metric.absolute(candidate) / polynomial.dense


def test_parameters_are_those_of_the_cut_network(problem: Problem) -> None:
    structure = narrowed(2, 5)
    small = cut(make_network(), small_graph(), structure)
    count = sum(parameter.numel() for parameter in small.parameters())
    assert metrics.parameters.absolute(Candidate(problem, Proposal(structure))) == count


def test_a_population_is_measured_at_once(problem: Problem) -> None:
    widths = np.array([[6, 8], [3, 4], [1, 1]])
    values = metrics.macs.population(small_graph(), widths)
    assert values is not None
    singles = [metrics.macs(Candidate(problem, Proposal(narrowed(*row)))) for row in widths]
    assert values.tolist() == singles
    assert metrics.error.population(small_graph(), widths) is None


def test_costs_do_not_touch_the_network(problem: Problem) -> None:
    candidate = Candidate(problem, Proposal(narrowed(3, 4)))
    metrics.macs(candidate)
    assert candidate._tensors is None


def test_latency_is_positive_and_restores_the_threads(problem: Problem) -> None:
    candidate = Candidate(problem, Proposal(narrowed(3, 4)))
    torch.set_num_threads(2)
    try:
        value = metrics.Latency(batch_size=20, repeats=3, warmup=2)(candidate)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert value > 0.0
    # The validation split has 16 samples: a batch of 20 starts again from its first.
    assert candidate.meter.forward_samples == 20 * 5


def test_latencies_are_told_apart_by_name_and_fingerprint() -> None:
    single, batch = metrics.latency, metrics.Latency(64, name="latency64")
    assert single.fingerprint != batch.fingerprint
    assert single.alone
    assert single.unit == "ms"
    problem = make_problem(objectives=[single, batch])
    assert problem.objective_names == ("latency", "latency64")


@pytest.mark.parametrize("argument", ["batch_size", "repeats", "threads"])
def test_a_latency_of_nothing_is_refused(argument: str) -> None:
    with pytest.raises(ArgumentError, match=f"{argument} must be an int of at least 1"):
        metrics.Latency(**{argument: 0})  # type: ignore[arg-type]
