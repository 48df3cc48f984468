"""`trace`: from a network and an example to its channel graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils._pytree import tree_flatten

from optprune.errors import ArgumentError, ArgumentTypeError, TraceError
from optprune.surgery.admission import admit
from optprune.surgery.caches import emptied, filled
from optprune.surgery.calling import Inputs, at_least_two, batch_size, input_tensors, map_inputs
from optprune.surgery.components import build
from optprune.surgery.graph import ChannelGraph
from optprune.surgery.labels import Reason
from optprune.surgery.recording import record, record_training
from optprune.surgery.state import Slot, dense_state, slots
from optprune.surgery.surroundings import keeping_generators, plain_settings, untouched
from optprune.surgery.tracing import Recorder
from optprune.surgery.verification import WHOLE_PASS, Verifier

__all__ = ["trace"]


@keeping_generators()
@plain_settings()
def trace(
    network: nn.Module,
    example: Inputs,
    *,
    verify: bool = True,
    seed: int = 0,
    frozen: Sequence[str] = (),
    tied: Sequence[Sequence[str]] = (),
) -> ChannelGraph:
    """Find which channels of a network hang together.

    One forward pass runs under a dispatch mode that carries a label for every index of every
    parameter dimension; what meets in an operation is tied, connected components are the units
    that can be removed. With `verify`, about half of all channels is then removed and compared
    with zeroing them; what disagrees is frozen with the reason.

    Parameters
    ----------
    network : nn.Module
        Any network that runs on the example, in any mode and precision. It is not changed.
    example : Tensor, tuple of Tensor, or dict of str to Tensor
        What the network is called with: ``network(x)``, ``network(*xs)``, ``network(**xs)``. The
        first dimension is the batch; the values do not matter.
    verify : bool
        Prove on the network that removed equals zeroed (float64, relative difference below
        1e-8), also that it runs in training mode. Costs a few more passes and two copies.
    seed : int
        Seed of the verification.
    frozen : sequence of str
        Names or patterns of groups that must stay whole.
    tied : sequence of sequences of str
        Names or patterns of groups that become one: the first unit of each leaves with the first
        units of the others, and so on. All groups that one entry matches must be of one width.

    Returns
    -------
    ChannelGraph

    Raises
    ------
    ArgumentTypeError
        If an argument is of the wrong type.
    ArgumentError
        If the example is on another device than the network, or groups to be tied differ in width.
    UnknownGroupError
        If a name in `frozen` or `tied` matches no group.
    TraceError
        If the network fails on the example, cannot be copied, is not a plain one (wrapped,
        compiled, scripted, sharded, quantized), or has parameters without values.

    Notes
    -----
    Sound by default: an operation that optprune does not know freezes the channels that it
    touches. `ChannelGraph.explain` lists all that is frozen, with operation and line of code.
    """
    admit(network)
    _check_device(network, example)
    # the network may write into its inputs, and those of inference mode are handled differently
    example = map_inputs(torch.Tensor.clone, example)
    with untouched(network):
        recorder, failure, caches = _record(network, example)
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in dense_state(network).items())
    aliases = [(full, slot.tensor) for full, slot in _named_slots(network) if full != slot.tensor]
    stays = _unused(recorder, network, failure)
    graph, units = build(recorder, shapes, aliases, caches, stays)
    if tied:
        for names in tied:
            _tie(recorder, graph, units, names)
        graph, units = build(recorder, shapes, aliases, caches, stays)
    if frozen:
        reason = Reason("the caller wants it whole", "frozen", "the argument frozen of trace")
        chosen = {group.index for pattern in frozen for group in graph.match(pattern)}
        stays += [(_labels(units, graph, index), reason) for index in sorted(chosen)]
        graph, units = build(recorder, shapes, aliases, caches, stays)
    if verify and graph.n_groups:
        with torch.device("cpu"):  # whatever the default device is
            guilty = Verifier(network, example, graph, seed).guilty()
        if guilty:
            for index, reason in guilty:
                labels = _labels(units, graph, index)
                stays.append((labels, _located(reason, recorder, labels)))
            graph, units = build(recorder, shapes, aliases, caches, stays)
    return graph


def _record(
    network: nn.Module, example: Inputs
) -> tuple[Recorder, Exception | None, tuple[str, ...]]:
    """Record a pass in evaluation mode and, for what it leaves unused, one in training mode.

    Returns also what the pass in training mode raised, and where the network keeps tensors from
    one pass to the next.
    """
    caches: tuple[str, ...] = ()
    try:
        try:
            with emptied(network):
                recorder, output = record(network, example)
                caches = filled(network)
        except KeyError:
            # a dict of tensors that the network needs, and does not fill by itself
            recorder, output = record(network, example)
    except Exception as error:
        shapes = [tuple(tensor.shape) for tensor in input_tensors(example)]
        raise TraceError(
            f"the network fails on the example inputs (shapes {shapes}): "
            f"{type(error).__name__}: {error}. Call the network on the example yourself, and "
            "hand over inputs that it accepts."
        ) from error
    if not any(isinstance(leaf, torch.Tensor) for leaf in tree_flatten(output)[0]):
        raise TraceError(
            f"the network returns no tensor but a {type(output).__name__}; return the tensors that "
            "must stay exact, or wrap the network in one that does."
        )
    failure = None
    if recorder.unused(network):
        failure = record_training(recorder, network, at_least_two(example))
    return recorder, failure, caches


def _tie(
    recorder: Recorder, graph: ChannelGraph, units: npt.NDArray[np.int32], names: Sequence[str]
) -> None:
    """Tie groups, unit by unit."""
    if isinstance(names, str):
        raise ArgumentTypeError(f"tied must hold sequences of names, got {names!r}; write [[…]].")
    chosen = {group.index: group for name in names for group in graph.match(name)}
    groups = [chosen[index] for index in sorted(chosen)]
    if len({group.width for group in groups}) > 1:
        widths = ", ".join(f"{group.name!r} has {group.width}" for group in groups)
        raise ArgumentError(f"tied: groups that become one need as many units each, but {widths}.")
    found, first = np.unique(units, return_index=True)
    label = dict(zip(found.tolist(), first.tolist(), strict=True))
    heads = np.array([label[unit] for unit in range(groups[0].start, groups[0].stop)])
    for group in groups[1:]:
        others = np.array([label[unit] for unit in range(group.start, group.stop)])
        recorder.ledger.ties.append((heads, others))


def _check_device(network: nn.Module, example: Inputs) -> None:
    """Raise unless network and example are on the same device."""
    batch_size(example)
    devices = {tensor.device for tensor in (*network.parameters(), *network.buffers())}
    for tensor in input_tensors(example):
        if devices and tensor.device not in devices:
            raise ArgumentError(
                f"example is on device {tensor.device}, the network on "
                f"{', '.join(sorted(map(str, devices)))}; move one with .to(device)."
            )


def _named_slots(network: nn.Module) -> list[tuple[str, Slot]]:
    """List every place of a tensor with its full name."""
    return [(f"{s.module}.{s.name}" if s.module else s.name, s) for s in slots(network)]


def _located(reason: Reason, recorder: Recorder, labels: npt.NDArray[np.int64]) -> Reason:
    """Point a disagreement to the operation where the network's code had to follow."""
    if reason.line != WHOLE_PASS:
        return reason
    for assumed, where in recorder.ledger.assumptions:
        if np.isin(assumed, labels).any():
            text = f"{reason.text}; {where.text} with numbers that do not follow"
            return Reason(text, where.operation, where.line)
    return reason


def _unused(
    recorder: Recorder, network: nn.Module, failure: Exception | None
) -> list[tuple[npt.NDArray[np.int64], Reason]]:
    """Freeze parameters and buffers that no forward pass has touched."""
    text = "the forward pass never uses it"
    if failure is not None:
        text += (
            f"; a pass in training mode, which might, failed ({type(failure).__name__}: "
            f"{str(failure).partition(chr(10))[0][:160]})"
        )
    reason = Reason(text, "none", WHOLE_PASS)
    unused = set(recorder.unused(network))
    return [
        (axis.labels, reason)
        for axis in recorder.axes
        if axis.tensor in unused and not axis.attribute
    ]


def _labels(units: npt.NDArray[np.int32], graph: ChannelGraph, index: int) -> npt.NDArray[np.int64]:
    """Return the labels of a group."""
    group = graph.groups[index]
    return np.flatnonzero((units >= group.start) & (units < group.stop))
