"""Regression: two functions, networks that fit them, and data that a seed decides."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optprune.problems import regression, train_regression
from safetensors.torch import load_file
from torch import nn

import optprune as op
from optprune.errors import ArgumentError, ArgumentTypeError, LoadError
from optprune.losses import r2, rmse
from optprune.recovery import LeastSquares, Nothing
from optprune.split import Split
from optprune.surgery.calling import input_tensors
from optprune.task import Task

FUNCTIONS = tuple(regression.FUNCTIONS)
EACH = pytest.mark.parametrize("function", FUNCTIONS)


def inputs(split: Split) -> torch.Tensor:
    (found,) = input_tensors(split.inputs)
    return found


def states(network: nn.Module) -> list[torch.Tensor]:
    return list(network.state_dict().values())


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(states(one), states(other), strict=True))


class TestFunctions:
    def test_they_are_those_of_their_formulas(self) -> None:
        sine, hat = map(regression.true_function, FUNCTIONS)
        assert sine.interval == (-1, 1)
        assert hat.interval == (-4, 4)
        np.testing.assert_allclose(sine([0, 1 / 6, 1 / 2, -1 / 2]), [0, 0.5, 1, -1], atol=1e-15)
        # The Mexican hat is the negative second derivative of a Gaussian.
        x, h = np.linspace(-4, 4, 41), 1e-3
        gauss = [np.exp(-((x + shift) ** 2) / 2) for shift in (-h, 0, h)]
        np.testing.assert_allclose(hat(x), -(gauss[0] - 2 * gauss[1] + gauss[2]) / h**2, atol=1e-5)

    def test_they_take_arrays_of_any_shape(self) -> None:
        found = regression.true_function("sine")(torch.zeros(3, 1))
        assert found.shape == (3, 1)
        assert found.dtype == np.float64

    def test_an_unknown_one_is_refused_with_the_choices(self) -> None:
        with pytest.raises(ArgumentError, match=r"function must be one of 'sine', 'mexican_hat'"):
            regression.true_function("cosine")  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="Did you mean 'mexican_hat'"):
            regression.task("mexicanhat")  # type: ignore[arg-type]


class TestSplits:
    @EACH
    def test_train_is_spaced_evenly_and_validation_stands_half_way(self, function: Any) -> None:
        data = regression.splits(function, samples=21)
        train, validation = inputs(data["train"])[:, 0], inputs(data["validation"])[:, 0]
        expected = np.linspace(*regression.true_function(function).interval, 21)
        np.testing.assert_allclose(train, expected, atol=1e-6)
        torch.testing.assert_close(validation, (train[1:] + train[:-1]) / 2)
        assert {name: len(split) for name, split in data.items()} == {
            "train": 21,
            "validation": 20,
            "test": 400,
        }

    @pytest.mark.parametrize("samples", [3, 17, 33, 100, 400, 1000])
    @EACH
    def test_no_point_is_in_two_splits(self, function: Any, samples: int) -> None:
        splits = regression.splits(function, samples=samples).values()
        for one, other in itertools.combinations(splits, 2):
            assert not torch.isin(inputs(one), inputs(other)).any()

    def test_test_points_lie_between_the_ends_and_have_no_noise(self) -> None:
        test = regression.splits("mexican_hat", noise=0.5)["test"]
        x = inputs(test)
        assert float(x.min()) > -4
        assert float(x.max()) < 4
        truth = regression.true_function("mexican_hat")(x)
        np.testing.assert_allclose(test.labels, truth, atol=1e-7)

    def test_everything_is_a_column_of_float32(self) -> None:
        for split in regression.splits(noise=0.1).values():
            for tensor in (inputs(split), split.labels):
                assert tensor.shape == (len(split), 1)
                assert tensor.dtype == torch.float32

    def test_noise_has_the_asked_standard_deviation_in_train_and_validation(self) -> None:
        data = regression.splits(noise=0.25, samples=20_000, seed=3)
        truth = regression.true_function("sine")
        noise = [
            data[name].labels.numpy()[:, 0] - truth(inputs(data[name]))[:, 0]
            for name in ("train", "validation")
        ]
        for found in noise:  # five standard errors
            assert found.std() == pytest.approx(0.25, abs=5 * 0.25 / np.sqrt(2 * 20_000))
            assert found.mean() == pytest.approx(0, abs=5 * 0.25 / np.sqrt(20_000))
        assert abs(np.corrcoef(noise[0][:-1], noise[1])[0, 1]) < 5 / np.sqrt(20_000)

    def test_the_seed_decides_the_noise_and_nothing_else(self) -> None:
        first, again, other = (regression.splits(noise=0.1, seed=seed) for seed in (1, 1, 2))
        for name in ("train", "validation"):
            assert first[name].digest == again[name].digest
            assert torch.equal(inputs(first[name]), inputs(other[name]))
            assert not torch.equal(first[name].labels, other[name].labels)
        assert first["test"].digest == other["test"].digest

    def test_without_noise_all_seeds_give_the_same(self) -> None:
        first, other = regression.splits(seed=1), regression.splits(seed=2)
        assert all(first[name].digest == other[name].digest for name in first)

    @pytest.mark.parametrize(
        ("changes", "error", "words"),
        [
            ({"noise": -0.1}, ArgumentError, "noise must be a standard deviation"),
            ({"noise": float("nan")}, ArgumentError, "noise must be .* finite"),
            ({"noise": "much"}, ArgumentTypeError, "noise must be a number, got str"),
            ({"samples": 2}, ArgumentError, "samples must be at least 3, got 2"),
            ({"samples": 10.0}, ArgumentTypeError, "samples must be a whole number, got float"),
            ({"samples": 402}, ArgumentError, "take samples=401"),
            ({"seed": -1}, ArgumentError, "seed must be at least 0"),
            ({"seed": None}, ArgumentTypeError, "seed must be a whole number, got NoneType"),
        ],
        ids=["negative", "nan", "text", "few", "fraction", "meeting", "seed", "none"],
    )
    def test_a_number_that_cannot_be_used_is_named(
        self, changes: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            regression.splits(**changes)


class TestNetwork:
    def test_it_is_a_plain_chain_of_layers(self) -> None:
        network = regression.network((7, 5), "relu")
        kinds = [type(layer) for layer in network]
        assert kinds == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
        shapes = [tuple(layer.weight.shape) for layer in network if isinstance(layer, nn.Linear)]
        assert shapes == [(7, 1), (5, 7), (1, 5)]
        assert not network.training
        assert network(torch.zeros(3, 1)).shape == (3, 1)
        assert sum(p.numel() for p in regression.network().parameters()) == 61

    def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone(self) -> None:
        before = torch.random.get_rng_state()
        first, again, other = (regression.network(seed=seed) for seed in (5, 5, 6))
        regression.task("mexican_hat", noise=0.1)
        assert torch.equal(before, torch.random.get_rng_state())
        assert same(first, again)
        assert not any(torch.equal(a, b) for a, b in zip(states(first), states(other), strict=True))

    def test_weights_are_spread_as_torch_spreads_them(self) -> None:
        network = regression.network((4000, 50), seed=0)
        wide = [nn.Linear(1, 4000), nn.Linear(4000, 50)]
        for made, usual in zip((network[0], network[2]), wide, strict=True):
            for layer in (made, usual):
                weight = layer.weight.detach()
                bound = layer.in_features**-0.5
                assert 0.99 * bound < float(weight.abs().max()) <= bound
                assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.05)
                assert float(layer.bias.detach().abs().max()) <= bound

    @pytest.mark.parametrize(
        ("changes", "error", "words"),
        [
            ({"hidden": 20}, ArgumentTypeError, r"hidden must be a sequence .* such as \(20,\)"),
            ({"hidden": ()}, ArgumentError, "at least one layer"),
            ({"hidden": (20, 0)}, ArgumentError, r"hidden\[1\] must be at least 1, got 0"),
            ({"hidden": (2.5,)}, ArgumentTypeError, r"hidden\[0\] must be a whole number"),
            ({"activation": "tan"}, ArgumentError, "activation must be one of 'tanh'.*Did you"),
            ({"seed": 1.5}, ArgumentTypeError, "seed must be a whole number"),
        ],
        ids=["int", "empty", "zero", "fraction", "activation", "seed"],
    )
    def test_what_cannot_be_used_is_named(
        self, changes: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            regression.network(**changes)


class TestTask:
    @EACH
    def test_the_trained_network_follows_the_function_between_its_points(
        self, function: Any
    ) -> None:
        task = regression.task(function)
        test = task.test_split()
        outputs = task.predict(task.network, test)
        assert rmse(outputs, test.labels) <= 1e-3
        assert r2(outputs, test.labels) >= 1 - 1e-5

    def test_it_is_a_regression_measured_by_squares(self) -> None:
        task = regression.task("mexican_hat", noise=0.1)
        assert task.kind == "regression"
        assert (task.score.name, task.score.direction) == ("rmse", "minimize")
        outputs = task.predict(task.network, task.validation)
        loss = float(task.loss(outputs, task.validation.labels))
        assert loss**0.5 == pytest.approx(task.score(outputs, task.validation.labels), rel=1e-6)
        assert task.name == "regression/mexican_hat/noise=0.1"
        assert regression.task().name == "regression/sine"

    def test_noise_is_what_the_trained_network_leaves(self) -> None:
        task = regression.task("sine", noise=0.2, samples=5000)
        assert task.train is not None
        left = rmse(task.predict(task.network, task.train), task.train.labels)
        assert left == pytest.approx(0.2, abs=5 * 0.2 / np.sqrt(2 * 5000))

    def test_a_fresh_network_is_that_of_the_seed_and_does_not_fit(self) -> None:
        task = regression.task("sine", trained=False, hidden=(8, 8), activation="silu", seed=4)
        assert same(task.network, regression.network((8, 8), "silu", seed=4))
        test = task.test_split()
        assert rmse(task.predict(task.network, test), test.labels) > 0.3

    def test_noise_samples_and_seed_do_not_change_the_trained_network(self) -> None:
        one = regression.task("sine").network
        other = regression.task("sine", noise=0.3, samples=50, seed=9).network
        assert same(one, other)

    @pytest.mark.parametrize(
        "changes", [{"hidden": (10,)}, {"activation": "relu"}], ids=["hidden", "activation"]
    )
    def test_a_network_without_weights_is_refused_with_the_remedy(
        self, changes: dict[str, Any]
    ) -> None:
        with pytest.raises(ArgumentError, match=r"hidden=\(20,\) and activation='tanh'.*trained=F"):
            regression.task(**changes)
        assert regression.task(**changes, trained=False).kind == "regression"

    @EACH
    def test_missing_or_damaged_weights_are_told_with_the_remedy(
        self, function: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(regression.WEIGHTS, function, tmp_path / "none.safetensors")
        with pytest.raises(LoadError, match=rf"optprune\.problems\.train_regression {function}"):
            regression.task(function)
        regression.WEIGHTS[function].write_bytes(b"not weights")
        with pytest.raises(LoadError, match="cannot be read"):
            regression.task(function)

    @pytest.mark.parametrize("trained", [True, False])
    def test_the_recorded_build_makes_the_architecture_again(self, trained: bool) -> None:
        task = regression.task(trained=trained, seed=3)
        assert task.build is not None
        assert json.loads(json.dumps(dict(task.build.arguments))) == task.build.arguments
        assert same(task.build.make(), regression.network(seed=3))

    def test_it_is_the_same_every_time(self) -> None:
        make = {"noise": 0.1, "seed": 2}
        assert regression.task(**make).fingerprint == regression.task(**make).fingerprint  # type: ignore[arg-type]
        assert regression.task(**make).fingerprint != regression.task().fingerprint  # type: ignore[arg-type]


class TestProblem:
    @EACH
    def test_half_the_hidden_units_are_enough_after_a_fit(self, function: Any) -> None:
        problem = regression.problem(function)
        assert problem.recovery == LeastSquares()
        assert problem.objective_names == ("rmse", "macs")
        assert problem.graph.widths.tolist() == [20]
        half = problem.bound_space.decode(problem.bound_space.uniform(0.5))[0]
        assert half.widths.tolist() == [10]
        values = problem.evaluate(half)
        assert values["macs"] == 0.5
        assert values["rmse"] <= 0.01
        unrepaired = regression.problem(function, recovery=Nothing()).evaluate(half)
        assert unrepaired["rmse"] > 10 * values["rmse"]

    @EACH
    def test_a_search_finds_a_front(self, function: Any) -> None:
        problem = regression.problem(function)
        result = op.solve(problem, op.optimizers.NSGA2(population=6), evaluations=12, seed=1)
        assert len(result.front) >= 2
        assert result.front["rmse"].min() <= 0.01
        small = result.network(0)
        assert small(torch.zeros(3, 1)).shape == (3, 1)

    def test_it_takes_changes_and_another_task(self) -> None:
        task = regression.task("mexican_hat", noise=0.1)
        changed = regression.problem(
            task=task,
            recovery=Nothing(),
            objectives=[op.metrics.r2],
            subject_to=[op.metrics.macs <= 0.5],
        )
        assert changed.task is task
        assert changed.recovery == Nothing()
        assert changed.objective_names == ("r2",)
        assert changed.objectives[0].direction == "maximize"
        assert len(changed.constraints) == 1

    @pytest.mark.parametrize("changes", [{"objective": []}, {"nois": 0.1}], ids=["one", "other"])
    def test_an_unknown_change_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ArgumentTypeError, match="unknown argument"):
            regression.problem(**changes)


class TestTraining:
    def test_a_fit_lowers_the_error_and_leaves_float32(self) -> None:
        data = regression.splits()["train"]
        network = regression.network()
        fitted = train_regression.fit(network, data, iterations=50)
        assert fitted is network
        assert {value.dtype for value in states(network)} == {torch.float32}
        with torch.no_grad():
            assert rmse(network(inputs(data)), data.labels) < 0.1

    def test_a_fit_is_the_same_every_time(self) -> None:
        data = regression.splits("mexican_hat")["train"]
        one, other = (
            train_regression.fit(regression.network(seed=2), data, iterations=20) for _ in range(2)
        )
        assert same(one, other)

    def test_the_script_writes_weights_that_load(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "new"
        train_regression.main(["--iterations", "5", "--out", str(folder)])
        printed = capsys.readouterr().out
        for word in ("sine:", "mexican_hat:", "validation", "test", "RMSE", "R²", "KiB"):
            assert word in printed
        for function in FUNCTIONS:
            path = folder / regression.WEIGHTS[function].name
            assert path.stat().st_size < 1000
            monkeypatch.setitem(regression.WEIGHTS, function, path)
            assert not regression.task(function).network.training
            state = regression.task(function).network.state_dict()
            assert all(torch.equal(state[name], value) for name, value in load_file(path).items())

    def test_a_function_that_is_not_there_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            train_regression.main(["cosine"])
        assert "there is no function 'cosine'" in capsys.readouterr().err


def test_tasks_and_problems_are_found_under_their_room() -> None:
    assert op.problems.regression is regression
    assert isinstance(op.problems.regression.task(), Task)
