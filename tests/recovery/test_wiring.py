"""What stands around a layer is found by watching one pass."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
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
    assert found["stem"].clip == (0, math.inf)
    assert not found["stem"].after_addition
    assert found["outer"].clip == (0, math.inf)
    assert found["outer"].after_addition
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


class Shared(nn.Module):
    """Two convolutions behind one normalization, the second at the end of a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 3, 1, bias=False)
        self.two = nn.Conv2d(3, 3, 1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.classes = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.one(x)))
        x = torch.relu(self.norm(self.two(x)) + x)
        return self.classes(x.mean((2, 3)))


def test_a_normalization_of_two_layers_belongs_to_neither() -> None:
    found = wires(Shared(), 1, 4, 4)
    for name in ("one", "two"):
        assert found[name] == Wire(calls=1)


class Tapped(nn.Module):
    """The end of a branch, whose layer is also used without its normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 1)
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.conv(x)
        return ((self.norm(y) + x) * y).mean((2, 3))


def test_a_shortcut_behind_a_normalization_that_takes_not_all_is_none() -> None:
    assert wires(Tapped(), 1, 4, 4)["conv"] == Wire(calls=1)


class Repeated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.layer(x))


def test_calls_are_counted() -> None:
    assert wires(Repeated(), 3)["layer"].calls == 2


class Activated(nn.Module):
    """A layer with its normalization, and something behind."""

    def __init__(
        self, behind: Callable[[torch.Tensor], torch.Tensor], norm: bool, drop: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 1)
        self.norm = nn.BatchNorm2d(3) if norm else nn.Identity()
        self.drop = nn.Dropout(0.5) if drop else nn.Identity()
        self.behind = behind
        self.classes = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classes(self.behind(self.drop(self.norm(self.conv(x)))).mean((2, 3)))


POSITIVE, SIX = (0.0, math.inf), (0.0, 6.0)
CLIPS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], tuple[float, float]]] = {
    "nn.ReLU": (nn.ReLU(), POSITIVE),
    "nn.ReLU in place": (nn.ReLU(inplace=True), POSITIVE),
    "F.relu": (nn.functional.relu, POSITIVE),
    "torch.relu": (torch.relu, POSITIVE),
    "torch.relu_": (torch.relu_, POSITIVE),
    "Tensor.relu": (lambda x: x.relu(), POSITIVE),
    "Tensor.relu_": (lambda x: x.relu_(), POSITIVE),
    "nn.ReLU6": (nn.ReLU6(), SIX),
    "nn.ReLU6 in place": (nn.ReLU6(inplace=True), SIX),
    "F.relu6": (nn.functional.relu6, SIX),
    "nn.Hardtanh": (nn.Hardtanh(-2, 3), (-2.0, 3.0)),
    "nn.Hardtanh in place": (nn.Hardtanh(inplace=True), (-1.0, 1.0)),
    "F.hardtanh_": (nn.functional.hardtanh_, (-1.0, 1.0)),
    "torch.clamp": (lambda x: torch.clamp(x, 0, 2), (0.0, 2.0)),
    "torch.clamp from below": (lambda x: torch.clamp(x, min=0.5), (0.5, math.inf)),
    "torch.clamp from above": (lambda x: torch.clamp(x, None, 1), (-math.inf, 1.0)),
    "Tensor.clamp_": (lambda x: x.clamp_(-1, max=1), (-1.0, 1.0)),
    "torch.clip": (lambda x: torch.clip(x, 0), POSITIVE),
    "Tensor.clamp_min": (lambda x: x.clamp_min(0), POSITIVE),
    "Tensor.clamp_max_": (lambda x: x.clamp_max_(max=4), (-math.inf, 4.0)),
}


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("drop", [True, False])
@pytest.mark.parametrize("kind", CLIPS)
def test_activations_that_clip_are_known_by_their_bounds(kind: str, norm: bool, drop: bool) -> None:
    behind, bounds = CLIPS[kind]
    found = wires(Activated(behind, norm, drop), 1, 4, 4)
    assert found["conv"] == Wire(calls=1, norm="norm" if norm else None, clip=bounds)
    assert found["classes"].clip is None


def _used_twice(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x) * x


def _used_before_in_place(x: torch.Tensor) -> torch.Tensor:
    other = torch.sigmoid(x)
    return x.relu_() * other


def _in_a_list(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, torch.relu(x)], 2)


def _named(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x) * torch.sigmoid(input=x)


def _by_a_view(x: torch.Tensor) -> torch.Tensor:
    x[:, 0].mul_(2)
    return x.relu_()


def _set(x: torch.Tensor) -> torch.Tensor:
    x[:, 0] = 1.0
    return x.relu_()


def _changed(x: torch.Tensor) -> torch.Tensor:
    return x.mul_(2).relu_()


UNCLIPPED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "nothing": lambda x: x,
    "used twice": _used_twice,
    "used before": _used_before_in_place,
    "in a list": _in_a_list,
    "by its name": _named,
    "through a view": _by_a_view,
    "an item set": _set,
    "changed in place": _changed,
    "pooled first": lambda x: torch.relu(nn.functional.max_pool2d(x, 2)),
    "smooth": nn.functional.gelu,
    "leaky": nn.functional.leaky_relu,
    "bounds that are tensors": lambda x: torch.clamp(x, torch.zeros(()), None),
    "no bounds": lambda x: torch.clamp(x, -math.inf, math.inf),
    "bounds that meet": lambda x: torch.clamp(x, 1, 1),
}


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("kind", UNCLIPPED)
def test_what_is_more_than_an_activation_does_not_clip(kind: str, norm: bool) -> None:
    assert wires(Activated(UNCLIPPED[kind], norm, False), 1, 4, 4)["conv"].clip is None


def test_what_is_activated_twice_does_not_clip() -> None:
    twice = Activated(lambda x: torch.relu(x) + torch.clamp(x, 0, 1), True, False)
    assert wires(twice, 1, 4, 4)["conv"].clip is None


def test_what_the_network_returns_does_not_clip() -> None:
    class Returned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.layer(x)
            torch.relu(x)
            return x

    assert wires(Returned(), 3)["layer"].clip is None


def test_activations_after_an_addition_belong_to_the_layer_that_makes_up_for_the_other() -> None:
    in_place = wires(Block("in place"), 4)["branch"]
    assert in_place.clip == (0, math.inf)
    assert in_place.after_addition
    # no activation behind the sum
    assert wires(Block("projection first"), 4)["branch"].clip is None
    activated = wires(Block("activated"), 4)["branch"]
    assert activated.clip == (0, math.inf)
    assert not activated.after_addition
    for kind in ("changed in place", "shortcut changed later"):
        assert wires(Block(kind), 4)["branch"].clip is None, kind


class Sum(nn.Module):
    """Two layers of which one is normalized, and what becomes of their sum."""

    def __init__(self, joined: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.stem, self.one, self.other = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.joined = joined

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        one = self.one(x)
        return self.joined(one, self.norm(self.other(x)))[:, :3]


@pytest.mark.parametrize(
    "joined",
    [
        lambda one, other: torch.relu(one + other),
        lambda one, other: torch.relu(other + one),
        lambda one, other: other.add_(one).relu_(),
        lambda one, other: nn.functional.relu(one.add_(other), inplace=True),
    ],
)
def test_a_sum_that_is_activated_clips_the_layer_that_is_called_last(
    joined: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    found = wires(Sum(joined), 4)
    assert found["one"].clip is None
    assert found["other"].norm == "norm"
    assert found["other"].clip == (0, math.inf)
    assert found["other"].after_addition


@pytest.mark.parametrize(
    "joined",
    [
        lambda one, other: one + other,
        lambda one, other: torch.relu(one + other) + other,
        lambda one, other: torch.relu(y := one + other) + y,
        lambda one, other: torch.relu(torch.add(one, other, alpha=2)),
        lambda one, other: torch.relu(one + other + one),
        lambda one, other: torch.relu(one * other),
    ],
)
def test_a_sum_that_is_used_otherwise_clips_nothing(
    joined: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    found = wires(Sum(joined), 4)
    assert found["one"].clip is None
    assert found["other"].clip is None
