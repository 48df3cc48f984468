"""Costs from the polynomials equal direct counts on the network that was cut."""

from __future__ import annotations

import copy
import pickle
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from optprune.errors import ArgumentError
from optprune.surgery import cut, trace
from optprune.surgery.calling import Inputs, batch_size, call, map_inputs

from .conftest import Traced, traced_case
from .oracle import random_structure

HOW = ("half", "widths", "few", "one group")


@pytest.fixture(autouse=True)
def _no_fused_attention() -> Any:
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    # torch counts nothing of attention that is fused for the processor
    with sdpa_kernel(SDPBackend.MATH):
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


class FamilyCounter(TorchDispatchMode):
    """Counts MACs by family; autograd tells which operands depend on the input."""

    def __init__(self) -> None:
        super().__init__()
        self.macs: dict[str, float] = defaultdict(float)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        formula = flop_registry.get(function.overloadpacket)
        if formula is not None:
            operands = [argument for argument in args if isinstance(argument, torch.Tensor)]
            two = all(operand.requires_grad for operand in operands[-2:])
            family = "attention" if two else "linear"
            if function.overloadpacket is torch.ops.aten.convolution:
                family = "convolution"
            if any(operand.requires_grad for operand in operands):
                self.macs[family] += formula(*args, **(kwargs or {}), out_val=result) / 2
        return result


def macs_by_family(network: nn.Module, inputs: Inputs) -> dict[str, float]:
    """Count the MACs of one sample whose operands depend on the input, by family."""
    network = copy.deepcopy(network).requires_grad_(False)
    inputs = map_inputs(lambda tensor: tensor.clone().requires_grad_(), inputs)
    with FamilyCounter() as counter:
        call(network, inputs)
    return {family: macs / batch_size(inputs) for family, macs in counter.macs.items()}


class SmallAttention(nn.Module):
    """One head of attention written out, between two linear layers and after a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv1d(3, 8, 4, stride=4)
        self.query, self.key = nn.Linear(8, 6), nn.Linear(8, 6)
        self.value, self.head = nn.Linear(8, 10), nn.Linear(10, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).transpose(1, 2)
        scores = self.query(tokens) @ self.key(tokens).transpose(1, 2)
        return self.head(scores.relu() @ self.value(tokens))


def test_macs_by_family_equal_a_direct_count(small: Traced) -> None:
    if small.case.name == "recurrent":
        pytest.skip("the fused recurrence is not counted by torch")
    if not all(t.is_floating_point() for t in tree_leaves(small.case.example())):
        pytest.skip("autograd does not follow indices")
    costs = small.graph.costs
    for seed, how in enumerate(HOW):
        structure = random_structure(small.graph, seed, how)
        network = cut(small.network, small.graph, structure)
        expected = macs_by_family(network, small.case.example())
        for family, polynomial in costs.families.items():
            assert polynomial(structure.widths)[0] == expected.get(family, 0), family


def test_families_add_up_to_all_macs(traced: Traced) -> None:
    costs = traced.graph.costs
    assert list(costs.families) == ["convolution", "linear", "attention"]
    generator = np.random.default_rng(0)
    population = generator.integers(1, traced.graph.widths + 1, (5, traced.graph.n_groups))
    families = sum(polynomial(population) for polynomial in costs.families.values())
    assert np.array_equal(families, costs.macs(population))
    assert {polynomial.unit for polynomial in costs.families.values()} == {costs.macs.unit}


def test_families_equal_torchs_count_of_their_operations(traced: Traced) -> None:
    if traced.case.name == "recurrent":
        pytest.skip("the fused recurrence is not counted by torch")
    structure = random_structure(traced.graph, 0, "half")
    network, inputs = cut(traced.network, traced.graph, structure), traced.case.example()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call(network, inputs)
    counts = dict(counter.get_flop_counts()["Global"])
    convolution = counts.pop(torch.ops.aten.convolution, 0) / 2 / batch_size(inputs)
    products = sum(counts.values()) / 2 / batch_size(inputs)
    found = {f: p(structure.widths)[0] for f, p in traced.graph.costs.families.items()}
    assert found["convolution"] == convolution
    assert found["linear"] + found["attention"] == products


def test_attention_is_what_multiplies_two_activations() -> None:
    network, x = SmallAttention().eval(), torch.randn(2, 3, 20)
    graph = trace(network, x)
    structure = random_structure(graph, 0, "half")
    small = cut(network, graph, structure)
    n_tokens, n_features = 5, small.patches.out_channels
    n_inner, n_values = small.query.out_features, small.value.out_features
    assert n_features < 8
    assert n_values < 10
    families = {f: p(structure.widths)[0] for f, p in graph.costs.families.items()}
    assert families == {
        "convolution": n_tokens * n_features * 3 * 4,
        "linear": n_tokens * (n_features * (2 * n_inner + n_values) + n_values * 5),
        "attention": n_tokens * n_tokens * (n_inner + n_values),
    }
    assert families == macs_by_family(small, x)


def test_costs_come_through_pickling() -> None:
    graph = traced_case("residual_projection").graph
    again = pickle.loads(pickle.dumps(graph))
    assert again.digest == graph.digest
    for family, polynomial in graph.costs.families.items():
        assert again.costs.families[family].dense == polynomial.dense
    assert again.costs.macs.dense == graph.costs.macs.dense > 0


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
