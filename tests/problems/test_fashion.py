"""Fashion-MNIST: three trained networks that work, on splits that never change."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from optprune.problems import fashion
from optprune.problems.download import cache_folder
from optprune.problems.fashion_mnist import DEBIAN_FOLDER
from torch import nn

import optprune as op
from optprune.errors import ArgumentError, ArgumentTypeError, LoadError
from optprune.losses import accuracy
from optprune.recovery import BatchNorm, Nothing
from optprune.split import Split
from optprune.surgery.calling import input_tensors
from optprune.task import Task

NETWORKS = tuple(fashion.NETWORKS)


@pytest.fixture(scope="module")
def data() -> dict[str, Split]:
    if not DEBIAN_FOLDER.is_dir() and not (cache_folder() / "fashion-mnist").is_dir():
        pytest.skip("Fashion-MNIST is missing: apt-get install dataset-fashion-mnist")
    return fashion.splits()


@pytest.fixture(scope="module")
def task(data: dict[str, Split]) -> Task:
    return fashion.task("mobilenet")


class TestNetworks:
    @pytest.mark.parametrize(
        ("name", "parameters", "macs"),
        [
            ("vgg", 288_170, 29_128_448),
            ("resnet20", 272_186, 31_021_952),
            ("mobilenet", 86_634, 6_597_856),
        ],
    )
    def test_parameters_and_macs_are_those_that_the_docstring_tells(
        self, name: str, parameters: int, macs: int
    ) -> None:
        network = fashion.network(name, weights=False)
        graph = op.trace(network, torch.randn(2, 1, 28, 28))
        assert sum(p.numel() for p in network.parameters()) == parameters
        assert graph.costs.parameters.dense == parameters
        assert graph.costs.macs.dense == macs
        told = re.findall(r"[\d,]{6,}", inspect.getdoc(fashion.NETWORKS[name]) or "")
        assert told[:2] == [f"{parameters:,}", f"{macs:,}"]

    @pytest.mark.parametrize("name", NETWORKS)
    def test_all_channels_but_pixels_and_classes_can_go(self, name: str) -> None:
        network = fashion.network(name, weights=False)
        graph = op.trace(network, torch.randn(2, 1, 28, 28))
        assert graph.n_groups == {"vgg": 6, "resnet20": 12, "mobilenet": 11}[name]
        assert graph.prunable_share > 0.99

    @pytest.mark.parametrize("name", NETWORKS)
    def test_macs_of_half_a_network_are_those_of_its_layers(self, name: str) -> None:
        counted = 0

        def count(module: nn.Module, _: Any, outputs: torch.Tensor) -> None:
            nonlocal counted
            if isinstance(module, nn.Conv2d | nn.Linear):
                positions = outputs[0].numel() // module.weight.shape[0]
                counted += positions * module.weight.numel()

        network = fashion.network(name, weights=False)
        graph = op.trace(network, torch.randn(2, 1, 28, 28))
        half = graph.structure_from_widths(graph.widths // 2)
        cut = op.cut(network, graph, half)
        for module in cut.modules():
            module.register_forward_hook(count)
        assert cut(torch.randn(1, 1, 28, 28)).shape == (1, 10)
        assert graph.costs.macs(half.widths).tolist() == [counted]

    def test_an_unknown_name_is_refused_with_the_choices(self) -> None:
        with pytest.raises(ArgumentError, match=r"'vgg', 'resnet20', 'mobilenet', got 'resnet'"):
            fashion.network("resnet")
        with pytest.raises(ArgumentError, match="Did you mean 'mobilenet'"):
            fashion.task("mobilnet")

    @pytest.mark.parametrize("name", NETWORKS)
    def test_missing_or_damaged_weights_are_told_with_the_remedy(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(fashion.WEIGHTS, name, tmp_path / "none.safetensors")
        with pytest.raises(LoadError, match=rf"python -m optprune\.problems\.train_fashion {name}"):
            fashion.network(name)
        fashion.WEIGHTS[name].write_bytes(b"not weights")
        with pytest.raises(LoadError, match="cannot be read"):
            fashion.network(name)

    @pytest.mark.parametrize("name", NETWORKS)
    def test_making_a_trained_network_draws_no_random_number(self, name: str) -> None:
        before = torch.random.get_rng_state()
        assert not fashion.network(name).training
        assert torch.equal(before, torch.random.get_rng_state())

    def test_all_weights_together_take_less_than_4_megabytes(self) -> None:
        assert sum(path.stat().st_size for path in fashion.WEIGHTS.values()) < 4_000_000

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "least"), [("vgg", 0.93), ("resnet20", 0.93), ("mobilenet", 0.91)]
    )
    def test_a_trained_network_knows_unseen_clothes(
        self, data: dict[str, Split], name: str, least: float
    ) -> None:
        network = fashion.network(name)
        with torch.no_grad():
            outputs = [
                network(images)
                for inputs, _ in data["test"].batches(500)
                for images in input_tensors(inputs)
            ]
        assert accuracy(torch.cat(outputs), data["test"].labels) >= least


class TestSplits:
    def test_train_and_validation_are_stratified_and_test_is_as_published(
        self, data: dict[str, Split]
    ) -> None:
        assert list(data) == ["train", "validation", "test"]
        counts = {name: torch.bincount(split.labels).tolist() for name, split in data.items()}
        assert counts == {"train": [5500] * 10, "validation": [500] * 10, "test": [1000] * 10}

    def test_no_image_is_in_two_splits_and_none_is_lost(self) -> None:
        labels = torch.arange(10, dtype=torch.uint8).repeat(600).numpy()
        parts = fashion._partition(labels)
        assert len(parts["validation"]) == 5000
        together = torch.cat([torch.tensor(part) for part in parts.values()])
        assert torch.equal(together.sort().values, torch.arange(6000))

    def test_they_are_the_same_every_time(self, data: dict[str, Split]) -> None:
        again = fashion.splits()
        assert all(again[name].digest == split.digest for name, split in data.items())

    def test_images_are_standardized_grey_values(self, data: dict[str, Split]) -> None:
        for name, split in data.items():
            (images,) = input_tensors(split.inputs)
            assert images.shape[1:] == (1, 28, 28), name
            assert images.dtype == torch.float32
            assert float(images.min()) == pytest.approx(-0.2860 / 0.3530)
            assert float(images.max()) == pytest.approx((1 - 0.2860) / 0.3530)
        (images,) = input_tensors(data["train"].inputs)
        assert float(images.double().mean()) == pytest.approx(0, abs=2e-3)
        assert float(images.double().std()) == pytest.approx(1, abs=2e-3)

    def test_standardizing_leaves_the_grey_values_alone(self) -> None:
        grey = torch.tensor([0, 255], dtype=torch.uint8)
        expected = torch.tensor([-0.2860 / 0.3530, (1 - 0.2860) / 0.3530])
        torch.testing.assert_close(fashion.standardized(grey), expected)
        assert grey.tolist() == [0, 255]

    def test_a_folder_without_the_files_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(LoadError, match="apt-get install dataset-fashion-mnist"):
            fashion.splits(tmp_path)


class TestTask:
    def test_it_has_all_splits_and_a_fixed_calibration(
        self, task: Task, data: dict[str, Split]
    ) -> None:
        assert task.name == "fashion/mobilenet"
        assert task.batch_size == 500
        assert task.kind == "classification"
        assert len(task.test_split()) == 10_000
        assert task.calibration is not None
        assert task.calibration.targets is None
        assert len(task.calibration) == 1024
        assert task.calibration.digest == fashion.task("mobilenet").calibration.digest  # type: ignore[union-attr]

    def test_calibration_images_are_train_images(self, task: Task, data: dict[str, Split]) -> None:
        assert task.calibration is not None
        (chosen,) = input_tensors(task.calibration.inputs)
        (images,) = input_tensors(data["train"].inputs)
        known = {image.numpy().tobytes() for image in images}
        assert all(image.numpy().tobytes() in known for image in chosen)

    def test_the_recorded_build_makes_the_architecture_again(self, task: Task) -> None:
        assert task.build is not None
        made = task.build.make()
        shapes = {name: value.shape for name, value in task.network.state_dict().items()}
        assert {name: value.shape for name, value in made.state_dict().items()} == shapes


class TestProblem:
    def test_a_problem_has_sensible_choices_and_takes_changes(self) -> None:
        images = torch.randn(20, 1, 28, 28)
        labels = torch.arange(20) % 10
        network = fashion.network("resnet20", weights=False)
        task = Task(network, train=(images, labels), validation=(images, labels))
        problem = fashion.problem("resnet20", task=task)
        assert problem.task is task
        assert problem.space == op.Widths(step=4)
        assert problem.recovery == BatchNorm()
        assert problem.objective_names == ("error", "macs")
        changed = fashion.problem(task=task, recovery=Nothing(), objectives=[op.metrics.loss])
        assert changed.recovery == Nothing()
        assert changed.objective_names == ("loss",)

    @pytest.mark.parametrize("changes", [{"objective": []}, {"networks": "vgg"}])
    def test_an_unknown_change_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ArgumentTypeError, match="unknown argument"):
            fashion.problem(**changes)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", NETWORKS)
    @pytest.mark.usefixtures("data")
    def test_the_whole_network_is_good_and_half_of_it_is_measured(self, name: str) -> None:
        problem = fashion.problem(name)
        space = problem.bound_space
        half = space.decode(space.uniform(0.5))[0]
        values = problem.evaluate(half)
        dense = problem.graph.costs.macs.dense
        assert values["macs"] == pytest.approx(problem.graph.costs.macs(half.widths)[0] / dense)
        assert 0.2 < values["macs"] < 0.4
        whole = problem.evaluate(problem.graph.full())
        assert whole["macs"] == 1
        assert whole["error"] < 0.12
        assert whole["error"] < values["error"] < 1
