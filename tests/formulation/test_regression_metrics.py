"""RMSE and R²: what they are, on which tasks, and that they never are a NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score, root_mean_squared_error

from optprune.errors import ArgumentError, MetricError, TaskError
from optprune.formulation import Candidate, Metric, Problem, Proposal, metrics
from optprune.losses import TaskScore, r2, rmse
from optprune.task import Task
from tests.formulation.cases import make_network, make_problem, make_regression, make_task

BOTH = pytest.mark.parametrize("metric", [metrics.rmse, metrics.r2], ids=lambda metric: metric.name)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def regression_problem(**changes: Any) -> Problem:
    return make_problem(
        task=make_regression(), objectives=[metrics.rmse, metrics.r2, metrics.macs], **changes
    )


def full(problem: Problem) -> Candidate:
    return Candidate(problem, Proposal(problem.graph.full()))


class TestFunctions:
    @pytest.mark.parametrize("n_outputs", [1, 4])
    def test_they_agree_with_scikit_learn(self, n_outputs: int) -> None:
        targets, noise = draw(50, n_outputs), draw(50, n_outputs, seed=1)
        targets *= torch.arange(1, n_outputs + 1)
        outputs = targets + 0.3 * noise
        expected = r2_score(targets.numpy(), outputs.numpy(), multioutput="variance_weighted")
        assert r2(outputs, targets) == pytest.approx(expected, abs=1e-14)
        # scikit-learn means the roots of each output, we take the root over all.
        squares = root_mean_squared_error(
            targets.numpy(), outputs.numpy(), multioutput="raw_values"
        )
        assert rmse(outputs, targets) == pytest.approx(np.sqrt(np.mean(squares**2)), rel=1e-14)

    def test_r2_is_one_for_the_targets_and_zero_for_their_mean(self) -> None:
        targets = draw(20, 2)
        assert r2(targets, targets) == 1
        mean = targets.mean(dim=0, keepdim=True).expand_as(targets)
        assert r2(mean, targets) == pytest.approx(0, abs=1e-15)
        assert r2(-targets, targets) < 0

    def test_r2_does_not_depend_on_the_unit_nor_on_the_origin(self) -> None:
        targets, outputs = draw(20, 1), draw(20, 1) + 0.1 * draw(20, 1, seed=1)
        scaled = r2(1e3 * outputs + 7, 1e3 * targets + 7)
        assert scaled == pytest.approx(r2(outputs, targets), rel=1e-12)
        assert rmse(1e3 * outputs + 7, 1e3 * targets + 7) == pytest.approx(
            1e3 * rmse(outputs, targets), rel=1e-12
        )

    def test_sums_of_float32_are_taken_in_float64(self) -> None:
        targets = torch.linspace(0, 1, 1001)[:, None] + 4096
        outputs = targets + 1 / 1024
        assert rmse(outputs, targets) == 1 / 1024
        variance = targets.double().var(correction=0)
        assert r2(outputs, targets) == pytest.approx(float(1 - 1024**-2 / variance), rel=1e-12)

    def test_constant_targets_have_no_r2_but_one_output_may_be_constant(self) -> None:
        constant = torch.full((5, 1), 0.1)
        with pytest.raises(TaskError, match=r"5 targets are all the same.*[Uu]se rmse"):
            r2(constant + 1, constant)
        targets = torch.cat([constant.double(), draw(5, 1)], dim=1)
        assert np.isfinite(r2(targets + 0.1, targets))

    @pytest.mark.parametrize("function", [rmse, r2], ids=["rmse", "r2"])
    def test_shapes_that_would_be_broadcast_are_refused(self, function: Any) -> None:
        with pytest.raises(TaskError, match=r"\(5, 1\) .* \(5,\) .* \(n_samples, 1\)"):
            function(draw(5, 1), draw(5))


def test_a_candidate_is_measured_on_validation() -> None:
    problem = regression_problem()
    split = problem.task.validation
    with torch.no_grad():
        outputs = make_network()(split.inputs).double()
    errors = outputs - split.labels
    deviations = split.labels.double() - split.labels.double().mean(dim=0)
    expected = float(1 - errors.square().sum() / deviations.square().sum())
    assert metrics.r2(full(problem)) == pytest.approx(expected, rel=1e-6)
    assert metrics.rmse(full(problem)) == pytest.approx(float(errors.square().mean().sqrt()))
    assert metrics.rmse(full(problem)) == metrics.score(full(problem))


def test_less_rmse_and_more_r2_are_better() -> None:
    assert [metric.direction for metric in regression_problem().objectives[:2]] == [
        "minimize",
        "maximize",
    ]
    assert metrics.rmse.needs == metrics.r2.needs == "predictions"


def test_a_bound_that_always_or_never_holds_is_refused() -> None:
    assert str(metrics.r2 >= 0.9) == "r2 >= 0.9"
    for constraint in (lambda: metrics.r2 >= 1.1, lambda: metrics.rmse <= -0.1):
        with pytest.raises(ArgumentError):
            constraint()


@BOTH
def test_a_classification_is_refused_with_the_alternatives(metric: Metric) -> None:
    words = (
        rf"metrics\.{metric.name} .* is of kind 'classification'\. Use metrics\.error, "
        r"metrics\.loss or metrics\.score \(accuracy\) instead"
    )
    with pytest.raises(ArgumentError, match=words):
        make_problem(objectives=[metric])


@BOTH
def test_any_other_task_is_refused_with_what_it_has(metric: Metric) -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - targets).square().mean()

    score = TaskScore("mine", "maximize", lambda outputs, targets: 1.0)
    targets = torch.arange(48).reshape(16, 3)
    task = make_task(
        train=None, validation=(torch.randn(16, 1, 5, 5), targets), loss=loss, score=score
    )
    with pytest.raises(ArgumentError, match=r"'other'\. Use metrics\.loss or metrics\.score \(min"):
        make_problem(task=task, objectives=[metric])


def test_constant_validation_targets_are_refused_with_the_alternative() -> None:
    inputs = torch.randn(8, 1, 5, 5)
    task = Task(make_network(), validation=(inputs, torch.full((8, 3), 0.1)), name="flat")
    with pytest.raises(ArgumentError, match=r"'flat' are all the same\. Use metrics\.rmse"):
        make_problem(task=task, objectives=[metrics.r2])
    assert make_problem(task=task, objectives=[metrics.rmse]).objective_names == ("rmse",)


@BOTH
def test_outputs_that_are_not_finite_are_told(metric: Metric) -> None:
    candidate = full(regression_problem())
    candidate.predictions[0] = float("inf")
    with pytest.raises(MetricError, match=f"metric '{metric.name}'.*not all finite"):
        metric(candidate)
