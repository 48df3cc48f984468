"""One pass gives the moments of every layer, and leaves the network as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, TaskError
from optprune.meter import Meter
from optprune.moments import Sample, collect
from optprune.task import Task

ALL = Sample(positions=None, batch_size=7)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Flatten(),
        nn.Linear(16, 3),
    ).double()


def task(net: nn.Module | None = None, n: int = 40, **changes: Any) -> Task:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 1, 4, 4, generator=generator, dtype=torch.float64)
    split = (images, torch.arange(n) % 3)
    arguments: dict[str, Any] = {"train": split, "validation": split} | changes
    return Task(network().eval() if net is None else net, **arguments)


def test_every_layer_has_the_moments_of_its_inputs() -> None:
    the_task, meter = task(), Meter()
    taken, reasons = collect(the_task, the_task.network, ALL, meter=meter)
    assert list(taken) == ["0", "3", "5"]
    assert reasons == {}
    assert meter.forward_samples == 40
    calibration = the_task.calibration
    assert calibration is not None
    with torch.no_grad():
        reaches = the_task.network[:5](calibration.inputs)
    moments = taken["5"].moments
    assert moments.count == 40
    torch.testing.assert_close(moments.mean[0], reaches.mean(0))
    torch.testing.assert_close(moments.second[0] / 39, torch.cov(reaches.T))
    targets = reaches @ the_task.network[5].weight.detach().T
    torch.testing.assert_close(moments.target_second[0] / 39, targets.var(0))
    assert taken["3"].moments.second.shape == (2, 18, 18)
    assert taken["0"].moments.count == 40 * 16


def test_batches_do_not_matter_and_fewer_positions_are_a_sample() -> None:
    the_task = task()
    whole, _ = collect(the_task, the_task.network, ALL, meter=Meter())
    again, _ = collect(
        the_task, the_task.network, Sample(positions=None, batch_size=40), meter=Meter()
    )
    some, _ = collect(the_task, the_task.network, Sample(positions=5), meter=Meter())
    for name, layer in whole.items():
        torch.testing.assert_close(layer.moments.second, again[name].moments.second)
    assert some["0"].moments.count == 40 * 5
    assert some["5"].moments.count == 40
    apart = some["3"].moments.mean - whole["3"].moments.mean
    assert 0 < float(apart.abs().max()) < 0.2


def test_samples_are_a_fixed_subset() -> None:
    the_task = task()
    one, two = Sample(samples=10).of(the_task), Sample(samples=10).of(the_task)
    assert len(one) == 10
    assert one.digest == two.digest
    assert one.digest != Sample(samples=10, seed=1).of(the_task).digest


@pytest.mark.parametrize("training", [True, False])
def test_the_network_stays_as_it_was(training: bool) -> None:
    the_task = task()
    the_task.network.train(training)
    before = {name: value.clone() for name, value in the_task.network.state_dict().items()}
    collect(the_task, the_task.network, Sample(), meter=Meter())
    assert all(module.training == training for module in the_task.network.modules())
    assert all(torch.equal(before[n], v) for n, v in the_task.network.state_dict().items())
    assert not any(module._forward_hooks for module in the_task.network.modules())


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(4, 4)
        self.shared = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shared(torch.relu(self.shared(input=x)))[:, :3]


def test_a_layer_that_is_called_twice_has_all_its_rows_and_an_unused_one_its_reason() -> None:
    generator = torch.Generator().manual_seed(1)
    split = (torch.randn(30, 4, generator=generator), torch.arange(30) % 3)
    the_task = Task(Twice(), train=split, validation=split)
    taken, reasons = collect(the_task, the_task.network, Sample(), meter=Meter())
    assert taken["shared"].moments.count == 60
    assert "does not call" in reasons["unused"]


def test_a_task_without_calibration_is_told() -> None:
    the_task = task(train=None)
    with pytest.raises(TaskError, match=r"Task\(calibration=...\)"):
        collect(the_task, the_task.network, Sample(), meter=Meter())


@pytest.mark.parametrize(
    "wrong", [{"samples": 1}, {"positions": 0}, {"batch_size": True}, {"seed": -1}]
)
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        Sample(**wrong)
