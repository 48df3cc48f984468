"""Training in bfloat16 computes in it, and says when it cannot."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optprune.device import has_bfloat16
from optprune.errors import ArgumentError, TrainingWarning
from optprune.surgery.calling import Inputs, call
from optprune.training import SGD, Hooks, TrainingStep, precision
from tests.training.cases import classifier, equal, fit, labelled, state


def plain(network: nn.Module, inputs: Inputs) -> torch.Tensor:
    found: torch.Tensor = call(network, inputs)
    return found


def without_autocast(network: nn.Module, inputs: Inputs) -> torch.Tensor:
    """As `Task.outputs` does in float32."""
    with torch.autocast("cpu", enabled=False):
        return plain(network, inputs)


def in_parts(network: nn.Module, inputs: Inputs) -> torch.Tensor:
    assert isinstance(network, nn.Sequential)
    for layer in network:
        inputs = layer(inputs)
    assert isinstance(inputs, torch.Tensor)
    return inputs


@pytest.mark.parametrize("outputs", [plain, without_autocast, in_parts])
def test_layers_compute_in_bfloat16_and_the_loss_in_float32(
    outputs: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    types: set[torch.dtype] = set()
    net = classifier()
    handle = net[0].register_forward_hook(lambda module, x, y: types.add(y.dtype))
    steps: list[TrainingStep] = []
    trainer = SGD(
        epochs=20,
        batch_size=20,
        precision="bfloat16",
        held_out=0.1,
        hooks=Hooks(after_step=steps.append),
    )
    report, _ = fit(trainer, net, outputs=outputs)
    handle.remove()
    assert types == {torch.bfloat16}
    assert {step.outputs.dtype for step in steps} == {torch.float32}
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert report.losses[-1] < 0.7 * report.losses[0]
    assert not torch.is_autocast_enabled("cpu")
    assert not net._forward_hooks
    assert not net._forward_pre_hooks


def test_a_network_that_fails_leaves_autocast_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    net = nn.Sequential(nn.Linear(7, 3))
    with pytest.raises(RuntimeError, match="shapes"):
        fit(SGD(precision="bfloat16"), net, labelled())
    assert not torch.is_autocast_enabled("cpu")
    assert not net._forward_hooks


def test_a_device_without_bfloat16_is_said_and_trained_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    one, other = classifier(), classifier()
    with pytest.warns(TrainingWarning, match="cpu does not compute in bfloat16"):
        fit(SGD(epochs=2, precision="bfloat16"), one)
    fit(SGD(epochs=2), other)
    assert equal(state(one), state(other))


def test_another_precision_is_refused() -> None:
    with pytest.raises(ArgumentError, match="precision must be 'float32' or 'bfloat16'"):
        SGD(precision="float16")  # type: ignore[arg-type]


def test_whether_a_device_has_bfloat16_is_known() -> None:
    assert isinstance(has_bfloat16(torch.device("cpu")), bool)
    assert not has_bfloat16(torch.device("meta"))
