"""Learning rates are those of the formulas, and warmup precedes every schedule."""

from __future__ import annotations

import math
from typing import Any

import pytest

from optprune.errors import ArgumentError
from optprune.training import SGD, Hooks
from optprune.training.schedule import SCHEDULES, Schedule, learning_rate
from tests.training.cases import classifier, fit


def rates(schedule: Schedule, steps: int, lr: float = 1.0, **settings: Any) -> list[float]:
    return [learning_rate(schedule, lr, step, steps, **settings) for step in range(steps)]


def test_each_schedule_is_its_formula() -> None:
    assert rates("constant", 4, lr=0.3) == [0.3] * 4
    assert rates("linear", 4) == [1.0, 0.75, 0.5, 0.25]
    assert rates("cosine", 3) == pytest.approx([1.0, 0.75, 0.25])
    assert (
        rates("step", 8, milestones=(0.25, 0.75), factor=0.5)
        == [1, 1, 0.5, 0.5, 0.5, 0.5] + [0.25] * 2
    )


@pytest.mark.parametrize("steps", [1, 7, 10, 100])
def test_a_milestone_takes_effect_at_the_first_step_that_reaches_it(steps: int) -> None:
    for tenths in range(1, 10):
        found = rates("step", steps, milestones=(tenths / 10,), factor=0.5)
        first = math.ceil(tenths * steps / 10 - 1e-9)
        assert found == [1.0] * first + [0.5] * (steps - first)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_rises_linearly_to_the_full_rate(schedule: Schedule) -> None:
    found = rates(schedule, 20, lr=2.0, warmup=0.25, milestones=(0.6,))
    assert found[:6] == pytest.approx([2.0 * (t + 1) / 6 for t in range(6)])
    assert found[5:] == sorted(found[5:], reverse=True)
    assert all(rate > 0 for rate in found)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_after_warmup_a_schedule_is_that_of_the_steps_left(schedule: Schedule) -> None:
    assert rates(schedule, 20, warmup=0.25)[5:] == rates(schedule, 15)


def test_a_run_may_be_all_warmup() -> None:
    assert rates("cosine", 2, warmup=0.9) == pytest.approx([1 / 3, 2 / 3])


def test_training_uses_the_schedule() -> None:
    seen: list[float] = []
    hooks = Hooks(after_step=lambda step: seen.append(step.learning_rate))
    trainer = SGD(epochs=2, batch_size=10, lr=0.1, schedule="step", warmup=0.25, hooks=hooks)
    fit(trainer, classifier())
    assert seen == rates("step", 12, lr=0.1, warmup=0.25)
    assert seen[-1] == pytest.approx(0.001)


@pytest.mark.parametrize(
    "changes",
    [
        {"milestones": (0.5, 0.5)},
        {"milestones": (0.0,)},
        {"milestones": (0.5, 1.0)},
        {"factor": 1.0},
        {"factor": 0.0},
        {"warmup": 1.0},
        {"warmup": -0.1},
        {"warmup": math.nan},
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(changes))):
        SGD(schedule="step", **changes)


def test_milestones_in_a_list_are_the_same_trainer() -> None:
    as_list: Any = [0.3, 0.6]
    assert SGD(milestones=as_list) == SGD(milestones=(0.3, 0.6))
    assert hash(SGD(milestones=as_list)) == hash(SGD(milestones=(0.3, 0.6)))
