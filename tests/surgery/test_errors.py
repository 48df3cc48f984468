"""Bad input to surgery gets an error of ours that says what to do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optprune.errors import GraphMismatchError, OptpruneError, TraceError, UnknownGroupError
from optprune.surgery import Slicer, cut, mask, trace

from .conftest import traced_case
from .networks import find
from .networks.layers import chain, conv


class Failing(nn.Module):
    """Fails in forward, in the user's own code."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("my own mistake")


class Returning(nn.Module):
    """Returns something without any tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 8)

    def forward(self, x: torch.Tensor) -> str:
        return str(self.conv(x).shape)


def test_a_network_that_fails_on_the_example_is_named_with_its_reason() -> None:
    network = find("plain").network()
    with pytest.raises(TraceError, match="example") as caught:
        trace(network, torch.randn(2, 4, 8, 8))
    assert "channels" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_the_users_own_exception_is_the_cause() -> None:
    with pytest.raises(TraceError, match="my own mistake") as caught:
        trace(Failing(), torch.randn(2, 3, 8, 8))
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_network_is_as_before_after_a_failed_trace() -> None:
    network = find("plain").network().train()
    with pytest.raises(TraceError):
        trace(network, torch.randn(2, 4, 8, 8))
    assert network.training
    assert network(torch.randn(4, 3, 8, 8)).shape == (4, 5)


def test_an_output_without_tensors_is_refused() -> None:
    with pytest.raises(OptpruneError, match=r"output|return"):
        trace(Returning(), torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize(
    "example", [None, [torch.zeros(2, 3, 8, 8)], (), {}, "image", (torch.zeros(2, 3, 8, 8), 3)]
)
def test_an_example_that_is_no_input_is_refused(example: object) -> None:
    with pytest.raises(OptpruneError, match=r"input|example"):
        trace(find("plain").network(), example)  # type: ignore[arg-type]


def test_an_example_without_samples_is_refused() -> None:
    with pytest.raises(OptpruneError, match=r"example|sample"):
        trace(find("plain").network(), torch.randn(0, 3, 8, 8))


def test_an_example_on_another_device_is_refused() -> None:
    with pytest.raises(OptpruneError, match="meta"):
        trace(find("plain").network(), torch.randn(2, 3, 8, 8, device="meta"))


def test_something_that_is_no_network_is_refused() -> None:
    with pytest.raises(OptpruneError, match="network"):
        trace(lambda x: x, torch.randn(2, 3))  # type: ignore[arg-type, return-value]


def test_a_network_without_parameters_has_no_group() -> None:
    graph = trace(chain(relu=nn.ReLU(), flatten=nn.Flatten()), torch.randn(2, 3, 4))
    assert graph.n_groups == 0


def test_a_structure_of_another_graph_is_refused_everywhere() -> None:
    plain, other = traced_case("plain"), traced_case("unet")
    structure = other.graph.full()
    with pytest.raises(GraphMismatchError, match="graph"):
        cut(plain.network, plain.graph, structure)
    with pytest.raises(GraphMismatchError, match="graph"):
        mask(plain.network, plain.graph, structure)
    with pytest.raises(GraphMismatchError, match="graph"):
        Slicer(plain.network, plain.graph).take(structure)


def test_a_graph_of_another_network_is_refused() -> None:
    plain, other = traced_case("plain"), traced_case("unet")
    for surgery in (cut, mask):
        with pytest.raises(GraphMismatchError, match="network"):
            surgery(plain.network, other.graph, other.graph.full())
    with pytest.raises(GraphMismatchError, match="network"):
        Slicer(plain.network, other.graph)


def test_a_state_of_another_network_is_refused() -> None:
    plain, other = traced_case("plain"), traced_case("unet")
    slicer = Slicer(plain.network, plain.graph)
    with pytest.raises(GraphMismatchError, match="state"):
        slicer.take(plain.graph.full(), other.network.state_dict())


def test_tensors_of_another_structure_are_refused() -> None:
    plain = traced_case("plain")
    slicer = Slicer(plain.network, plain.graph)
    taken = slicer.take(plain.graph.full())
    structure = plain.graph.structure_from_widths([1] * plain.graph.n_groups)
    with pytest.raises(GraphMismatchError, match=r"structure|shape"):
        slicer.load(structure, taken)
    slicer.load(plain.graph.full(), taken)
    with pytest.raises(GraphMismatchError, match=r"structure|shape"):
        slicer.load(structure, taken)


def test_an_unknown_group_suggests_the_nearest() -> None:
    graph = traced_case("residual_identity").graph
    name = graph.groups[0].name
    wrong = name[:-1] + name[-1] * 2
    for ask in (graph.group, graph.match):
        with pytest.raises(UnknownGroupError, match=f"Did you mean '{name}'"):
            ask(wrong)


def test_asking_for_a_frozen_group_tells_why_it_is_frozen() -> None:
    traced = traced_case("mean_over_channels")
    frozen = next(group for group in traced.graph.frozen if "mean" in group.operation)
    for ask in (traced.graph.group, traced.graph.match):
        with pytest.raises(UnknownGroupError, match="frozen"):
            ask(frozen.name)
    with pytest.raises(UnknownGroupError, match="frozen"):
        traced.graph.match("stem.weight")
