"""The representative networks of the benchmarks' list: traced, cut, exact, trained, exported.

The whole list is measured by ``benchmarks/coverage.py``; these are the small ones of every kind.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._pytree import tree_map

from benchmarks.networks import ENTRIES, Entry, Inputs, find
from benchmarks.networks.journal import Journal
from benchmarks.networks.measuring import BATCH, built, call, counted, measure_export, train
from optprune.surgery import ChannelGraph, Structure, cut, load, save, trace
from optprune.surgery.verification import TOLERANCE, Verifier
from optprune.testing import removed_versus_zeroed

from .networks import Case
from .oracle import difference, normalize_kept, outputs, zeroed

REPRESENTATIVE = [entry.name for entry in ENTRIES if entry.representative]
SEED = 7
"""Of the removed units; verification inside `trace` has another."""
FLOOR = 0.5
"""Least share of a network's MACs, and of its units, that can be pruned."""
EXPORTED = (
    "own/several_heads",
    "own/gated",
    "own/unet",
    "own/gpt",
    "own/bert",
    "torchvision/resnet18",
    "torchvision/squeezenet1_1",
    "timm/test_vit4",
    "timm/starnet_s050",
)
OTHER_STATISTICS = ("timm/test_nfnet", "timm/test_vit4")
"""Networks that normalise over channels by other code than LayerNorm and GroupNorm."""
NEEDS = {
    "timm": ("timm",),
    "torchvision": ("torchvision",),
    "own/from_onnx": ("onnx", "onnxscript", "onnx2torch"),
}


@dataclass(frozen=True)
class Covered:
    """A network of the list, its graph, and how many forward passes the graph took."""

    entry: Entry
    network: nn.Module
    graph: ChannelGraph
    passes: int

    @property
    def inputs(self) -> Inputs:
        return self.entry.inputs(BATCH)

    @property
    def half(self) -> Structure:
        """About half of every group, drawn at random."""
        generator = np.random.default_rng(SEED)
        kept = self.graph.widths - self.graph.widths // 2
        return self.graph.structure_from_widths(kept, generator.random(self.graph.n_units))

    @property
    def prunable_share(self) -> float:
        """The part of the MACs that goes when every group keeps one unit."""
        macs = self.graph.costs.macs
        return 1 - float(macs(np.ones(self.graph.n_groups))[0]) / macs.dense

    @property
    def unit_share(self) -> float:
        """The part of the units that can go, of all but those that number inputs and outputs."""
        stays = sum(
            group.width
            for group in self.graph.frozen
            if group.operation not in ("output", "aten.embedding")
        )
        return self.graph.n_units / (self.graph.n_units + stays)


@contextmanager
def counting_passes() -> Iterator[list[int]]:
    """Count the outermost calls of modules: the passes through a network or its copies."""
    passes, depth = [0], [0]

    def enter(_module: nn.Module, _inputs: Any) -> None:
        passes[0] += depth[0] == 0
        depth[0] += 1

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        depth[0] -= 1

    handles = [
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(leave, always_call=True),
    ]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()


@cache
def covered(name: str) -> Covered:
    """Build and trace a network, once in a process."""
    entry = find(name)
    for package in (*NEEDS.get(entry.source, ()), *NEEDS.get(name, ())):
        pytest.importorskip(package, reason=f"{name} needs the package {package}")
    network = built(entry)
    with counting_passes() as passes:
        graph = trace(network, entry.inputs(BATCH))
    return Covered(entry, network, graph, passes[0])


@pytest.fixture(scope="session", params=REPRESENTATIVE)
def network(request: pytest.FixtureRequest) -> Covered:
    """Give every representative network, one after the other."""
    return covered(request.param)


def test_the_representative_networks_are_of_every_kind() -> None:
    assert {find(name).kind for name in REPRESENTATIVE} == {entry.kind for entry in ENTRIES}
    assert len(REPRESENTATIVE) == 25
    assert set(EXPORTED) <= set(REPRESENTATIVE)


def test_the_number_of_passes_is_bounded_by_the_number_of_groups(network: Covered) -> None:
    trials = Verifier(network.network, network.inputs, network.graph, 0).limit
    # a pass of the trace in either mode, two to prepare; a trial is at most ten and training
    assert 2 <= network.passes <= 4 + 11 * trials


def test_half_of_it_can_be_pruned(network: Covered) -> None:
    assert network.graph.n_groups > 0
    assert network.prunable_share >= FLOOR
    assert network.unit_share >= FLOOR


def test_nearly_all_of_most_networks_can_be_pruned() -> None:
    networks = [covered(name) for name in REPRESENTATIVE]
    assert statistics.median(each.prunable_share for each in networks) >= 0.95
    assert statistics.median(each.unit_share for each in networks) >= 0.95


def test_removed_equals_zeroed(network: Covered) -> None:
    error = removed_versus_zeroed(network.network, network.inputs, network.graph, SEED)
    assert error < TOLERANCE


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
def test_removed_equals_what_an_oracle_zeroes(network: Covered) -> None:
    graph, structure = network.graph, network.half
    if network.entry.name in OTHER_STATISTICS:
        assert graph.statistics
        return
    entry = network.entry
    norms = {
        name: f"{name}.weight"
        for name, module in network.network.named_modules()
        if isinstance(module, nn.LayerNorm | nn.GroupNorm) and module.weight is not None
    }
    case = Case(entry.name, entry.build, lambda _, batch: entry.inputs(batch), norms=norms)
    dense = case.network().double()
    small, reference = cut(dense, graph, structure), zeroed(dense, graph, structure)
    normalize_kept(reference, dense, graph, structure, case)
    # the fused operation of an encoder does not ask its normalisations
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        found, expected = outputs(small, network.inputs), outputs(reference, network.inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    assert difference(found, expected) < TOLERANCE


def test_the_cut_network_trains(network: Covered) -> None:
    small = cut(network.network, network.graph, network.half)
    with torch.no_grad():
        dense, cut_down = call(network.network, network.inputs), call(small, network.inputs)
    assert [output.shape for output in cut_down] == [output.shape for output in dense]
    learns = {name for name, each in network.network.named_parameters() if each.requires_grad}
    assert {name for name, each in small.named_parameters() if each.requires_grad} == learns
    train(small, network.inputs)


def test_saved_and_loaded_it_is_the_same(network: Covered, tmp_path: Path) -> None:
    small = cut(network.network, network.graph, network.half)
    save(tmp_path / "small", small, network.half, network.graph)
    again = load(tmp_path / "small", network=built(network.entry)).eval()
    state = small.state_dict()
    assert again.state_dict().keys() == state.keys()
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    with torch.no_grad():
        pairs = zip(call(small, network.inputs), call(again, network.inputs), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_macs_and_parameters_equal_a_direct_count(network: Covered) -> None:
    small, costs = cut(network.network, network.graph, network.half), network.graph.costs
    assert costs.macs(network.half.widths)[0] == counted(small, network.inputs)
    parameters = sum(parameter.numel() for parameter in small.parameters())
    assert costs.parameters(network.half.widths)[0] == parameters


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["single", "bfloat16"])
def test_it_is_the_same_network_on_a_gpu(network: Covered, precision: torch.dtype) -> None:
    moved = copy.deepcopy(network.network).to("cuda", precision)
    inputs = tree_map(
        lambda x: x.to("cuda", precision if x.is_floating_point() else None), network.inputs
    )
    graph = trace(moved, inputs)
    assert graph.digest == network.graph.digest
    assert graph.costs.macs(network.half.widths) == network.graph.costs.macs(network.half.widths)
    assert removed_versus_zeroed(moved, inputs, graph, SEED) < TOLERANCE
    small = cut(moved, graph, network.half)
    with torch.no_grad():
        dense, cut_down = call(moved, inputs), call(small, inputs)
    assert [output.shape for output in cut_down] == [output.shape for output in dense]
    assert all(output.is_cuda for output in cut_down)
    train(small, inputs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EXPORTED)
def test_the_cut_network_is_exported(name: str, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"exporting needs the package {package}")
    network = covered(name)
    journal = Journal(tmp_path / "row.jsonl")
    journal.write(exported=None, onnx=None)
    small = cut(network.network, network.graph, network.half).eval()
    measure_export(journal, small, network.inputs, onnx=True)
    assert journal.row["errors"] == {}
    assert journal.row["exported"], journal.row["export_difference"]
    assert journal.row["onnx"], journal.row["onnx_difference"]
