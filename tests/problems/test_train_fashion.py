"""Training for Fashion-MNIST: the same under a seed, on images that are mirrored at most."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from optprune.problems import fashion, train_fashion
from optprune.problems.train_fashion import TRAINER, augmented, outputs, train
from safetensors.torch import load_file
from torch import nn

from optprune.split import Split
from optprune.training import SGD


def few(n: int) -> Split:
    """Return n random images with labels."""
    generator = torch.Generator().manual_seed(n)
    grey = torch.randint(256, (n, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return Split(fashion.standardized(grey), torch.arange(n) % 10)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, Split]:
    """The data set is a few random images."""
    data = {"train": few(24), "validation": few(20), "test": few(10)}
    monkeypatch.setattr(train_fashion, "splits", lambda folder, download: data)
    return data


class TestAugmentation:
    def test_every_image_is_as_it_was_or_mirrored(self) -> None:
        image = torch.arange(30.0).reshape(1, 6, 5)
        found = augmented(image.expand(2000, 1, 6, 5))
        assert found.shape == (2000, 1, 6, 5)
        mirrored = (found == image.flip(-1)).flatten(1).all(dim=1)
        assert torch.equal(found[~mirrored], image.expand(2000, 1, 6, 5)[~mirrored])
        assert 900 < int(mirrored.sum()) < 1100

    def test_channels_of_an_image_move_together(self) -> None:
        images = torch.randn(8, 1, 28, 28)
        found = augmented(images.repeat(1, 3, 1, 1))
        assert found.shape == (8, 3, 28, 28)
        assert torch.equal(found[:, 0], found[:, 1])
        assert torch.equal(found[:, 0], found[:, 2])

    def test_it_leaves_the_data_alone_and_follows_the_global_generator(self) -> None:
        images = torch.randn(8, 1, 28, 28)
        before = images.clone()
        torch.manual_seed(1)
        first = augmented(images)
        second = augmented(images)
        torch.manual_seed(1)
        assert torch.equal(augmented(images), first)
        assert not torch.equal(first, second)
        assert torch.equal(images, before)


def test_only_training_augments() -> None:
    network = nn.Identity()
    images = torch.randn(16, 1, 28, 28)
    assert torch.equal(outputs(network.eval(), images), images)
    assert not torch.equal(outputs(network.train(), images), images)


@pytest.mark.parametrize("name", list(fashion.NETWORKS))
def test_outputs_are_float32_also_when_computed_in_bfloat16(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = fashion.network(name, weights=False)
    (images,) = (few(4).inputs,)
    assert isinstance(images, torch.Tensor)
    exact = network(images)
    for enabled in (False, True):
        monkeypatch.setattr(train_fashion, "has_bfloat16", lambda device, on=enabled: on)
        found = outputs(network, images)
        assert found.dtype == torch.float32
        # A number has 8 bits in bfloat16.
        torch.testing.assert_close(found, exact, atol=0.05 if enabled else 1e-4, rtol=0.05)


def test_training_is_decided_by_the_seed_and_leaves_the_generator_alone() -> None:
    trainer = SGD(epochs=1, batch_size=8, lr=0.1, weight_decay=5e-4)
    before = torch.random.get_rng_state()
    first, report = train("mobilenet", few(24), trainer, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert report.steps == 3
    assert not first.training
    torch.manual_seed(5)
    again, _ = train("mobilenet", few(24), trainer, seed=3)
    other, _ = train("mobilenet", few(24), trainer, seed=4)
    state = first.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
    assert not torch.equal(other.state_dict()["head.weight"], state["head.weight"])


def test_the_script_writes_weights_that_load(
    tiny: dict[str, Split],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "new"
    train_fashion.main(["vgg", "mobilenet", "--epochs", "1", "--out", str(folder)])
    printed = capsys.readouterr().out
    for word in ("vgg:", "mobilenet:", "validation", "test", "s an epoch", "KiB", "step 1 of 1"):
        assert word in printed
    assert sorted(path.name for path in folder.iterdir()) == [
        "fashion_mobilenet.safetensors",
        "fashion_vgg.safetensors",
    ]
    for name in ("vgg", "mobilenet"):
        monkeypatch.setitem(fashion.WEIGHTS, name, folder / fashion.WEIGHTS[name].name)
        assert not fashion.network(name).training
    state = load_file(folder / "fashion_vgg.safetensors")
    counted = [value for name, value in state.items() if name.endswith("num_batches_tracked")]
    assert [int(value) for value in counted] == [1] * 6
    floating = {value.dtype for value in state.values() if value.is_floating_point()}
    assert floating == {torch.float32}


def test_all_networks_are_trained_by_default(
    tiny: dict[str, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def quick(name: str, data: Split, trainer: SGD, seed: int) -> tuple[nn.Module, object]:
        trained.append((name, data, trainer.epochs, seed))
        return train(name, few(2), SGD(epochs=1, batch_size=2), seed)

    monkeypatch.setattr(train_fashion, "train", quick)
    train_fashion.main(["--out", str(tmp_path), "--seed", "7"])
    assert trained == [(name, tiny["train"], TRAINER.epochs, 7) for name in fashion.NETWORKS]


def test_weights_that_cannot_be_written_leave_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"old")

    def half(state: object, unfinished: Path) -> None:
        unfinished.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(train_fashion, "save_file", half)
    with pytest.raises(OSError, match="disk full"):
        train_fashion.write(nn.Linear(2, 2), path)
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [
        (path.name, b"old")
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["vgg", "resnet"], "there is no network 'resnet'"), (["--threads", "0"], "positive number")],
)
def test_a_mistake_on_the_command_line_is_told_before_anything_runs(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train_fashion.main(arguments)
    assert told in capsys.readouterr().err
