"""Chosen parameters lie in one vector, in the order of the network, each with its own scale."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.training.assimilation.layout import Layout


def images() -> nn.Sequential:
    """A network of two convolutions, one without a bias, a normalization and a linear layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 5, 3),
        nn.BatchNorm2d(5),
        nn.Tanh(),
        nn.Conv2d(5, 6, 3, bias=False),
        nn.Flatten(),
        nn.Linear(6 * 4, 4),
    ).eval()


class Tied(nn.Module):
    """One weight under two names; only the second layer has a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(9, 9, bias=False)
        self.decode = nn.Linear(9, 9)
        self.decode.weight = self.encode.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.decode(self.encode(x).tanh())
        return found


def layout(network: nn.Module, patterns: Any = "*") -> Layout:
    return Layout.of(network, patterns, owner="test")


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("*", ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "5.weight", "5.bias")),
        ("5.*", ("5.weight", "5.bias")),
        (("*.bias",), ("0.bias", "1.bias", "5.bias")),
        (["5.*", "0.bias"], ("0.bias", "5.weight", "5.bias")),
        (("[01].weight", "0.weight"), ("0.weight", "1.weight")),
    ],
)
def test_patterns_choose_names_in_the_order_of_the_network(
    patterns: Any, names: tuple[str, ...]
) -> None:
    network = images()
    found = layout(network, patterns)
    assert found.names == names
    own = dict(network.named_parameters())
    assert found.shapes == tuple(tuple(own[name].shape) for name in names)
    assert found.sizes == tuple(own[name].numel() for name in names)
    assert found.size == sum(found.sizes)


def test_a_wrong_pattern_names_the_nearest_and_all_there_are() -> None:
    with pytest.raises(ArgumentError, match=r"test: `parameters` has '5\.wieght'") as caught:
        layout(images(), ("0.bias", "5.wieght"))
    assert "Did you mean '5.weight'" in str(caught.value)
    assert "There are 0.weight, 0.bias, 1.weight" in str(caught.value)


@pytest.mark.parametrize("patterns", [3, None, ("0.bias", 3), [None]])
def test_patterns_that_are_no_strings_are_refused(patterns: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="must be names or patterns"):
        layout(images(), patterns)


def test_no_pattern_and_no_parameter_are_errors() -> None:
    with pytest.raises(ArgumentError, match=r"is empty; '\*' takes all"):
        layout(images(), ())
    with pytest.raises(ArgumentError, match="There are none"):
        layout(nn.Tanh(), "*")


def test_a_tied_parameter_counts_once_and_by_its_first_name() -> None:
    found = layout(Tied())
    assert found.names == ("encode.weight", "decode.bias")
    assert found.size == 81 + 9
    with pytest.raises(ArgumentError, match=r"'decode\.weight', which matches no parameter"):
        layout(Tied(), "decode.weight")


def test_writing_a_tied_parameter_changes_both() -> None:
    network = Tied()
    found = layout(network)
    found.write(torch.arange(90.0), network)
    assert torch.equal(network.decode.weight, torch.arange(81.0).reshape(9, 9))
    assert network.decode.weight is network.encode.weight


@pytest.mark.parametrize("patterns", ["*", "0.*", ("1.*", "5.bias")])
@pytest.mark.parametrize("seed", [0, 1])
def test_flat_write_and_unflatten_are_inverses(patterns: Any, seed: int) -> None:
    network, other = images(), images()
    found = layout(network, patterns)
    values = torch.randn(found.size, generator=torch.Generator().manual_seed(seed))
    found.write(values, other)
    assert torch.equal(found.flat(other), values)
    own = dict(other.named_parameters())
    named = found.unflatten(values)
    assert list(named) == list(found.names)
    for name, value in named.items():
        assert torch.equal(value, own[name])
    for name, value in dict(network.named_parameters()).items():
        assert torch.equal(own[name], value) == (name not in found.names)


def test_flat_copies_and_unflatten_gives_views_of_all_members() -> None:
    network = images()
    for patterns in ("*", "0.bias"):
        found = layout(network, patterns)
        before = copy.deepcopy(network.state_dict())
        found.flat(network).zero_()
        assert all(torch.equal(v, before[n]) for n, v in network.state_dict().items())
    found = layout(network)
    members = torch.randn(2, 3, found.size)
    named = found.unflatten(members)
    assert named["0.weight"].shape == (2, 3, 5, 2, 3, 3)
    for name, _, place in found.slices():
        assert torch.equal(named[name].flatten(2), members[..., place])
        assert named[name].untyped_storage().data_ptr() == members.untyped_storage().data_ptr()


def test_weights_in_another_memory_format_are_read_and_written_by_their_indices() -> None:
    network = images()
    values = layout(network).flat(network)
    network.to(memory_format=torch.channels_last)
    assert torch.equal(layout(network).flat(network), values)
    layout(network).write(2 * values, network)
    assert torch.equal(layout(network).flat(network), 2 * values)


def test_the_type_is_the_widest_and_writing_keeps_each() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1).double())
    found = layout(network)
    values = found.flat(network)
    assert values.dtype == torch.float64
    found.write(values, network)
    assert [p.dtype for p in network.parameters()] == [torch.float32] * 2 + [torch.float64] * 2


def test_slices_cover_the_vector_and_layers_group_them() -> None:
    found = layout(images())
    covered = torch.cat([torch.arange(p.start, p.stop) for _, _, p in found.slices()])
    assert torch.equal(covered, torch.arange(found.size))
    layers = found.layers()
    assert list(layers) == ["0", "1", "3", "5"]
    assert list(layers["5"]) == ["weight", "bias"]
    assert layers["3"]["weight"][0] == (6, 5, 3, 3)


@pytest.mark.parametrize(
    ("network", "last"),
    [
        (nn.Linear(2, 2), ""),
        (images(), "5"),
        (nn.Sequential(nn.Linear(2, 2), nn.Softmax(1)), "0"),
        (nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), None),
        (nn.Sequential(nn.Conv2d(2, 2, 1), nn.ConvTranspose2d(2, 2, 1)), None),
        (nn.Sequential(nn.Linear(2, 2), nn.Embedding(2, 2)), None),
        (nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2))), None),
        (Tied(), "decode"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_the_last_layer_is_known_whatever_varies(network: nn.Module, last: str | None) -> None:
    first = next(name for name, _ in network.named_parameters())
    for patterns in ("*", first):
        assert layout(network, patterns).last_layer == last


def scales(network: nn.Module, spread: Any = 1.0, patterns: Any = "*") -> dict[str, float]:
    """Return the scale of each parameter, which is the same for all of its numbers."""
    found = layout(network, patterns)
    values = found.scales(spread, owner="test")
    assert values.dtype == torch.float64
    assert values.shape == (found.size,)
    assert all(bool((v == v.flatten()[0]).all()) for v in found.unflatten(values).values())
    return {name: float(value.flatten()[0]) for name, value in found.unflatten(values).items()}


@pytest.mark.parametrize("spread", [1.0, 0.3, 2])
def test_a_scale_is_the_spread_over_the_root_of_the_fan_in(spread: float) -> None:
    assert scales(images(), spread) == pytest.approx(
        {
            "0.weight": spread / math.sqrt(2 * 9),
            "0.bias": spread / math.sqrt(2 * 9),
            "1.weight": spread,
            "1.bias": spread,
            "3.weight": spread / math.sqrt(5 * 9),
            "5.weight": spread / math.sqrt(24),
            "5.bias": spread / math.sqrt(24),
        },
        rel=1e-12,
    )


@pytest.mark.parametrize("patterns", ["*", "*.bias", "0.*", ("0.bias", "5.weight")])
def test_a_scale_does_not_depend_on_what_else_varies(patterns: Any) -> None:
    of_all = scales(images())
    found = scales(images(), patterns=patterns)
    assert found == {name: of_all[name] for name in found}
    assert scales(Tied(), patterns="decode.bias") == {"decode.bias": pytest.approx(1 / 3)}


def test_grouped_convolutions_and_recurrent_layers_have_the_fan_in_of_a_row() -> None:
    grouped = nn.Sequential(nn.Conv2d(8, 8, 3, groups=4))
    assert scales(grouped)["0.weight"] == pytest.approx((2 * 9) ** -0.5)
    for sizes in ((16, 4), (4, 16)):  # of several weights, the longest row
        assert scales(nn.LSTM(*sizes))["bias_ih_l0"] == pytest.approx(16**-0.5)
    assert scales(nn.PReLU(3)) == {"weight": 1.0}


@pytest.mark.parametrize("spread", [{"*": 0.5, "5.*": 2.0}, {"*": 0.5, "*.?ias": 7.0, "5.*": 2.0}])
def test_of_several_spreads_the_last_that_matches_counts(spread: Mapping[str, float]) -> None:
    unit, found = scales(images()), scales(images(), spread)
    for name in unit:
        bias = 7.0 if len(spread) == 3 and name.endswith("bias") else 0.5
        assert found[name] == pytest.approx(unit[name] * (2.0 if name[0] == "5" else bias))
    turned = {"5.*": 2.0, "*": 0.5}
    assert scales(images(), turned)["5.weight"] == pytest.approx(0.5 * unit["5.weight"])


@pytest.mark.parametrize("value", [0, 0.0, -0.1, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_spread_that_is_not_positive_is_refused_with_the_reason(
    value: float, mapped: bool
) -> None:
    spread = {"*": 1.0, "0.bias": value} if mapped else value
    with pytest.raises(ArgumentError, match=r"`spread` must be positive.*would never move"):
        scales(images(), spread)


@pytest.mark.parametrize(
    "spread", [True, "0.1", None, [0.1], {}, {"*": True}, {"*": "0.1"}, {"*": None}, {3: 0.1}]
)
def test_a_spread_that_is_no_number_is_refused(spread: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="test: `spread` must"):
        scales(images(), spread)


def test_a_parameter_without_a_spread_and_a_spread_without_a_parameter_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"no number for '0.bias'; add '\*' for all others"):
        scales(images(), {"*.weight": 0.1})
    with pytest.raises(ArgumentError, match=r"has '5.wieght'.*Did you mean '5.weight'"):
        scales(images(), {"*": 0.1, "5.wieght": 0.1})
    with pytest.raises(ArgumentError, match="matches no parameter that is varied"):
        scales(images(), {"*": 0.1, "0.*": 0.1}, patterns="5.*")
