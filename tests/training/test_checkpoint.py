"""A fit that was interrupted goes on from its checkpoint as if nothing had happened."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, LoadError, SaveError, TrainingError
from optprune.surgery.calling import call
from optprune.training import SGD, Hooks, TrainingStep
from tests.training.cases import classifier, equal, fit, labelled, state


class Interruption:
    """A hook that raises KeyboardInterrupt once, at a step."""

    def __init__(self, step: int) -> None:
        self.step: int | None = step

    def __call__(self, step: TrainingStep) -> None:
        if step.step == self.step:
            self.step = None
            raise KeyboardInterrupt


TRAINERS = {
    "plain": SGD(epochs=5, batch_size=16),
    "no momentum": SGD(epochs=5, batch_size=16, momentum=0.0, clip=0.5),
    "early stopping": SGD(epochs=5, batch_size=16, lr=0.5, held_out=0.2, patience=1),
    "every second": SGD(epochs=5, batch_size=16, warmup=0.3, checkpoint_every=2),
}


@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=TRAINERS.keys())
@pytest.mark.parametrize("same", [True, False], ids=["same network", "new network"])
@pytest.mark.parametrize("step", [0, 3, 7])
def test_an_interrupted_fit_ends_as_an_uninterrupted_one(
    trainer: SGD, same: bool, step: int, tmp_path: Path
) -> None:
    whole = classifier(dropout=0.3)
    expected, _ = fit(replace(trainer, hooks=Hooks(after_step=Interruption(-1))), whole)
    trainer = replace(
        trainer, checkpoint=tmp_path / "fit", hooks=Hooks(after_step=Interruption(step))
    )
    net = classifier(dropout=0.3)
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, net)
    net = net if same else classifier(dropout=0.3)
    torch.manual_seed(17)
    report, meter = fit(trainer, net)
    assert equal(state(net), state(whole))
    assert replace(report, seconds=0.0, resumed=0) == replace(expected, seconds=0.0)
    in_epoch = 3 if trainer.held_out else 4
    every = in_epoch * trainer.checkpoint_every
    assert report.resumed == step // every * every
    assert meter.backward_samples == (report.steps - report.resumed) * (60 // in_epoch) * (
        0.8 if trainer.held_out else 1
    )


def test_an_interrupted_fit_can_be_interrupted_again(tmp_path: Path) -> None:
    trainer, whole, net = SGD(epochs=6, batch_size=16), classifier(), classifier()
    fit(trainer, whole)
    interruption = Interruption(6)
    trainer = replace(trainer, checkpoint=tmp_path / "fit", hooks=Hooks(after_step=interruption))
    for step in (6, 7, 18):
        interruption.step = step
        with pytest.raises(KeyboardInterrupt):
            fit(trainer, net)
    fit(trainer, net)
    assert equal(state(net), state(whole))


def test_a_fit_that_ended_gives_its_weights_at_once(tmp_path: Path) -> None:
    trainer = SGD(epochs=3, held_out=0.2, checkpoint=tmp_path / "fit")
    first, second = classifier(), classifier()
    report, _ = fit(trainer, first)
    for net in (first, second):
        again, meter = fit(trainer, net)
        assert meter.samples == 0
        assert equal(state(net), state(first))
        assert again.resumed == again.steps == report.steps
        assert replace(again, seconds=0.0, resumed=0) == replace(report, seconds=0.0)


def test_a_fit_that_a_hook_ended_stays_ended(tmp_path: Path) -> None:
    def enough(step: TrainingStep) -> bool:
        return step.step >= 1

    trainer = SGD(
        epochs=3, batch_size=16, checkpoint=tmp_path / "fit", hooks=Hooks(every=(1, enough))
    )
    fit(trainer, classifier())
    report, meter = fit(trainer, classifier())
    assert (report.steps, report.reason) == (2, "stopped by enough after step 2")
    assert meter.samples == 0


def test_a_checkpoint_changes_no_weight_and_no_generator(tmp_path: Path) -> None:
    with_it, without = classifier(dropout=0.3), classifier(dropout=0.3)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    fit(SGD(epochs=3, checkpoint=str(tmp_path / "deep" / "fit")), with_it)
    assert torch.equal(torch.random.get_rng_state(), before)
    fit(SGD(epochs=3), without)
    assert equal(state(with_it), state(without))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["fit"]


def test_where_and_how_often_it_is_written_is_no_part_of_a_trainer() -> None:
    assert SGD() == SGD(checkpoint="a", checkpoint_every=3, progress=True)
    assert "checkpoint='a'" in repr(SGD(checkpoint="a"))


def test_the_file_holds_tensors_and_json_alone(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    fit(SGD(epochs=1, checkpoint=path), classifier())
    content = path.read_bytes()
    assert {"network/0.weight", "momentum/0.weight", "losses"} <= set(
        safetensors.torch.load(content)
    )
    (size,) = struct.unpack("<Q", content[:8])
    record = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["optprune.fit"])
    assert record["started_with"]["epochs"] == "1"
    assert record["state"] == {"epoch": 1, "reason": "finished 1 epochs", "best_epoch": 0}


OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "setting": ({"epochs": 3}, {}, "epochs is 2 there and 3 here"),
    "hook": ({"hooks": Hooks(after_step=Interruption(-1))}, {}, "hooks is"),
    "seed": ({}, {"seed": 5}, "seed is 0 there and 5 here"),
    "data": ({}, {"data": labelled(seed=2)}, "data is 60 samples"),
    "loss": ({}, {"loss": nn.functional.multi_margin_loss}, "loss is cross_entropy"),
    "outputs": ({}, {"outputs": lambda network, inputs: call(network, inputs)}, "outputs is call"),
    "shapes": ({}, {"network": classifier(width=9)}, "network is Sequential"),
    "weights": ({}, {"network": classifier(seed=4)}, "the network has other weights"),
}


@pytest.mark.parametrize(("changes", "arguments", "words"), OTHERS.values(), ids=OTHERS.keys())
def test_a_checkpoint_of_another_fit_is_refused_and_the_difference_named(
    changes: dict[str, Any], arguments: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "fit"
    trainer = SGD(epochs=2, batch_size=16, checkpoint=path)
    fit(trainer, classifier())
    content = path.read_bytes()
    arguments = dict(arguments)
    net = arguments.pop("network", classifier())
    before = state(net)
    with pytest.raises(LoadError, match=f"belongs to another fit: {words}.*Name another file"):
        fit(replace(trainer, **changes), net, **arguments)
    assert equal(state(net), before)
    assert path.read_bytes() == content
    assert not net.training


def test_what_is_no_checkpoint_or_damaged_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    trainer = SGD(epochs=1, checkpoint=path)
    for content, words in (
        (b"my thesis", "cannot be read"),
        (safetensors.torch.save({"a": torch.zeros(1)}), "is not a checkpoint"),
    ):
        path.write_bytes(content)
        with pytest.raises(LoadError, match=words):
            fit(trainer, classifier())
        assert path.read_bytes() == content
    path.unlink()
    fit(trainer, classifier())
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(LoadError, match="damaged"):
        fit(trainer, classifier())


def test_a_file_that_cannot_be_written_is_an_error_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    net = classifier()
    before = state(net)
    with pytest.raises(SaveError, match="could not be written"):
        fit(SGD(epochs=1, checkpoint=tmp_path / "file" / "fit"), net)
    assert equal(state(net), before)


def test_a_fit_that_fails_leaves_the_network_as_the_last_checkpoint_has_it(tmp_path: Path) -> None:
    def spoil(step: TrainingStep) -> None:
        if step.step == 5:
            next(step.network.parameters()).data.fill_(float("nan"))

    path, net = tmp_path / "fit", classifier()
    trainer = SGD(epochs=3, batch_size=16, checkpoint=path, hooks=Hooks(after_step=spoil))
    with pytest.raises(TrainingError, match="The loss is nan"):
        fit(trainer, net)
    saved = safetensors.torch.load_file(path)
    assert len(saved["losses"]) == 4
    assert all(torch.equal(saved[f"network/{name}"], v) for name, v in net.state_dict().items())


def test_tied_weights_and_frozen_ones_are_restored(tmp_path: Path) -> None:
    def network() -> nn.Sequential:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 3))
        net[2].weight = net[0].weight
        net[3].bias.requires_grad_(False)
        return net

    whole, net = network(), network()
    trainer = SGD(epochs=3, batch_size=16)
    fit(trainer, whole)
    trainer = replace(trainer, checkpoint=tmp_path / "fit", hooks=Hooks(after_step=Interruption(9)))
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, net)
    fit(trainer, net)
    assert equal(state(net), state(whole))
    assert net[2].weight is net[0].weight


def test_wrong_settings_are_named() -> None:
    path: Any = 3
    with pytest.raises(ArgumentTypeError, match="checkpoint must be"):
        SGD(checkpoint=path)
    with pytest.raises(ArgumentError, match="checkpoint_every must be"):
        SGD(checkpoint_every=0)
