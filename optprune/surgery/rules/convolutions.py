"""Convolutions, plain, grouped, depthwise and transposed.

A convolution with G groups is a contraction over (sample, group, output in group, input in group).
Where a group has several inputs, removal takes one channel of each group, so that the number of
groups stays; where it has a single one (depthwise), the group itself leaves, with all its outputs.
"""

from __future__ import annotations

import numpy as np
import torch

from optprune.surgery.labels import Layer, align, collapse, compact, varying
from optprune.surgery.operation import Operation
from optprune.surgery.rules.contractions import MEETS_OTHER, add_bias
from optprune.surgery.rules.registry import register
from optprune.surgery.tracing import Recorder

__all__ = ["convolution"]


@register("aten.convolution", "aten._convolution", "aten.mkldnn_convolution")
def convolution(recorder: Recorder, operation: Operation) -> None:
    """Tie the input channels with the weight's, and hand on the weight's output channels."""
    source, weight = operation.argument("input"), operation.argument("weight")
    if source is None:
        source = operation.argument("self")
    bias, output = operation.argument("bias"), operation.outputs[0]
    n_groups = int(operation.argument("groups", 1))
    transposed = bool(operation.argument("transposed", False))
    # dimensions of the iteration space: sample, group, output in group, input in group
    n_in, n_out = source.shape[1] // n_groups, output.shape[1] // n_groups
    shared = n_groups > 1 and n_in > 1
    inputs = _of_input(recorder, operation, source, n_groups, shared)
    weights = _of_weight(recorder, operation, weight, n_groups, transposed, shared)
    shape = (source.shape[0], n_groups, n_out, n_in)
    operands = [
        ((shape[0], n_groups, 1, n_in), inputs),
        ((1, n_groups, n_out, n_in), weights),
    ]
    if shared:
        # one label stands for the same channel of every group
        operands = [
            ((shape[0], 1, 1, n_in), inputs),
            ((1, 1, n_out, n_in), weights),
        ]
    reason = operation.reason(MEETS_OTHER)
    merged = align(recorder.ledger, operands, shape, reason)
    if recorder.counting:
        covered = {dim for layer in merged for dim in varying(layer)}
        positions = source.shape[2:] if transposed else output.shape[2:]
        scale = float(np.prod([*positions, *weight.shape[2:]]))
        scale *= float(np.prod([size for dim, size in enumerate(shape) if dim not in covered]))
        recorder.cost("macs", scale / recorder.samples, merged, "convolution")
    layers = []
    for layer in collapse(recorder.ledger, merged, [3], reason):
        full = layer.expand(layer.shape[0], n_groups, n_out, 1)
        if varying(layer) == (0,):
            full = layer
        channels = full.reshape(layer.shape[0], -1)
        layers.append(channels.reshape(*channels.shape, *[1] * (output.dim() - 2)))
    if isinstance(bias, torch.Tensor):
        broadcast = (1, -1, *[1] * (output.dim() - 2))
        bias_layers = [layer.reshape(broadcast) for layer in recorder.layers(bias)]
        layers = add_bias(recorder, operation, output, layers, bias.reshape(broadcast), bias_layers)
    recorder.set(output, layers)


def _of_input(
    recorder: Recorder, operation: Operation, source: torch.Tensor, n_groups: int, shared: bool
) -> list[Layer]:
    """Lay the input's labels out over (sample, group, 1, input in group)."""
    reason = operation.reason(MEETS_OTHER)
    result = []
    for layer in recorder.layers(source):
        small = compact(layer)
        spatial = [dim for dim in range(2, small.dim()) if small.shape[dim] > 1]
        if spatial and small.shape[1] == 1:
            reason = operation.reason("it is convolved over as a position")
            small = recorder.ledger.fix(small, spatial, reason)
            if small.numel() == 1 or any(small.shape[dim] > 1 for dim in spatial):
                continue
        small = recorder.ledger.tie_over(small, spatial, reason)
        small = small.reshape(small.shape[0], small.shape[1])
        if small.shape[1] > 1:
            small = small.reshape(small.shape[0], n_groups, 1, -1)
            if shared:
                small = recorder.ledger.tie_over(small, [1], reason)
        else:
            small = small.reshape(small.shape[0], 1, 1, 1)
        result.append(small)
    return result


def _of_weight(
    recorder: Recorder,
    operation: Operation,
    weight: torch.Tensor,
    n_groups: int,
    transposed: bool,
    shared: bool,
) -> list[Layer]:
    """Lay the weight's labels out over (1, group, output in group, input in group)."""
    reason = operation.reason(MEETS_OTHER)
    outer, inner = (3, 2) if transposed else (2, 3)
    result = []
    for layer in recorder.layers(weight):
        dims = varying(layer)
        if not dims or len(dims) > 1 or dims[0] > 1:
            kernel = operation.reason("the size of a kernel stays", hidden=len(dims) == 1)
            recorder.ledger.freeze(layer, kernel)
            continue
        labels = compact(layer).reshape(-1)
        shape = [1, 1, 1, 1]
        if dims == (0,):
            shape[1], shape[outer] = n_groups, len(labels) // n_groups
            placed = labels.reshape(shape)
            if shared:
                placed = recorder.ledger.tie_over(placed, [1], reason)
        else:
            if n_groups > 1 and not shared and transposed:
                text = "the outputs of each group of a depthwise transposed convolution stay"
                recorder.ledger.freeze(labels, operation.reason(text))
                continue
            shape[inner] = len(labels)
            placed = labels.reshape(shape)
        if (dims == (0,)) != transposed:
            recorder.produce(labels)
        else:
            recorder.consume(labels)
        result.append(placed)
    return result
