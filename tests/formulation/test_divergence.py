"""The divergence from the dense network: what it is, and that no label counts."""

from __future__ import annotations

import pytest
import torch

from optprune.errors import ArgumentError
from optprune.formulation import Candidate, Proposal, metrics
from optprune.task import Task
from tests.formulation.cases import make_network, make_problem, make_regression, make_task


def labels_turned(task: Task) -> Task:
    """Return the task with other labels."""
    return Task(
        task.network,
        validation=(task.validation.inputs, 1 - task.validation.labels.clamp(max=1)),
        calibration=task.validation.inputs,
    )


def test_it_is_the_mean_divergence_of_the_distributions() -> None:
    given = make_task()
    task = Task(given.network, validation=given.validation, calibration=given.validation.inputs)
    problem = make_problem(task=task, objectives=[metrics.divergence, metrics.macs])
    half = problem.bound_space.decode(problem.bound_space.uniform(0.5))[0]
    candidate = Candidate(problem, Proposal(half))
    dense = task.predict(task.network, task.validation).softmax(1)
    small = task.predict(candidate.network, task.validation).softmax(1)
    wanted = float((dense * (dense / small).log()).sum(1).mean())
    assert float(metrics.divergence(candidate)) == pytest.approx(wanted, rel=1e-4)
    assert wanted > 0
    whole = Candidate(problem, Proposal(problem.graph.full()))
    assert float(metrics.divergence(whole)) == pytest.approx(0, abs=1e-6)


def test_no_label_counts_and_the_passes_do() -> None:
    given = make_task()
    found = []
    for task in (
        Task(given.network, validation=given.validation, calibration=given.validation.inputs),
        labels_turned(given),
    ):
        problem = make_problem(task=task, objectives=[metrics.divergence, metrics.macs])
        half = problem.bound_space.decode(problem.bound_space.uniform(0.5))[0]
        candidate = Candidate(problem, Proposal(half))
        _ = candidate.tensors
        before, shared = candidate.meter.forward_samples, problem.shared.meter.forward_samples
        found.append(float(metrics.divergence(candidate)))
        n = len(given.validation)
        assert candidate.meter.forward_samples == before + n
        assert problem.shared.meter.forward_samples == shared + n
        metrics.divergence(candidate)
        assert problem.shared.meter.forward_samples == shared + n
    assert found[0] == found[1]


def test_it_is_refused_where_it_has_no_meaning() -> None:
    with pytest.raises(ArgumentError, match="distributions over classes"):
        make_problem(task=make_regression(), objectives=[metrics.divergence])
    torch.manual_seed(0)
    given = make_task()
    bare = Task(make_network(), validation=given.validation)
    with pytest.raises(ArgumentError, match=r"Task\(calibration"):
        make_problem(task=bare, objectives=[metrics.divergence])
