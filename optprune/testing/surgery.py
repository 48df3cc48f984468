"""Checks of surgery on a network of one's own, and of a rule for an operation of one's own."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from optprune.errors import TraceWarning
from optprune.surgery import ChannelGraph, Structure, cut, load, mask, save, trace
from optprune.surgery.calling import Inputs, at_least_two, call, map_inputs
from optprune.surgery.operation import Operation
from optprune.surgery.rules import registry
from optprune.surgery.state import dense_state
from optprune.surgery.tracing import Recorder
from optprune.surgery.verification import TOLERANCE, Verifier
from optprune.testing.conformance import ConformanceError, leaves_unchanged, require

__all__ = ["check_rule", "check_surgery", "removed_versus_zeroed"]


def removed_versus_zeroed(
    network: nn.Module, example: Inputs, graph: ChannelGraph, seed: int = 0
) -> float:
    """Remove about half the units of every group, and compare with the network that zeroes them.

    Parameters
    ----------
    network : nn.Module
        The network; it is not changed.
    example : Tensor, tuple of Tensor, or dict of str to Tensor
        What it is called with.
    graph : ChannelGraph
        Its graph.
    seed : int
        Seed of the units that are removed, and of the copy's scales and statistics.

    Returns
    -------
    float
        The largest difference of the outputs in float64, relative to the largest value of each.
        Normalisations over channels take their statistics over the kept channels in both.
    """
    verifier = Verifier(network, example, graph, seed)
    return verifier.compare(verifier.random_structure(range(graph.n_groups)))


def check_surgery(
    network: nn.Module,
    example: Inputs,
    *,
    seeds: int = 3,
    graph: ChannelGraph | None = None,
    minimum_share: float | None = None,
) -> ChannelGraph:
    """Remove channels of a network at random and check that what is left is right.

    Parameters
    ----------
    network : nn.Module
        The network; it is not changed.
    example : Tensor, tuple of Tensor, or dict of str to Tensor
        What it is called with.
    seeds : int
        How many structures are drawn. The first keeps half of every group, the others any widths.
    graph : ChannelGraph, optional
        What to check; by default the verified graph that `optprune.surgery.trace` finds.
    minimum_share : float, optional
        The least fraction of the network's MACs that must go when every group keeps one unit (of
        its parameters, if it has no MACs).

    Returns
    -------
    ChannelGraph
        The graph that was checked.

    Raises
    ------
    ConformanceError
        With the rule that was broken, the seed, and the widths.
    TraceError
        If the network cannot be traced.

    Notes
    -----
    The rules: what is removed computes what is zeroed (float64, relative difference below 1e-8);
    the smaller network trains if the dense one does, with a gradient for the same parameters; it
    has as many parameters as its costs say; saved and loaded it is the same bit for bit; the dense
    network is left as it was.
    """
    who = f"surgery on {type(network).__name__}"
    with leaves_unchanged(who, network):
        if graph is None:
            graph = trace(network, example)
        if minimum_share is not None:
            _check_share(who, graph, minimum_share)
        learned = _learned(mask(network, graph, graph.full()), example)
        for seed in range(1, seeds + 1) if graph.n_groups else ():
            generator = np.random.default_rng(seed)
            widths = (graph.widths + 1) // 2
            if seed > 1:
                widths = generator.integers(1, graph.widths + 1)
            structure = graph.structure_from_widths(widths, generator.random(graph.n_units))
            named = ", ".join(
                f"{group.name} {width} of {group.width}"
                for group, width in zip(graph.groups, widths, strict=True)
            )
            _check_structure(
                f"{who} with seed {seed} (widths: {named})",
                network,
                example,
                graph,
                structure,
                seed,
                learned,
            )
    return graph


def check_rule(
    name: str,
    network: nn.Module,
    example: Inputs,
    *,
    seeds: int = 3,
    minimum_share: float | None = None,
) -> ChannelGraph:
    """Check a rule for an operation on a small network that uses it.

    Parameters
    ----------
    name : str
        The operation's name as the rule was registered for it, without overload
        (``"aten.my_sum"``).
    network : nn.Module
        A small network with that operation, best between two layers.
    example : Tensor, tuple of Tensor, or dict of str to Tensor
        What it is called with.
    seeds : int
        How many structures are drawn.
    minimum_share : float, optional
        As for `check_surgery`.

    Returns
    -------
    ChannelGraph
        The graph as the rules have it, which no trial has corrected.

    Raises
    ------
    ConformanceError
        With what is wrong: no rule has that name; the network does not use the operation, or only
        on tensors without channels; the rule raises; it freezes all channels that the operation
        meets; or what `check_surgery` finds.
    TraceError
        If the network cannot be traced.

    Notes
    -----
    The graph is made without verification, which would freeze what a wrong rule promises, and
    hide that it is wrong.
    """
    with _watched(name) as seen, warnings.catch_warnings():
        warnings.simplefilter("ignore", TraceWarning)
        graph = trace(network, example, verify=False)
    if seen.error is not None:
        raise ConformanceError(
            f"the rule for {name} raises {type(seen.error).__name__}: {seen.error}"
        ) from seen.error
    require(
        seen.recorder is not None,
        f"{type(network).__name__} never executes {name}; the names of what a network executes are "
        "those that `torch.utils._python_dispatch.TorchDispatchMode` sees.",
    )
    require(
        bool(seen.labels),
        f"{name} only meets tensors without channels in {type(network).__name__}; put a layer "
        "before it.",
    )
    reasons = {group.reason for group in graph.frozen if group.operation == name}
    require(
        _prunable(seen, graph),
        f"the rule for {name} freezes all channels that it meets"
        + (f" ({'; '.join(sorted(reasons))})." if reasons else ", or ties them to frozen ones."),
    )
    try:
        return check_surgery(
            network, example, seeds=seeds, graph=graph, minimum_share=minimum_share
        )
    except ConformanceError as error:
        raise ConformanceError(f"the rule for {name}: {error}") from error


def _check_share(who: str, graph: ChannelGraph, minimum: float) -> None:
    """Check how much of the costs can go."""
    kind, cost = "MACs", graph.costs.macs
    if not cost.dense:
        kind, cost = "parameters", graph.costs.parameters
    share = 0.0
    if graph.n_groups:
        share = 1 - float(cost(np.ones(graph.n_groups))[0]) / cost.dense
    frozen = "; ".join(
        f"{group.name}: {group.reason} ({group.operation}, {group.line})"
        for group in graph.frozen
        if group.operation != "output"
    )
    require(
        share >= minimum,
        f"{who}: {share:.1%} of the {kind} can go, {minimum:.1%} were asked for. Frozen: {frozen}",
    )


def _check_structure(
    who: str,
    network: nn.Module,
    example: Inputs,
    graph: ChannelGraph,
    structure: Structure,
    seed: int,
    learned: frozenset[str] | None,
) -> None:
    """Check all that must hold of one smaller network."""
    verifier = Verifier(network, example, graph, seed)
    try:
        difference = verifier.compare(structure)
    except Exception as error:
        raise ConformanceError(
            f"{who}: the smaller network does not run ({type(error).__name__}: {error})"
            f"{_guilty(verifier, structure)}"
        ) from error
    if not difference < TOLERANCE:
        raise ConformanceError(
            f"{who}: removed is not zeroed, relative difference {difference:.1g}"
            f"{_guilty(verifier, structure)}"
        )
    small = cut(network, graph, structure)
    counted = sum(parameter.numel() for parameter in small.parameters())
    told = float(graph.costs.parameters(structure.widths)[0])
    require(
        counted == told,
        f"{who}: the smaller network has {counted} parameters, its costs say {told:.0f}.",
    )
    with tempfile.TemporaryDirectory() as folder:
        save(folder, small, structure, graph)
        before, after = dense_state(small), dense_state(load(folder, network=network))
    require(
        before.keys() == after.keys(),
        f"{who}: saved and loaded, the smaller network has other tensors: "
        f"{sorted(before.keys() ^ after.keys())}.",
    )
    for name, tensor in before.items():
        same = tensor.shape == after[name].shape and torch.equal(tensor, after[name].to(tensor))
        require(same, f"{who}: saved and loaded, {name!r} of the smaller network differs.")
    if learned is not None:
        try:
            found = _gradients(small, example)
        except Exception as error:
            raise ConformanceError(
                f"{who}: the smaller network does not train "
                f"({type(error).__name__}: {error}); the dense one does."
            ) from error
        require(
            found == learned,
            f"{who}: in training, {sorted(found ^ learned)} have a gradient in only one of the "
            "smaller and the dense network.",
        )


def _guilty(verifier: Verifier, structure: Structure) -> str:
    """Name the groups whose removal alone goes wrong."""
    named = []
    for group in verifier.graph.groups:
        kept = np.ones(verifier.graph.n_units, dtype=np.bool_)
        kept[group.slice] = structure.kept[group.slice]
        try:
            good = verifier.compare(verifier.graph.structure(kept)) < TOLERANCE
        except Exception:  # noqa: BLE001  (the network's own code may raise anything)
            good = False
        if not good:
            named.append(group.name)
    if not named:
        return "; each group alone is right."
    return f"; wrong when removed alone: {', '.join(named)}."


def _learned(network: nn.Module, example: Inputs) -> frozenset[str] | None:
    """Return the parameters that get a gradient; None for a network that does not train."""
    try:
        return _gradients(network, example)
    except Exception:  # noqa: BLE001  (the network's own code may raise anything)
        return None


def _gradients(network: nn.Module, example: Inputs) -> frozenset[str]:
    """Take one backward pass in training mode and return the parameters with a gradient."""
    inputs = map_inputs(torch.Tensor.clone, at_least_two(example))
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        outputs = tree_leaves(call(network.train(), inputs))
        losses = [
            leaf.square().mean()
            for leaf in outputs
            if isinstance(leaf, torch.Tensor) and leaf.requires_grad
        ]
        torch.autograd.backward(losses)
    return frozenset(
        name for name, parameter in network.named_parameters() if parameter.grad is not None
    )


@dataclass
class _Seen:
    """What a watched rule has been called with."""

    recorder: Recorder | None = None
    labels: set[int] = field(default_factory=set)
    error: Exception | None = None


@contextmanager
def _watched(name: str) -> Iterator[_Seen]:
    """Look at all calls of a rule within the ``with`` block."""
    registry._load_families()
    rule = registry._RULES.get(name)
    if rule is None:
        raise ConformanceError(
            f"no rule is registered for {name!r}; register it with "
            f"`@optprune.surgery.rules.register({name!r})`, the name without its overload."
        )
    seen = _Seen()

    def watched(recorder: Recorder, operation: Operation) -> None:
        seen.recorder = recorder
        for tensor in operation.tensors:
            for layer in recorder.layers(tensor):
                seen.labels.update(torch.unique(layer[layer > 0]).tolist())
        try:
            rule(recorder, operation)
        except Exception as error:
            seen.error = error
            raise

    registry._RULES[name] = watched
    try:
        yield seen
    finally:
        registry._RULES[name] = rule


def _prunable(seen: _Seen, graph: ChannelGraph) -> bool:
    """Tell whether any index whose label was seen can go."""
    assert seen.recorder is not None
    labels = np.array(sorted(seen.labels), dtype=np.int64)
    units = {(axis.tensor, axis.dim): axis.units for axis in graph.axes}
    for axis in seen.recorder.axes:
        known = units.get((axis.tensor, axis.dim))
        if known is not None and (known[np.isin(axis.labels, labels)] >= 0).any():
            return True
    return False
