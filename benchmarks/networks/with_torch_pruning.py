"""One network of the list, measured with Torch-Pruning.

It is called as its own examples call it: layers with the outputs ignored, heads of attention named,
fused attention off; ``num_heads``, ``head_dim`` and ``hidden_dim`` are put right after. The code of
the networks stays as it is (its example for timm's ViT replaces the attention's ``forward``).
"""

from __future__ import annotations

import fnmatch
import time
from typing import Any

import torch
from torch import nn

from .entry import CLASSES, Entry, Inputs
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

__all__ = ["measure_peer"]


class _OneUnit(dict[str, int]):
    """Makes Torch-Pruning's pruner keep one channel of every group, at a ratio of one half."""

    def __contains__(self, _: object) -> bool:
        return True

    def __missing__(self, _: str) -> int:
        return 2


def pruner_of(entry: Entry, network: nn.Module, inputs: Inputs) -> tuple[Any, dict[nn.Module, int]]:
    """Build the dependency graph and the pruner, and return it with the heads of attention."""
    import torch_pruning

    ignored, heads, groups_of = [], {}, {}
    for name, module in network.named_modules():
        outputs = getattr(module, "out_features", getattr(module, "out_channels", None))
        if outputs == CLASSES or any(fnmatch.fnmatch(name, head) for head in entry.heads):
            ignored.append(module)
        if isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear):
            ignored.append(module)
        if isinstance(module, nn.MultiheadAttention):
            groups_of[module] = module.num_heads
        for projection in _projections(module):
            heads[projection] = module.num_heads
    pruner = torch_pruning.pruner.MagnitudePruner(
        network,
        # One tensor may stand alone; a tuple would be taken for a list of arguments as well.
        list(inputs) if isinstance(inputs, tuple) else inputs,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        global_pruning=False,
        ignored_layers=ignored,
        num_heads=heads,
        in_channel_groups={},
        out_channel_groups=groups_of,
    )
    return pruner, heads


def prune(
    network: nn.Module, pruner: Any, heads: dict[nn.Module, int], furthest: bool = False
) -> int:
    """Prune a network in place, and return the number of groups.

    Parameters
    ----------
    furthest : bool
        Keep one channel of every group instead of half of them.
    """
    if furthest:
        pruner._scope_initial_channels = _OneUnit()
    groups = 0
    for group in pruner.step(interactive=True):
        group.prune()
        groups += 1
    for module in network.modules():
        for projection in _projections(module):
            module.num_heads = heads[projection]
            if hasattr(module, "head_dim"):
                module.head_dim = projection.out_features // (3 * module.num_heads)
        if hasattr(module, "hidden_dim") and hasattr(module, "conv_proj"):
            module.hidden_dim = module.conv_proj.out_channels
    return groups


def _projections(module: nn.Module) -> list[nn.Linear]:
    """Return the joint projection of queries, keys and values of an attention, if it has one."""
    found = getattr(module, "qkv", getattr(module, "qkv_proj", None))
    return [found] if hasattr(module, "num_heads") and isinstance(found, nn.Linear) else []


def measure_peer(entry: Entry, journal: Journal, export: bool) -> None:
    """Measure a network with Torch-Pruning."""
    import torch_pruning

    network, inputs = built(entry), entry.inputs(BATCH)
    with torch.no_grad():
        expected = call(network, inputs)
    dense = counted(network, inputs)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    del network
    small = built(entry)
    journal.write(parameters=parameters, macs=dense, exact=None)
    torch_pruning.DependencyGraph().build_dependency(nn.Linear(2, 2), torch.randn(2, 2))
    journal.phase("measure")
    with journal.step("traced"):
        start = time.process_time()
        pruner, heads = pruner_of(entry, small, inputs)
        journal.write(traced=True, seconds=time.process_time() - start)
    if not journal.row["traced"]:
        return
    with journal.step("cut"):
        groups = prune(small, pruner, heads)
        journal.write(seconds=time.process_time() - start, groups=groups)
        left = sum(parameter.numel() for parameter in small.parameters())
        if left >= parameters:
            raise ValueError("nothing was removed")
        journal.write(cut=True)
    if not journal.row["cut"]:
        return
    share = 0.0
    with journal.step("runs"), torch.no_grad():
        journal.write(runs=shapes(call(small, inputs)) == shapes(expected))
    if journal.row["runs"]:
        with journal.step("macs_counted"):
            journal.write(macs_cut=counted(small, inputs))
            share = 1 - journal.row["macs_cut"] / dense
    journal.write(prunable_share=share)
    measure_training(journal, small, entry, inputs)
    with journal.step("furthest"):
        furthest = built(entry)
        prune(furthest, *pruner_of(entry, furthest, inputs), furthest=True)
        with torch.no_grad():
            if shapes(call(furthest, inputs)) == shapes(expected):
                journal.write(prunable_share=max(share, 1 - counted(furthest, inputs) / dense))
        del furthest
    if export and journal.row["runs"]:
        journal.phase("export")
        measure_export(journal, small, inputs, onnx=False)
        tell_about_dense_export(journal, entry, inputs)
