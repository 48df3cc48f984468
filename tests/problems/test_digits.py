"""The digits: a trained network that works, on splits that never change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optprune.problems import digits, train_digits
from safetensors.torch import load_file

import optprune as op
from optprune.errors import ArgumentTypeError, LoadError
from optprune.losses import accuracy
from optprune.meter import Meter
from optprune.recovery import BatchNorm, Nothing
from optprune.task import Task


@pytest.fixture(scope="module")
def task() -> Task:
    return digits.task()


def test_the_network_is_right_about_98_of_100_unseen_digits(task: Task) -> None:
    outputs = task.predict(task.network, task.test_split(), meter=Meter())
    assert accuracy(outputs, task.test_split().labels) >= 0.98


def test_splits_are_stratified_disjoint_and_whole(task: Task) -> None:
    splits = digits.splits()
    counts = {name: torch.bincount(split.labels).tolist() for name, split in splits.items()}
    assert counts["validation"] == [40] * 10
    assert counts["test"] == [36] * 10
    assert sum(counts["train"]) == 1797 - 760
    assert max(counts["train"]) - min(counts["train"]) < 15
    indices = digits._partition(np.repeat(np.arange(10), 178))
    together = np.concatenate(list(indices.values()))
    np.testing.assert_array_equal(np.sort(together), np.arange(1780))


def test_splits_and_calibration_are_the_same_every_time(task: Task) -> None:
    again = digits.task()
    assert again.fingerprint == task.fingerprint
    assert again.calibration is not None
    assert len(again.calibration) == 512
    assert again.calibration.targets is None


def test_images_are_grey_values_between_0_and_1(task: Task) -> None:
    images = task.validation.inputs
    assert isinstance(images, torch.Tensor)
    assert images.shape == (400, 1, 8, 8)
    assert float(images.min()) == 0
    assert float(images.max()) == 1


def test_the_weights_are_small_and_load_without_training(task: Task) -> None:
    assert digits.WEIGHTS.stat().st_size < 1_000_000
    state = task.network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in load_file(digits.WEIGHTS).items())


def test_making_the_network_draws_no_random_number() -> None:
    before = torch.random.get_rng_state()
    digits.network()
    assert torch.equal(before, torch.random.get_rng_state())


def test_missing_or_damaged_weights_are_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digits, "WEIGHTS", tmp_path / "none.safetensors")
    with pytest.raises(LoadError, match=r"python -m optprune\.problems\.train_digits"):
        digits.network()
    digits.WEIGHTS.write_bytes(b"not weights")
    with pytest.raises(LoadError, match="cannot be read"):
        digits.network()


def test_the_problem_measures_the_task_and_takes_changes(task: Task) -> None:
    problem = digits.problem(task=task)
    assert problem.recovery == BatchNorm()
    assert problem.objective_names == ("error", "macs")
    assert problem.graph.widths.tolist() == [16, 16, 32, 32, 64, 64]
    changed = digits.problem(
        task=task,
        recovery=Nothing(),
        objectives=[op.metrics.loss],
        subject_to=[op.metrics.macs <= 0.5],
    )
    assert changed.task is task
    assert changed.recovery == Nothing()
    assert changed.objective_names == ("loss",)
    assert len(changed.constraints) == 1


def test_the_whole_network_has_its_own_error_and_half_of_it_still_works(task: Task) -> None:
    problem = digits.problem(task=task, recovery=Nothing())
    outputs = task.predict(task.network, task.validation, meter=Meter())
    whole = problem.evaluate(problem.graph.full())
    assert whole["error"] == pytest.approx(1 - accuracy(outputs, task.validation.labels))
    assert whole["macs"] == 1
    half = problem.bound_space.decode(problem.bound_space.uniform(0.75))[0]
    repaired = digits.problem(task=task).evaluate(half)
    assert repaired["macs"] < 0.6
    assert repaired["error"] <= 0.1


@pytest.mark.parametrize("changes", [{"objective": []}, {"recover": Nothing()}])
def test_an_unknown_change_is_refused_with_the_nearest_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ArgumentTypeError, match=r"unknown argument.*Did you mean"):
        digits.problem(**changes)


def test_the_recorded_build_makes_the_architecture_again(task: Task) -> None:
    assert task.build is not None
    made = task.build.make()
    shapes = {name: value.shape for name, value in task.network.state_dict().items()}
    assert {name: value.shape for name, value in made.state_dict().items()} == shapes


def test_the_training_script_writes_weights_that_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "digits.safetensors"
    train_digits.main(["--out", str(out), "--epochs", "1"])
    assert "validation" in capsys.readouterr().out
    monkeypatch.setattr(digits, "WEIGHTS", out)
    assert not digits.network().training


def test_shifted_images_keep_their_labels_and_lose_one_edge() -> None:
    split = digits.splits()["train"].take(slice(0, 3))
    images = train_digits.shifted(split).inputs
    assert isinstance(images, torch.Tensor)
    assert train_digits.shifted(split).labels.tolist() == split.labels.tolist() * 5
    assert images.shape == (15, 1, 8, 8)
    still, right, left, down, up = images.split(3)
    assert torch.equal(still, split.inputs)
    assert torch.equal(right[..., 1:], still[..., :-1])
    assert torch.equal(left[..., :-1], still[..., 1:])
    assert torch.equal(down[..., 1:, :], still[..., :-1, :])
    assert torch.equal(up[..., :-1, :], still[..., 1:, :])
    assert not right[..., 0].any()
    assert not up[..., -1, :].any()
