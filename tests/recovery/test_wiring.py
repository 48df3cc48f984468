"""What stands around a layer is found by watching one pass."""

from __future__ import annotations

import torch
from torch import nn

from optprune.meter import Meter
from optprune.recovery.wiring import Wire, wiring
from optprune.task import Task
from optprune.testing.networks import residual_task


def wires(network: nn.Module, *shape: int) -> dict[str, Wire]:
    generator = torch.Generator().manual_seed(1)
    split = (torch.randn(6, *shape, generator=generator), torch.arange(6) % 3)
    task = Task(network.eval(), validation=split)
    return wiring(task, task.network, Meter())


def test_a_branch_knows_its_normalization_and_its_shortcut() -> None:
    task = residual_task()
    found = wiring(task, task.network, Meter())
    assert list(found) == ["stem", "inner", "outer", "classes"]
    assert found["stem"].norm == "stem_norm"
    assert found["stem"].shortcut is None
    assert found["inner"].shortcut is None
    assert found["outer"].norm == "outer_norm"
    assert found["outer"].shortcut is not None
    assert found["classes"] == Wire(calls=1)


class Block(nn.Module):
    """A block whose shortcut comes before, after, or in place."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.stem = nn.Linear(4, 8)
        self.branch = nn.Linear(8, 8)
        self.project = nn.Linear(8, 8)
        self.drop = nn.Dropout(0.5)
        self.classes = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        if self.kind == "projection first":
            shortcut = self.project(x)
            y = self.branch(x) + shortcut
        elif self.kind == "projection last":
            y = self.branch(x)
            y = y + self.project(x)
        elif self.kind == "in place":
            y = self.drop(self.branch(x))
            y += x
            y.relu_()
        elif self.kind == "activated":
            y = torch.relu(self.branch(x)) + x
        elif self.kind == "changed in place":
            y = self.branch(x)
            y.mul_(2)
            y = y + x
        else:
            y = self.branch(x)
            y = y + x.mul_(2)
        return self.classes(y)


def test_the_layer_that_is_called_last_makes_up_for_the_other() -> None:
    first = wires(Block("projection first"), 4)
    assert first["branch"].shortcut is not None
    assert first["project"].shortcut is None
    last = wires(Block("projection last"), 4)
    assert last["branch"].shortcut is None
    assert last["project"].shortcut is not None


def test_dropout_and_additions_in_place_are_followed() -> None:
    assert wires(Block("in place"), 4)["branch"].shortcut is not None


def test_what_is_no_plain_branch_has_no_shortcut() -> None:
    for kind in ("activated", "changed in place", "shortcut changed later"):
        assert wires(Block(kind), 4)["branch"].shortcut is None, kind


class Shown(nn.Module):
    """A convolution whose outputs are also used without their normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 1, bias=False)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return (self.norm(x) * torch.sigmoid(x)).mean((2, 3))


def test_a_normalization_must_take_all_that_a_layer_returns() -> None:
    assert wires(Shown(), 1, 4, 4)["conv"].norm is None


class Repeated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.layer(x))


def test_calls_are_counted() -> None:
    assert wires(Repeated(), 3)["layer"].calls == 2
