"""Normalisations: parameters and statistics are tied to the channels that they scale.

A normalisation *over* channels (layer and group normalisation) takes its statistics over the
channels that are kept; the trace notes it, so that `verify` compares with just that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from optprune.surgery.labels import Layer, align, compact, varying
from optprune.surgery.operation import Operation
from optprune.surgery.rules.elementwise import MEETS_CONSTANT
from optprune.surgery.rules.registry import register
from optprune.surgery.tracing import Recorder

__all__ = ["batch_norm", "group_norm", "layer_norm"]


def _scaled(
    recorder: Recorder,
    operation: Operation,
    source: torch.Tensor,
    layers: Sequence[Layer],
    vectors: Sequence[torch.Tensor | None],
    dims: Sequence[int],
) -> list[Layer]:
    """Align vectors over the given dimensions with a tensor; return the result's layers."""
    shape = [1] * source.dim()
    for dim in dims:
        shape[dim] = source.shape[dim]
    operands: list[tuple[tuple[int, ...], Sequence[Layer]]] = [(tuple(source.shape), layers)]
    for vector in vectors:
        if isinstance(vector, torch.Tensor) and vector.numel():
            found = []
            for layer in recorder.layers(vector):
                small = compact(layer)
                sizes = [1] * source.dim()
                for dim, size in zip(dims, small.shape, strict=True):
                    sizes[dim] = size
                found.append(small.reshape(sizes))
            operands.append((tuple(shape), found))
    reason = operation.reason(MEETS_CONSTANT)
    return align(recorder.ledger, operands, source.shape, reason)


@register(
    "aten.native_batch_norm",
    "aten.cudnn_batch_norm",
    "aten.miopen_batch_norm",
    "aten._native_batch_norm_legit",
    "aten._native_batch_norm_legit_no_training",
    "aten._batch_norm_no_update",
    "aten._batch_norm_with_update",
    "aten.batch_norm",
)
def batch_norm(recorder: Recorder, operation: Operation) -> None:
    """Scale, shift, mean and variance belong to the channels of dimension 1."""
    source = operation.tensors[0]
    vectors = operation.tensors[1:]
    module = recorder.module_of(operation.module)
    if not vectors and isinstance(module, _NormBase):
        _note_features(recorder, operation, module, recorder.layers(source))
    if operation.argument("training", operation.argument("train", False)):
        for layer in recorder.layers(source):
            small = compact(layer)
            if small.shape[1] == 1 and small.numel() > 1:
                # standardised weights: statistics over the inputs of each output
                recorder.norm(operation, small)
    layers = _scaled(recorder, operation, source, recorder.layers(source), vectors, [1])
    recorder.set(operation.outputs[0], layers)


def _note_features(
    recorder: Recorder, operation: Operation, module: _NormBase, layers: Sequence[Layer]
) -> None:
    """Note the number of channels that a normalisation without tensors holds."""
    for layer in layers:
        small = compact(layer).reshape(-1)
        if len(small) % module.num_features == 0:
            # instance norm puts the channels of all samples side by side
            recorder.attribute(operation.module, "num_features", 0, small[: module.num_features])


@register("aten.native_layer_norm", "aten.layer_norm")
def layer_norm(recorder: Recorder, operation: Operation) -> None:
    """Statistics over the last dimensions, of the channels that are kept."""
    source = operation.tensors[0]
    normalized = list(operation.argument("normalized_shape"))
    dims = list(range(source.dim() - len(normalized), source.dim()))
    reason = operation.reason(MEETS_CONSTANT)
    layers = []
    for layer in recorder.layers(source):
        small = compact(layer)
        inside = [dim for dim in dims if small.shape[dim] > 1]
        outside = [dim for dim in range(small.dim()) if small.shape[dim] > 1 and dim not in dims]
        if inside and outside:
            small = recorder.ledger.tie_over(small, inside, reason)
        elif inside:
            recorder.norm(operation, small)
            if operation.argument("weight") is None and not recorder.follows:
                _note_shape(recorder, operation, small.reshape([small.shape[dim] for dim in dims]))
        layers.append(small)
    vectors = [operation.argument("weight"), operation.argument("bias")]
    layers = _scaled(recorder, operation, source, layers, vectors, dims)
    recorder.set(operation.outputs[0], layers)


def _note_shape(recorder: Recorder, operation: Operation, labels: Layer) -> None:
    """Note the shape that a layer norm without parameters holds in an attribute."""
    module = recorder.module_of(operation.module)
    for dim in varying(labels):
        if isinstance(module, nn.LayerNorm):
            place = tuple(slice(None) if d == dim else 0 for d in range(labels.dim()))
            recorder.attribute(operation.module, "normalized_shape", dim, labels[place])
        else:
            text = "the size that is normalised is a number that cannot follow a removal"
            recorder.ledger.freeze(labels, operation.reason(text))


@register("aten._weight_norm_interface")
def weight_norm(recorder: Recorder, operation: Operation) -> None:
    """Direction and length of a weight; the length is a sum, so it is as exact as a sum."""
    direction, length = operation.argument("v"), operation.argument("g")
    output, norms = operation.outputs
    operands = [(tuple(t.shape), recorder.layers(t)) for t in (direction, length)]
    reason = operation.reason(MEETS_CONSTANT)
    recorder.set(output, align(recorder.ledger, operands, output.shape, reason))
    recorder.set(norms, recorder.layers(length))


@register("aten.native_group_norm")
def group_norm(recorder: Recorder, operation: Operation) -> None:
    """Groups keep their number and shrink alike; groups of a single channel leave whole."""
    source = operation.argument("input")
    n_groups = int(operation.argument("group"))
    reason = operation.reason(MEETS_CONSTANT)
    layers = []
    for layer in recorder.layers(source):
        small = compact(layer)
        if any(small.shape[dim] > 1 for dim in range(2, small.dim())):
            recorder.ledger.freeze(layer, operation.reason("it is normalised as a position"))
            continue
        if small.shape[1] > 1 and n_groups < source.shape[1]:
            grouped = small.reshape(small.shape[0], n_groups, -1)
            if n_groups > 1:
                recorder.ledger.tie_over(grouped, [1], reason)
            if small.shape[0] == 1:
                recorder.norm(operation, small)
        module = recorder.module_of(operation.module)
        if isinstance(module, nn.GroupNorm) and not module.affine and varying(small) == (1,):
            recorder.attribute(operation.module, "num_channels", 0, small.reshape(-1))
            if n_groups == source.shape[1]:
                recorder.attribute(operation.module, "num_groups", 0, small.reshape(-1))
        layers.append(small)
    vectors = [operation.argument("weight"), operation.argument("bias")]
    layers = _scaled(recorder, operation, source, layers, vectors, [1])
    recorder.set(operation.outputs[0], layers)
