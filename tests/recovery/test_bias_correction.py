"""Bias correction puts the means back and leaves the weights alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.recovery import BatchNorm, BiasCorrection, LeastSquares, Nothing, Pipeline
from optprune.testing import check_recovery
from tests.recovery.cases import BOTH, cut_and_context, fits, outputs, state, task


@pytest.mark.parametrize("statistics", BOTH)
def test_it_keeps_the_rules_of_a_recovery(statistics: Any) -> None:
    check_recovery(BiasCorrection(statistics, samples=40))


@pytest.mark.parametrize("statistics", BOTH)
def test_means_come_back_and_weights_stay(statistics: Any) -> None:
    the_task = task()
    small, context = cut_and_context(the_task, inner=5)
    before = state(small)
    found = fits(BiasCorrection(statistics, positions=None).fit(small, context))
    assert found["outer"].fitted
    changed = {name for name, v in state(small).items() if not torch.equal(v, before[name])}
    expected = {"outer_norm.running_mean"}
    if statistics == "asymmetric":
        expected |= {f"{name}.bias" for name in ("wide", "depthwise", "narrow", "project")}
        expected.add("classes.bias")
    assert changed == expected

    def mean(network: Any) -> torch.Tensor:
        with torch.no_grad():
            x = torch.relu(network.stem_norm(network.stem(the_task.calibration.inputs)))
            x = network.outer_norm(network.outer(torch.relu(network.inner(x))))
        return x.mean((0, 2, 3))

    torch.testing.assert_close(mean(small), mean(the_task.network))


def test_the_outputs_have_their_means_at_the_end() -> None:
    the_task = task()
    small, context = cut_and_context(the_task, stem=5, wide=9)
    BiasCorrection(positions=None).recover(small, context)
    found, wanted = outputs(the_task, small).mean(0), outputs(the_task, the_task.network).mean(0)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_it_is_worse_than_least_squares_and_better_than_nothing() -> None:
    the_task = task()

    def error(recovery: Any) -> float:
        small, context = cut_and_context(the_task, stem=6, inner=6, wide=10)
        recovery.recover(small, context)
        dense = outputs(the_task, the_task.network)
        return float((outputs(the_task, small) - dense).square().mean())

    assert error(LeastSquares()) < error(BiasCorrection()) < error(Nothing())


def test_a_pipeline_applies_its_steps_in_turn() -> None:
    the_task = task()
    together, context = cut_and_context(the_task, inner=6)
    in_turn, _ = cut_and_context(the_task, inner=6)
    steps = (LeastSquares("symmetric"), BatchNorm(samples=40))
    Pipeline(steps).recover(together, context)
    for step in steps:
        step.recover(in_turn, context)
    for name, value in state(together).items():
        assert torch.equal(value, state(in_turn)[name]), name
    check_recovery(Pipeline((LeastSquares("symmetric", samples=40), BatchNorm())))


@pytest.mark.parametrize("steps", [(), [Nothing()], (Nothing,), (Nothing(), 3)])
def test_a_pipeline_takes_recoveries_only(steps: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="steps must"):
        Pipeline(steps)


def test_arguments_that_cannot_be_are_refused() -> None:
    with pytest.raises(ArgumentError, match="statistics"):
        BiasCorrection("both")  # type: ignore[arg-type]
