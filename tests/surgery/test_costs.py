"""Costs from the polynomials equal direct counts on the network that was cut."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from optprune.errors import ArgumentError
from optprune.surgery import cut
from optprune.surgery.calling import Inputs, batch_size, call

from .conftest import Traced, traced_case
from .oracle import random_structure

HOW = ("half", "widths", "few", "one group")


@pytest.fixture(autouse=True)
def _no_fused_attention() -> Any:
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(enabled)


def counted_macs(network: nn.Module, inputs: Inputs) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call(network, inputs)
    return counter.get_total_flops() / 2 / batch_size(inputs)


class ByteCounter(TorchDispatchMode):
    """Adds up the bytes of every result that has memory of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        memory = {t.untyped_storage().data_ptr() for t in given}
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.numel():
                pointer = tensor.untyped_storage().data_ptr()
                if pointer not in memory:
                    memory.add(pointer)
                    self.bytes += tensor.numel() * tensor.element_size()
        return result


def test_macs_equal_a_direct_count(traced: Traced) -> None:
    if traced.case.name == "recurrent":
        pytest.skip("the fused recurrence is not counted by torch")
    for seed, how in enumerate(HOW[: 2 if traced.graph.n_units > 500 else 4]):
        structure = random_structure(traced.graph, seed, how)
        small = cut(traced.network, traced.graph, structure)
        expected = counted_macs(small, traced.case.example())
        assert traced.graph.costs.macs(structure.widths)[0] == expected
    assert traced.graph.costs.macs.dense == counted_macs(traced.network, traced.case.example())


def test_parameters_equal_a_direct_count(traced: Traced) -> None:
    for seed, how in enumerate(HOW):
        structure = random_structure(traced.graph, seed, how)
        small = cut(traced.network, traced.graph, structure)
        expected = sum(parameter.numel() for parameter in small.parameters())
        assert traced.graph.costs.parameters(structure.widths)[0] == expected
    dense = sum(parameter.numel() for parameter in traced.network.parameters())
    assert traced.graph.costs.parameters.dense == dense


@pytest.mark.parametrize(
    "name",
    ["plain", "perceptron", "residual_identity", "dense_block", "depthwise", "excite_conv", "unet"],
)
def test_activation_bytes_equal_what_forward_allocates(name: str) -> None:
    traced = traced_case(name)
    for seed, how in enumerate(HOW):
        structure = random_structure(traced.graph, seed, how)
        small = cut(traced.network, traced.graph, structure)
        inputs = traced.case.example()
        with torch.no_grad(), ByteCounter() as counter:
            call(small, inputs)
        found = traced.graph.costs.activation_bytes(structure.widths)[0]
        assert found == counter.bytes / batch_size(inputs)


@pytest.mark.parametrize("kind", ["macs", "parameters", "activation_bytes"])
def test_a_population_costs_what_its_members_cost(traced: Traced, kind: str) -> None:
    cost = getattr(traced.graph.costs, kind)
    generator = np.random.default_rng(0)
    population = generator.integers(1, traced.graph.widths + 1, (5, traced.graph.n_groups))
    values = cost(population)
    assert values.shape == (5,)
    assert np.array_equal(values, [cost(widths)[0] for widths in population])
    assert cost.dense == cost(traced.graph.widths)[0] > 0


@pytest.mark.parametrize("kind", ["macs", "parameters", "activation_bytes"])
def test_costs_grow_with_every_width(traced: Traced, kind: str) -> None:
    cost = getattr(traced.graph.costs, kind)
    widths = np.array(random_structure(traced.graph, 3, "widths").widths)
    more = np.minimum(widths + np.eye(traced.graph.n_groups, dtype=int), traced.graph.widths)
    assert (cost(more) >= cost(widths)).all()
    assert (cost(more) <= cost.dense).all()


@pytest.mark.parametrize("kind", ["macs", "parameters", "activation_bytes"])
def test_monomials_are_the_same_polynomial(small: Traced, kind: str) -> None:
    cost = getattr(small.graph.costs, kind)
    coefficients, exponents = cost.monomials()
    assert (coefficients > 0).all()
    for seed in range(3):
        widths = np.asarray(random_structure(small.graph, seed, "widths").widths, dtype=float)
        value = float((coefficients * np.prod(widths**exponents, axis=1)).sum())
        assert np.isclose(value, cost(widths)[0], rtol=1e-12)


def test_costs_do_not_depend_on_which_units_stay() -> None:
    traced = traced_case("residual_projection")
    widths = np.maximum(traced.graph.widths // 2, 1)
    generator = np.random.default_rng(1)
    counts = set()
    for _ in range(3):
        structure = traced.graph.structure_from_widths(
            widths, generator.random(traced.graph.n_units)
        )
        small = cut(copy.deepcopy(traced.network), traced.graph, structure)
        counts.add(sum(p.numel() for p in small.parameters()))
    assert counts == {int(traced.graph.costs.parameters(widths)[0])}


def test_widths_of_another_shape_are_refused() -> None:
    graph = traced_case("plain").graph
    with pytest.raises(ArgumentError, match="widths"):
        graph.costs.macs(np.ones((2, graph.n_groups + 1)))
