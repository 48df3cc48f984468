"""What is found: which channels hang together, what is frozen and why."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from optprune.errors import UnknownGroupError
from optprune.surgery import ChannelGraph, trace

from .conftest import Traced, traced_case
from .networks import find
from .oracle import size_of, split_name, state_of, units_of


def units(traced: Traced, dimension: str) -> np.ndarray:
    return units_of(traced.graph, dimension, size_of(traced.network, dimension))


def test_what_can_be_narrowed_is_found(traced: Traced) -> None:
    expected = list(traced.case.prunable)
    if traced.case.every_layer_but is not None:
        expected += [
            f"{name}.weight"
            for name, module in traced.network.named_modules()
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
            and name not in traced.case.every_layer_but
        ]
    missing = [dimension for dimension in expected if (units(traced, dimension) < 0).any()]
    assert not missing, [(g.name, g.reason, g.operation, g.line) for g in traced.graph.frozen]


def test_what_cannot_be_narrowed_is_frozen_and_explained(traced: Traced) -> None:
    for dimension, word in traced.case.frozen.items():
        assert (units(traced, dimension) < 0).all(), f"{dimension} is prunable"
        tensor, dim = split_name(dimension)
        explanations = [
            f"{group.reason} {group.operation} {group.line}"
            for group in traced.graph.frozen
            if any((m.tensor, m.dim) == (tensor, dim) for m in group.members)
        ]
        assert explanations, f"nothing is said about {dimension}"
        assert any(word in text for text in explanations), explanations
    for dimension in traced.case.partly:
        assert len({bool(unit < 0) for unit in units(traced, dimension)}) == 2, dimension


def test_nothing_is_silently_unprunable(traced: Traced) -> None:
    spoken = {
        (member.tensor, member.dim)
        for group in (*traced.graph.groups, *traced.graph.frozen)
        for member in group.members
    }
    first = dict(traced.graph.aliases)
    for name, module in traced.network.named_modules():
        if name and isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            if "parametrizations" in module._modules:
                continue
            tensor = first.get(f"{name}.weight", f"{name}.weight")
            assert (tensor, 0) in spoken, name
    for group in traced.graph.frozen:
        assert group.reason, group
        assert group.operation, group
        assert group.width > 0, group


def test_frozen_groups_name_the_line_of_the_code() -> None:
    for name, text in {
        "mean_over_channels": "x.mean(1, keepdim=True)",
        "softmax": "torch.softmax(x, 1)",
        "cumsum": "torch.cumsum(x, 1)",
        "deviation": "x.std(1, keepdim=True)",
    }.items():
        lines = [group.line for group in traced_case(name).graph.frozen]
        assert any(text in line and ".py:" in line for line in lines), lines


def test_coupled_channels_leave_together(traced: Traced) -> None:
    for first, second in traced.case.coupled:
        assert np.array_equal(units(traced, first), units(traced, second)), (first, second)
        assert (units(traced, first) >= 0).any()


def test_the_graph_is_consistent(traced: Traced) -> None:
    graph = traced.graph
    assert graph.n_groups == len(graph.groups) == len(graph.widths)
    assert graph.n_groups > 0 or not traced.case.n_groups_expected
    assert graph.n_units == int(graph.widths.sum()) == graph.offsets[-1]
    assert len({group.name for group in (*graph.groups, *graph.frozen)}) == (
        graph.n_groups + len(graph.frozen)
    )
    state = state_of(traced.network)
    seen = np.zeros(graph.n_units, dtype=int)
    keys = [(axis.tensor, axis.dim) for axis in graph.axes]
    assert len(set(keys)) == len(keys)
    for axis in graph.axes:
        assert state[axis.tensor].shape[axis.dim] == axis.size == len(axis.units)
        assert axis.units.min() >= -1
        assert axis.units.max() < graph.n_units
        seen[axis.units[axis.units >= 0]] += 1
    assert (seen > 0).all(), "a unit without any index"
    by_key = {(axis.tensor, axis.dim): axis for axis in graph.axes}
    for index, group in enumerate(graph.groups):
        assert group.index == index
        assert (group.start, group.stop) == tuple(graph.offsets[index : index + 2])
        assert group.slice == slice(group.start, group.stop)
        assert group.width == graph.widths[index] == group.stop - group.start > 0
        assert graph.group(group.name) is group
        assert "out" in {m.role for m in group.members} or group.name.endswith("(inputs)")
        for member in group.members:
            inside = by_key[member.tensor, member.dim].units
            inside = inside[(inside >= group.start) & (inside < group.stop)]
            counts = np.bincount(inside - group.start, minlength=group.width)
            assert (counts == member.per_unit).all(), (group.name, member)


def test_a_group_of_one_unit_is_not_offered(traced: Traced) -> None:
    assert (traced.graph.widths > 1).all()


class WithoutTorch(pickle.Unpickler):
    """Reads pickles that hold nothing of torch."""

    def find_class(self, module: str, name: str) -> object:
        assert module.partition(".")[0] != "torch", f"{module}.{name}"
        return super().find_class(module, name)


def test_the_graph_pickles_and_holds_no_tensor(traced: Traced) -> None:
    text = pickle.dumps(traced.graph)
    copy = WithoutTorch(io.BytesIO(text)).load()
    assert isinstance(copy, ChannelGraph)
    assert copy.digest == traced.graph.digest
    assert copy.groups == traced.graph.groups
    assert np.array_equal(copy.costs.macs(copy.widths), traced.graph.costs.macs(copy.widths))


def test_the_graph_does_not_depend_on_the_weights(small: Traced) -> None:
    other = trace(small.case.network(seed=1), small.case.example(seed=5))
    assert other.digest == small.graph.digest
    assert [g.name for g in other.groups] == [g.name for g in small.graph.groups]


def test_the_graph_does_not_depend_on_the_batch_size(small: Traced) -> None:
    for batch in (1, 3):
        other = trace(small.network, small.case.example(batch=batch))
        assert other.digest == small.graph.digest
        assert other.costs.macs.dense == small.graph.costs.macs.dense


def test_tracing_keeps_modes_and_leaves_nothing_behind(small: Traced) -> None:
    network = small.case.network().train()
    next(network.children(), network).eval()
    modes = [module.training for module in network.modules()]
    random_state = torch.random.get_rng_state()
    graph = trace(network, small.case.example())
    assert graph.digest == small.graph.digest
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), random_state)
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_digest_does_not_depend_on_hash_order() -> None:
    names = ("residual_padding", "dense_block", "split_literal", "bare")
    program = (
        "from tests.surgery.conftest import traced_case\n"
        "from tests.surgery.oracle import random_structure\n"
        f"for name in {names!r}:\n"
        "    graph = traced_case(name).graph\n"
        "    print(graph.digest, random_structure(graph, 0).digest)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (process.communicate()[0] for process in processes)
    assert len(first.split()) == 2 * len(names)
    assert first == second


def test_groups_can_be_frozen_by_name_and_by_pattern() -> None:
    case = find("plain")
    network = case.network()
    graph = trace(network, case.example(), frozen=["conv1"])
    assert [group.name for group in graph.groups] == ["conv2"]
    assert any(group.name == "conv1" and group.reason for group in graph.frozen)
    assert trace(network, case.example(), frozen=["conv*"]).n_groups == 0
    with pytest.raises(UnknownGroupError, match="conv1"):
        trace(network, case.example(), frozen=["covn1"])


def test_patterns_match_names_and_member_tensors() -> None:
    graph = traced_case("plain").graph
    assert [g.name for g in graph.match("conv1")] == ["conv1"]
    assert [g.name for g in graph.match("conv*")] == ["conv1", "conv2"]
    assert [g.name for g in graph.match("norm2.*")] == ["conv2"]


def test_explain_has_a_row_for_every_group(traced: Traced) -> None:
    table = traced.graph.explain()
    assert len(table) == traced.graph.n_groups + len(traced.graph.frozen)
    assert list(table["frozen"]) == [False] * traced.graph.n_groups + [True] * len(
        traced.graph.frozen
    )
    shares = table[["macs_share", "parameters_share"]].to_numpy(float)
    assert ((shares >= 0) & (shares <= 1))[: traced.graph.n_groups].all()


def test_a_network_without_any_group_is_traced_and_explained() -> None:
    traced = traced_case("no_group")
    assert traced.graph.n_groups == 0
    assert traced.graph.frozen
    assert traced.graph.full().kept.shape == (0,)
