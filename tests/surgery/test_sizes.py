"""Numbers in a network's code: where they come from, and what follows from it."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from optprune.surgery import cut, load, save, trace
from optprune.surgery.sizes import Combined, Held, Size
from optprune.testing import removed_versus_zeroed

EXAMPLE = torch.zeros(2, 5)


def held(value: int) -> Size:
    return Size(value, Held(("module", "attribute", 0), value))


@pytest.mark.parametrize(
    "compute",
    [
        lambda n: n * 3,
        lambda n: 3 * n,
        lambda n: n // 2,
        lambda n: 48 // n,
        lambda n: n + 5,
        lambda n: 5 + n,
        lambda n: n - 2,
        lambda n: 20 - n,
        lambda n: -n,
        lambda n: n % 5,
        lambda n: n / 2,
        lambda n: n**-0.5,
        lambda n: max(n, 3),
        lambda n: math.sqrt(n),
        lambda n: math.prod([n, 2, n]),
        lambda n: [0] * n,
        lambda n: {n: 1}[12],
        lambda n: f"{n:>4}",
        lambda n: (n == 12, n != 12, n > 3, hash(n), bool(n)),
        lambda n: n == "twelve",
    ],
)
def test_a_size_is_an_int_in_every_respect(compute: Callable[[int], object]) -> None:
    found, expected = compute(held(12)), compute(12)
    assert found == expected
    assert isinstance(found, type(expected))


def test_arithmetic_is_remembered() -> None:
    found = held(12) * 3 // 4
    assert isinstance(found, Size)
    assert isinstance(found.expression, Combined)
    assert (found.expression.operator, found.expression.value) == ("//", 9)
    assert (held(12) * 1).expression == (held(12) + 0).expression == held(12).expression


def test_copies_and_pickles_of_a_size_remember_nothing() -> None:
    for plain in (copy.deepcopy(held(7)), pickle.loads(pickle.dumps(held(7)))):
        assert type(plain) is int
        assert plain == 7


class Shaped(nn.Module):
    """Something between two linear layers that has attributes of its own."""

    def __init__(self, between: Callable[[Shaped, torch.Tensor], torch.Tensor], **held: object):
        super().__init__()
        torch.manual_seed(0)
        self.enter = nn.Linear(5, 12)
        self.leave = nn.Linear(12, 3)
        self.between = between
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.leave(self.between(self, torch.relu(self.enter(x))))


def widths(network: nn.Module) -> dict[str, int]:
    graph = trace(network, EXAMPLE)
    assert removed_versus_zeroed(network, EXAMPLE, graph, 3) < 1e-8
    return {group.name: group.width for group in graph.groups}


def test_a_trace_leaves_plain_numbers_behind() -> None:
    def between(self: Shaped, x: torch.Tensor) -> torch.Tensor:
        self.seen = x.shape[1]
        self.kept = [x.shape[1], 2]
        return x.view(-1, self.width)

    network = Shaped(between, width=12, parts=[4, 8], pair=(3, 4))
    before = dict(network.__dict__)
    assert widths(network) == {"enter": 12}
    assert network.__dict__.keys() == before.keys()
    for name in ("width", "parts", "pair"):
        assert network.__dict__[name] is before[name]
    assert all(type(number) is int for number in (network.width, *network.parts, *network.pair))


def test_an_attribute_that_holds_a_size_is_set_in_the_smaller_network() -> None:
    network = Shaped(lambda self, x: x.view(-1, self.width), width=12)
    graph = trace(network, EXAMPLE)
    small = cut(network, graph, graph.structure_from_widths([5]))
    assert (small.width, network.width) == (5, 12)
    assert small(EXAMPLE).shape == (2, 3)


def test_a_list_of_sizes_stays_a_list() -> None:
    def between(self: Shaped, x: torch.Tensor) -> torch.Tensor:
        first, second = x.split(self.parts, 1)
        return torch.cat((first * 2, second), 1)

    network = Shaped(between, parts=[4, 8])
    graph = trace(network, EXAMPLE)
    assert sorted(graph.widths.tolist()) == [4, 8]
    small = cut(network, graph, graph.structure_from_widths([3, 6]))
    assert small.parts == [3, 6]
    assert small(EXAMPLE).shape == (2, 3)


def test_repaired_attributes_are_saved(tmp_path: object) -> None:
    network = Shaped(lambda self, x: x.view(-1, *self.pair).flatten(1), pair=(3, 4))
    graph = trace(network, EXAMPLE)
    assert graph.n_groups == 1
    structure = graph.structure_from_widths(graph.widths - 1)
    small = cut(network, graph, structure)
    save(f"{tmp_path}/small", small, structure, graph)
    loaded = load(f"{tmp_path}/small", network=network)
    assert loaded.pair == small.pair != network.pair
    assert torch.equal(loaded(EXAMPLE), small(EXAMPLE))


def test_one_attribute_for_two_dimensions_ties_them() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.width = 6
            self.a, self.b, self.out = nn.Linear(5, 6), nn.Linear(5, 6), nn.Linear(12, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b = self.a(x).view(-1, self.width), self.b(x).view(-1, self.width)
            return self.out(torch.cat((a, b), 1))

    assert widths(Two()) == {"a": 6}


def test_an_attribute_that_is_also_a_constant_stays() -> None:
    def between(self: Shaped, x: torch.Tensor) -> torch.Tensor:
        return x.view(-1, self.width) + torch.zeros(2, 12).view(-1, self.width)

    network = Shaped(between, width=12)
    graph = trace(network, EXAMPLE)
    assert graph.n_groups == 0
    assert not [group for group in graph.frozen if group.operation == "verify"]


def test_a_difference_of_attributes_follows() -> None:
    def between(self: Shaped, x: torch.Tensor) -> torch.Tensor:
        first, second = torch.split(x, [self.part, self.width - self.part], 1)
        return torch.cat((first * 2, second), 1)

    assert sorted(widths(Shaped(between, width=12, part=4)).values()) == [4, 8]


def test_a_comparison_with_an_attribute_is_kept_true() -> None:
    def between(self: Shaped, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] != self.width:
            raise ValueError("this is not the width that was built")
        return x

    network = Shaped(between, width=12)
    graph = trace(network, EXAMPLE)
    small = cut(network, graph, graph.structure_from_widths([7]))
    assert small.width == 7
    assert small(EXAMPLE).shape == (2, 3)


@pytest.mark.parametrize(
    "between",
    [
        lambda _self, x: 2 * x if x.shape[1] < 3 else x,
        lambda _self, x: 2 * x if x.shape[1] % 2 else x,
        lambda _self, x: x * int(math.log2(x.shape[1]) > 1),
        lambda _self, x: x / x.shape[1],
        lambda _self, x: x.view(-1, 12),
    ],
    ids=["threshold", "parity", "logarithm", "divided", "literal"],
)
def test_code_that_asks_for_a_width_is_never_wrong(
    between: Callable[[Shaped, torch.Tensor], torch.Tensor],
) -> None:
    graph = trace(Shaped(between), EXAMPLE)
    assert graph.n_groups == 0
    (frozen,) = [group for group in graph.frozen if group.name == "enter"]
    assert "test_sizes.py" in frozen.line or frozen.operation == "verify"


def test_constants_of_the_default_precision_do_not_freeze() -> None:
    assert widths(Shaped(lambda _self, x: torch.eye(2) @ x)) == {"enter": 12}


def test_a_parameter_without_dimensions_scales_all() -> None:
    network = Shaped(lambda self, x: x * self.scale, scale=nn.Parameter(torch.tensor(2.0)))
    assert widths(network) == {"enter": 12}


def test_a_weight_that_is_divided_by_its_length_loses_its_channels() -> None:
    network = Shaped(
        lambda self, x: F.linear(x, self.weight / self.weight.norm(dim=1, keepdim=True)),
        weight=nn.Parameter(torch.randn(12, 12)),
    )
    assert widths(network) == {"enter": 12, "weight": 12}


def test_noise_for_whole_channels_follows_them() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.drop = nn.Conv2d(3, 8, 3), nn.Dropout2d()
            self.head, self.side = nn.Linear(8, 2), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> object:
            y = self.drop(self.conv(x)).mean((2, 3))
            return (self.head(y), self.side(y)) if self.training else self.head(y)

    graph = trace(Auxiliary(), torch.zeros(2, 3, 6, 6))
    assert [(group.name, group.width) for group in graph.groups] == [("conv", 8)]
