"""A task holds network and data together, and refuses what does not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from optprune.errors import ArgumentError, ArgumentTypeError, OptpruneError, TaskError
from optprune.losses import accuracy, cross_entropy, mse, rmse
from optprune.meter import Meter
from optprune.split import Split
from optprune.task import Task, TaskScore


def classifier(classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, classes)
    ).eval()


def images(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def labels(n: int, classes: int = 3) -> torch.Tensor:
    return torch.arange(n) % classes


def make(network: nn.Module | None = None, **changes: Any) -> Task:
    arguments: dict[str, Any] = {
        "train": (images(30, 1), labels(30)),
        "validation": (images(20, 2), labels(20)),
        "test": (images(10, 3), labels(10)),
    }
    return Task(classifier() if network is None else network, **(arguments | changes))


class Pairs(Dataset[Any]):
    """Images with labels; adds noise to what it gives when asked to."""

    def __init__(self, n: int, noise: float = 0.0) -> None:
        self.images, self.labels, self.noise = images(n), labels(n), noise

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        noise = self.noise * torch.randn(1, 4, 4)
        return self.images[index] + noise, int(self.labels[index])


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        while True:
            yield torch.zeros(1, 4, 4), 0


# What a task gives


def test_defaults_for_labels_are_cross_entropy_and_accuracy() -> None:
    task = make()
    assert task.kind == "classification"
    assert task.loss is cross_entropy
    assert (task.score.name, task.score.direction) == ("accuracy", "maximize")
    assert torch.equal(task.example, images(20, 2)[:2])


def test_defaults_for_floating_point_targets_are_squared_errors() -> None:
    network = nn.Linear(2, 1)
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    task = Task(network, validation=(x, x.sum(dim=1, keepdim=True)))
    assert task.kind == "regression"
    assert task.loss is mse
    assert (task.score.name, task.score.direction) == ("rmse", "minimize")
    assert task.train is None
    assert task.calibration is None


def test_scores_agree_with_their_definitions() -> None:
    outputs = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 5.0]])
    assert accuracy(outputs, torch.tensor([0, 1, 1, 1])) == 0.75
    assert rmse(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [0.0]])) == pytest.approx(
        np.sqrt(4.5)
    )


def test_predict_gives_the_same_outputs_for_every_batch_size_and_counts_them() -> None:
    task, meter = make(), Meter()
    whole = task.predict(task.network, task.validation, meter=meter, batch_size=20)
    parts = task.predict(task.network, task.validation, meter=meter, batch_size=7)
    assert whole.shape == (20, 3)
    torch.testing.assert_close(whole, parts)
    assert meter.forward_samples == 40
    assert meter.backward_samples == 0
    assert meter.seconds > 0


def test_calibration_is_a_fixed_unlabelled_part_of_train() -> None:
    train = (images(700, 1), labels(700))
    first, second = (make(train=train).calibration for _ in range(2))
    assert first is not None
    assert second is not None
    assert len(first) == 512
    assert first.targets is None
    assert first.digest == second.digest
    known = {row.numpy().tobytes() for row in train[0]}
    assert all(row.numpy().tobytes() in known for row in first.inputs)


@pytest.mark.parametrize("form", ["tensor", "tuple", "dict"])
def test_inputs_may_be_a_tensor_a_tuple_or_a_dict(form: str) -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
            return self.linear(x if y is None else x + y)

    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    inputs = {"tensor": x, "tuple": (x, x), "dict": {"y": x, "x": x}}[form]
    network = Sum()
    task = Task(network, validation=(inputs, labels(9, 2)))
    expected = network.linear(x if form == "tensor" else 2 * x)
    torch.testing.assert_close(
        task.predict(network, task.validation, meter=Meter(), batch_size=4), expected.detach()
    )


@pytest.mark.parametrize(
    ("output", "pick"),
    [
        ("tuple", lambda outputs: outputs[0]),
        ("dict", lambda outputs: outputs["logits"]),
    ],
)
def test_pick_takes_the_tensor_from_a_tuple_or_dict(output: str, pick: Any) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = classifier()

        def forward(self, x: torch.Tensor) -> Any:
            y = self.body(x)
            return (y, y + 1) if output == "tuple" else {"logits": y, "other": y + 1}

    network = Two()
    task = make(network, pick=pick)
    predictions = task.predict(network, task.validation, meter=Meter())
    torch.testing.assert_close(predictions, network.body.eval()(images(20, 2)).detach())
    with pytest.raises(TaskError, match="pick="):
        make(network)
    with pytest.raises(TaskError, match="pick returned a str"):
        make(network, pick=lambda _: "logits")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_computes_near_the_same_and_returns_float32(precision: Any) -> None:
    full, low = make(), make(precision=precision)
    exact = full.predict(full.network, full.validation, meter=Meter())
    rounded = low.predict(low.network, low.validation, meter=Meter())
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, atol=0.05, rtol=0.05)


# How data is read


@pytest.mark.parametrize(
    "data",
    [
        (images(10).numpy().astype(np.float64), labels(10).numpy()),
        [images(10).tolist(), labels(10).tolist()],
        TensorDataset(images(10), labels(10)),
        Pairs(10),
        DataLoader(Pairs(10), batch_size=4),
        DataLoader(Pairs(10), batch_size=4, shuffle=True, drop_last=True),
        Split(images(10), labels(10)),
    ],
    ids=["arrays", "lists", "tensors", "dataset", "loader", "shuffling loader", "split"],
)
def test_every_form_of_data_gives_the_same_split(data: Any) -> None:
    split = make(validation=data).validation
    assert split.digest == Split(images(10), labels(10)).digest


def test_reading_a_loader_leaves_the_global_generator_alone() -> None:
    network = classifier()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    make(network, validation=DataLoader(Pairs(10), batch_size=4, shuffle=True))
    assert torch.equal(before, torch.random.get_rng_state())


def test_batches_cover_every_sample_once_in_an_order_fixed_by_the_generator() -> None:
    split = Split(torch.arange(10), torch.arange(10) * 2)

    def order(seed: int | None) -> list[int]:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        batches = list(split.batches(4, generator=generator))
        assert [len(x) for x, _ in batches] == [4, 4, 2]
        assert all(torch.equal(2 * x, y) for x, y in batches)
        return [int(i) for x, _ in batches for i in x]

    assert order(None) == list(range(10))
    assert sorted(order(1)) == list(range(10))
    assert order(1) == order(1) != order(2)
    with pytest.raises(ArgumentError, match="batch_size"):
        next(split.batches(0))


# The network stays what it is


class Counting(nn.Module):
    """Writes one buffer and replaces another in every forward pass, and works on its input."""

    def __init__(self) -> None:
        super().__init__()
        self.body = classifier()
        self.register_buffer("written", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.written += 1
        self.replaced = self.replaced + 1
        return self.body(x.mul_(2))


def test_network_modes_buffers_and_data_are_left_as_they_were() -> None:
    network = Counting()
    network.train()
    network.body[1].eval()
    modes = [module.training for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    pointers = {name: value.data_ptr() for name, value in network.state_dict().items()}
    task = make(network)
    for _ in range(2):
        task.predict(network, task.validation, meter=Meter())
    assert task.network is network
    assert [module.training for module in network.modules()] == modes
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in state.items())
    assert {name: value.data_ptr() for name, value in after.items()} == pointers
    assert torch.equal(task.validation.inputs, images(20, 2))


# Fingerprints


def test_fingerprint_is_that_of_an_equal_task_and_changes_with_each_part() -> None:
    other = classifier()
    with torch.no_grad():
        other[0].weight[0, 0, 0, 0] += 1e-6
    relabelled = labels(20).flip(0)
    tasks = [
        make(),
        make(other),
        make(validation=(images(20, 2), relabelled)),
        make(train=(images(30, 9), labels(30))),
        make(calibration=images(30, 1)[:5]),
        make(loss=lambda outputs, targets: cross_entropy(outputs, targets) + 1),
        make(loss=lambda outputs, targets: cross_entropy(outputs, targets) + 2),
        make(loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
        make(loss=nn.CrossEntropyLoss(label_smoothing=0.2)),
        make(score=TaskScore("accuracy", "maximize", lambda o, t: accuracy(o, t) ** 2)),
        make(precision="bfloat16"),
    ]
    assert make().fingerprint == tasks[0].fingerprint
    assert len({task.fingerprint for task in tasks}) == len(tasks)
    assert make(test=None, name="other", batch_size=3).fingerprint == tasks[0].fingerprint


def test_fingerprint_is_the_same_in_another_process() -> None:
    code = "from tests.test_task import make; print(make().fingerprint)"
    shown = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[1],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert shown == {make().fingerprint}


# What does not fit


def test_forward_that_fails_on_the_example_is_told_with_its_cause() -> None:
    with pytest.raises(TaskError, match=r"fails on inputs from example of shape .*2, 3, 4, 4") as e:
        make(example=torch.zeros(2, 3, 4, 4))
    assert isinstance(e.value.__cause__, RuntimeError)


def test_example_on_another_device_than_the_network_is_refused() -> None:
    with pytest.raises(TaskError, match="example is on meta and the network on cpu"):
        make(example=torch.zeros(2, 1, 4, 4, device="meta"))


def test_network_without_values_is_refused() -> None:
    with pytest.raises(TaskError, match="meta device"):
        make(classifier().to("meta"))
    with pytest.raises(TaskError, match="uninitialized"):
        make(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)))


@pytest.mark.parametrize("name", ["train", "validation", "test", "calibration"])
def test_empty_split_is_refused(name: str) -> None:
    empty = (images(0), labels(0))
    with pytest.raises(TaskError, match=f"{name}.* is empty"):
        make(**{name: empty[0] if name == "calibration" else empty})
    with pytest.raises(TaskError, match=f"{name} is empty"):
        make(**{name: TensorDataset(*empty)})


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_split_of_one_class_is_refused(name: str) -> None:
    with pytest.raises(TaskError, match=rf"{name} holds one class only \(2\)"):
        make(**{name: (images(5), torch.full((5,), 2))})


@pytest.mark.parametrize("wrong", [3, -1])
@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_labels_that_exceed_the_outputs_are_refused(name: str, wrong: int) -> None:
    targets = labels(6)
    targets[4] = wrong
    with pytest.raises(TaskError, match=f"{name} has labels .* and the network 3 outputs"):
        make(**{name: (images(6), targets)})


def test_outputs_that_are_not_finite_are_refused() -> None:
    network = classifier()
    with torch.no_grad():
        network[4].bias[0] = float("nan")
    with pytest.raises(TaskError, match="not finite"):
        make(network)


def test_data_without_end_is_refused() -> None:
    for data in (Endless(), DataLoader(Endless(), batch_size=4)):
        with pytest.raises(TaskError, match="may be endless"):
            make(validation=data)


def test_random_augmentation_is_refused_in_evaluation_and_accepted_in_training() -> None:
    with pytest.raises(TaskError, match="random augmentation"):
        make(validation=Pairs(10, noise=0.1))
    with pytest.raises(TaskError, match="random augmentation"):
        make(test=DataLoader(Pairs(10, noise=0.1)))
    train = make(train=Pairs(10, noise=0.1)).train
    assert train is not None
    assert len(train) == 10


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"network": "resnet18"}, ArgumentTypeError, "network must be an nn.Module"),
        ({"precision": "int8"}, ArgumentError, "precision must be one of"),
        ({"batch_size": 0}, ArgumentError, "batch_size must be a positive integer"),
        ({"device": "gpu"}, ArgumentError, "device must name a torch device"),
        ({"device": "cuda:99"}, ArgumentError, "torch sees"),
        ({"device": "meta"}, ArgumentError, "holds no values"),
        ({"validation": images(4)}, ArgumentTypeError, "must be \\(inputs, targets\\)"),
        ({"validation": (images(4), None)}, TaskError, "has no targets"),
        ({"validation": (images(4), labels(5))}, TaskError, "validation: .*one target for each"),
        (
            {"validation": (images(4), "abc")},
            ArgumentTypeError,
            r"validation\[1\] must be a tensor",
        ),
        ({"validation": Pairs, "train": None}, ArgumentTypeError, "validation must be"),
        ({"calibration": (images(4), labels(4))}, TaskError, "calibration has inputs of the form"),
        ({"loss": "mse"}, ArgumentTypeError, "loss must be callable"),
        ({"loss": lambda outputs, targets: outputs}, TaskError, "one number, got shape"),
        ({"loss": lambda outputs, targets: 1.0}, TaskError, "one number, got 1.0"),
        ({"loss": lambda outputs: outputs.sum()}, TaskError, "loss fails on outputs of shape"),
        ({"score": accuracy}, ArgumentTypeError, "score must be a TaskScore"),
        ({"validation": (images(4), torch.randn(4, 2))}, TaskError, "no default loss"),
        ({"validation": (images(4), torch.zeros(4, 2).long())}, TaskError, "no default loss"),
    ],
)
def test_wrong_arguments_are_named(
    changes: dict[str, Any], error: type[OptpruneError], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(**changes)


def test_wrong_scores_are_refused() -> None:
    with pytest.raises(ArgumentError, match="direction"):
        TaskScore("accuracy", "up", accuracy)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="callable"):
        TaskScore("accuracy", "maximize", 0.5)  # type: ignore[arg-type]


def test_a_task_without_test_data_says_so_when_asked_for_it() -> None:
    assert len(make().test_split()) == 10
    with pytest.raises(TaskError, match="no test split"):
        make(test=None).test_split()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_task_on_another_device_copies_the_network_and_moves_the_data() -> None:
    network = classifier()
    task = make(network, device="cuda")
    assert next(network.parameters()).device.type == "cpu"
    assert task.network is not network
    assert task.validation.device == next(task.network.parameters()).device == task.device
    here = make(network)
    torch.testing.assert_close(
        task.predict(task.network, task.validation, meter=Meter()).cpu(),
        here.predict(network, here.validation, meter=Meter()),
        atol=1e-3,
        rtol=1e-3,
    )
    back = task.to("cpu")
    assert back.to("cpu") is back
    assert back.fingerprint == here.fingerprint
