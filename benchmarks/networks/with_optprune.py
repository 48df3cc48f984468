"""One network of the list, measured with optprune."""

from __future__ import annotations

import tempfile
import time

import numpy as np
import torch
from torch import nn

from .entry import Entry
from .journal import Journal
from .measuring import (
    BATCH,
    built,
    call,
    counted,
    measure_export,
    measure_training,
    shapes,
    tell_about_dense_export,
)

__all__ = ["measure_ours"]

SEED = 1
"""Of the removed units; verification inside `trace` has another."""

EXACT = 1e-8
"""Largest relative difference between removed and zeroed, in float64."""


def measure_ours(entry: Entry, journal: Journal, export: bool) -> None:
    """Measure a network with optprune."""
    import optprune.surgery as surgery

    network, inputs = built(entry), entry.inputs(BATCH)
    with torch.no_grad():
        expected = call(network, inputs)
    journal.write(parameters=sum(parameter.numel() for parameter in network.parameters()))
    # The first trace of a process imports parts of PyTorch: not on the account of the network.
    surgery.trace(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), torch.randn(2, 2))
    journal.phase("measure")
    graph = None
    with journal.step("traced"):
        start = time.process_time()
        graph = surgery.trace(network, inputs)
        journal.write(traced=True, seconds=time.process_time() - start)
    if graph is None:
        return
    macs = graph.costs.macs
    stays = sum(frozen.width for frozen in graph.frozen)
    journal.write(
        groups=graph.n_groups,
        frozen=len(graph.frozen),
        units=graph.n_units,
        units_share=graph.n_units / max(graph.n_units + stays, 1),
        macs=macs.dense,
        prunable_share=1 - float(macs(np.ones(graph.n_groups))[0]) / macs.dense
        if graph.n_groups and macs.dense
        else 0.0,
    )
    small = None
    with journal.step("cut"):
        if not graph.n_groups:
            raise ValueError("no group can be narrowed")
        generator = np.random.default_rng(SEED)
        kept = graph.widths - graph.widths // 2
        structure = graph.structure_from_widths(kept, generator.random(graph.n_units))
        small = surgery.cut(network, graph, structure)
        journal.write(cut=True)
    if small is None:
        return
    with journal.step("runs"), torch.no_grad():
        journal.write(runs=shapes(call(small, inputs)) == shapes(expected))
    with journal.step("macs_counted"):
        here, there = float(macs(structure.widths)[0]), counted(small, inputs)
        journal.write(
            macs_cut=here, macs_counted=there, macs_difference=abs(here - there) / max(there, 1)
        )
    with journal.step("saved"), tempfile.TemporaryDirectory() as folder, torch.no_grad():
        surgery.save(folder, small, structure, graph)
        loaded = surgery.load(folder, network=network).eval()
        pairs = zip(call(small, inputs), call(loaded, inputs), strict=True)
        journal.write(saved=all(bool(torch.equal(one, two)) for one, two in pairs))
        del loaded
    measure_training(journal, surgery.cut(network, graph, structure), entry, inputs)
    with journal.step("exact"):
        from optprune import testing

        error = testing.removed_versus_zeroed(network, inputs, graph, SEED)
        journal.write(exact=error < EXACT, exact_difference=error)
    if export:
        del network, graph
        journal.phase("export")
        measure_export(journal, small, inputs, onnx=True)
        tell_about_dense_export(journal, entry, inputs)
