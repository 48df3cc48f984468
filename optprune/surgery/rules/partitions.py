"""Taking tensors apart and putting them together: split, slice, select, cat, stack, shuffles."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from optprune.surgery.labels import Layer, align, compact, expand, lift, varying
from optprune.surgery.operation import Operation
from optprune.surgery.rules.elementwise import MEETS_CONSTANT
from optprune.surgery.rules.movement import execute, move
from optprune.surgery.rules.registry import register
from optprune.surgery.tracing import Recorder

__all__ = ["concatenate", "split"]


def _dim(operation: Operation, n_dims: int, name: str = "dim") -> int:
    """Return a dimension argument as a non-negative number."""
    return int(operation.argument(name, 0)) % max(n_dims, 1)


def _tie_parts(recorder: Recorder, operation: Operation, layer: Layer, dim: int, n: int) -> None:
    """Tie index j of every one of `n` equal parts, so that the parts stay equal."""
    small = compact(layer)
    size = small.shape[dim]
    shape = [*small.shape[:dim], n, size // n, *small.shape[dim + 1 :]]
    recorder.ledger.assume(small, operation.reason("it is taken apart into equal parts"))
    recorder.ledger.tie_over(small.reshape(shape), [dim], operation.reason(MEETS_CONSTANT))


@register(
    "aten.split",
    "aten.split_with_sizes",
    "aten.chunk",
    "aten.unsafe_split",
    "aten.unsafe_chunk",
    "aten.split_copy",
    "aten.split_with_sizes_copy",
)
def split(recorder: Recorder, operation: Operation) -> None:
    """Equal parts stay equal; other sizes are numbers that cannot follow a removal."""
    source = operation.tensors[0]
    dim = _dim(operation, source.dim())
    sizes = [output.shape[dim] for output in operation.outputs]
    if recorder.follows:
        move(recorder, operation)
        return
    for layer in recorder.layers(source):
        if dim not in varying(layer):
            continue
        if len(set(sizes)) == 1:
            _tie_parts(recorder, operation, layer, dim, len(sizes))
        else:
            reason = operation.reason(f"it is split into parts of the fixed sizes {sizes}")
            recorder.ledger.fix(layer, [dim], reason)
    move(recorder, operation)


@register("aten.slice")
def slice_(recorder: Recorder, operation: Operation) -> None:
    """A slice of a labelled dimension follows when it is one of several equal parts.

    A slice of a tensor that is being filled is a place to write to, and ties nothing.
    """
    source, output = operation.tensors[0], operation.outputs[0]
    if recorder.tracked(source).writable:
        move(recorder, operation)
        return
    dim = _dim(operation, source.dim())
    size, length = source.shape[dim], output.shape[dim]
    start = int(operation.argument("start") or 0)
    start = max(start + size if start < 0 else start, 0)
    step = int(operation.argument("step", 1))
    stop = min(start + length * step, size)
    follows = {number % size if number < 0 else number for number in recorder.follows}
    if step == 1 and start in {0, *follows} and stop in {size, *follows}:
        move(recorder, operation)
        return
    for layer in recorder.layers(source):
        if dim not in varying(layer) or length == size:
            continue
        small = compact(layer)
        if length and step == 1 and size % length == 0 and start % length == 0:
            _tie_parts(recorder, operation, layer, dim, size // length)
        elif step > 1 and size == step * length and start < step:
            shape = [*small.shape[:dim], length, step, *small.shape[dim + 1 :]]
            recorder.ledger.assume(small, operation.reason("it is taken apart by steps"))
            reason = operation.reason(MEETS_CONSTANT)
            recorder.ledger.tie_over(small.reshape(shape), [dim + 1], reason)
        else:
            reason = operation.reason("it is sliced with fixed bounds that do not follow a removal")
            recorder.ledger.fix(layer, [dim], reason)
    move(recorder, operation)


@register("aten.select", "aten.unbind")
def select(recorder: Recorder, operation: Operation) -> None:
    """Picking single indices of a labelled dimension freezes it, unless another one shrinks."""
    source = operation.tensors[0]
    dim = _dim(operation, source.dim())
    for layer in recorder.layers(source):
        if varying(layer) == (dim,):
            reason = operation.reason("single channels are picked by their number")
            recorder.ledger.freeze(layer, reason)
    move(recorder, operation)


@register("aten.roll")
def roll(recorder: Recorder, operation: Operation) -> None:
    """Rolling along a labelled dimension shifts by a number that does not follow a removal."""
    source = operation.tensors[0]
    dims = [int(dim) % source.dim() for dim in operation.argument("dims") or range(source.dim())]
    for layer in recorder.layers(source):
        if set(varying(layer)) & set(dims):
            recorder.ledger.fix(layer, dims, operation.reason("its channels are rolled"))
    move(recorder, operation)


@register("aten.index", "aten.index_select", "aten.gather", "aten.take_along_dim")
def index(recorder: Recorder, operation: Operation) -> None:
    """Indexing a labelled dimension with a tensor freezes it."""
    source = operation.tensors[0]
    if operation.name == "aten.index":
        places = operation.argument("indices") or []
        dims = {dim for dim, place in enumerate(places) if place is not None}
    else:
        dims = {_dim(operation, source.dim())}
    for tensor in operation.tensors[1:]:
        for layer in recorder.layers(tensor):
            recorder.ledger.freeze(layer, operation.reason("it is used as an index"))
    reason = operation.reason("its channels are picked by an index tensor")
    outputs: list[Layer] = []
    for layer in recorder.layers(source):
        fixed = recorder.ledger.fix(layer, dims, reason)
        if not set(varying(fixed)) & dims:
            outputs.extend(execute(operation, source, fixed.expand(source.shape)))
    recorder.set(operation.outputs[0], outputs)


@register("aten.cat", "aten.concat")
def concatenate(recorder: Recorder, operation: Operation) -> None:
    """Labels along the dimension are strung together; across the others they are tied."""
    output = operation.outputs[0]
    dim = _dim(operation, output.dim())
    tensors = [t for t in operation.argument("tensors") if t.dim() == output.dim()]
    tensors = [t for t in tensors if t.shape[dim]]
    _join(recorder, operation, output, tensors, [recorder.layers(t) for t in tensors], dim)


@register("aten.stack")
def stack(recorder: Recorder, operation: Operation) -> None:
    """As `concatenate`, along a new dimension."""
    output = operation.outputs[0]
    dim = _dim(operation, output.dim())
    tensors = [tensor.unsqueeze(dim) for tensor in operation.argument("tensors")]
    layers = [
        [layer.unsqueeze(dim) for layer in recorder.layers(tensor)]
        for tensor in operation.argument("tensors")
    ]
    _join(recorder, operation, output, tensors, layers, dim)


def _join(
    recorder: Recorder,
    operation: Operation,
    output: torch.Tensor,
    tensors: Sequence[torch.Tensor],
    layers: Sequence[Sequence[Layer]],
    dim: int,
) -> None:
    """Join labels: string together what varies along `dim`, align what does not."""
    reason = operation.reason(MEETS_CONSTANT)
    across = []
    along: list[list[Layer]] = []
    for tensor, layers_of_tensor in zip(tensors, layers, strict=True):
        shape = [*tensor.shape[:dim], 1, *tensor.shape[dim + 1 :]]
        crossing = [layer for layer in layers_of_tensor if dim not in varying(layer)]
        across.append((tuple(shape), [compact(layer) for layer in crossing]))
        along.append([layer for layer in layers_of_tensor if dim in varying(layer)])
    shape = [*output.shape[:dim], 1, *output.shape[dim + 1 :]]
    result = align(recorder.ledger, across, shape, reason)
    if any(along):
        small = [[compact(layer) for layer in found] for found in along]
        joined_shape = [
            max((layer.shape[d] for found in small for layer in found), default=1)
            for d in range(output.dim())
        ]
        pieces = []
        for tensor, found in zip(tensors, small, strict=True):
            shape = [*joined_shape]
            shape[dim] = tensor.shape[dim]
            for extra in found[1:]:
                recorder.ledger.tie(found[0], extra, reason)
            piece = (
                found[0]
                if found
                else torch.zeros((1,) * output.dim(), dtype=torch.int64, device="cpu")
            )
            pieces.append(expand(piece, shape))
        result.append(torch.cat(pieces, dim))
    recorder.set(output, [lift(layer, output.dim()) for layer in result])


@register("aten.channel_shuffle", "aten.native_channel_shuffle")
def channel_shuffle(recorder: Recorder, operation: Operation) -> None:
    """The groups of a shuffle stay equal."""
    source = operation.tensors[0]
    for layer in recorder.layers(source):
        if 1 in varying(layer):
            _tie_parts(recorder, operation, layer, 1, int(operation.argument("groups")))
    outputs: list[Layer] = []
    for layer in recorder.layers(source):
        outputs.extend(execute(operation, source, compact(layer).expand(source.shape)))
    recorder.set(operation.outputs[0], outputs)


@register("aten.glu")
def gate(recorder: Recorder, operation: Operation) -> None:
    """The two halves of a gated unit stay equal; the result has the channels of the first."""
    source, output = operation.tensors[0], operation.outputs[0]
    dim = int(operation.argument("dim", -1)) % source.dim()
    layers = []
    for layer in recorder.layers(source):
        if dim in varying(layer):
            _tie_parts(recorder, operation, layer, dim, 2)
        layers.append(layer.narrow(dim, 0, output.shape[dim]))
    recorder.set(output, layers)


@register("aten.pixel_shuffle")
def pixel_shuffle(recorder: Recorder, operation: Operation) -> None:
    """The channels that become one channel's pixels leave together."""
    source, output = operation.tensors[0], operation.outputs[0]
    factor = int(operation.argument("upscale_factor"))
    dim = source.dim() - 3
    layers = []
    for layer in recorder.layers(source):
        dims = varying(layer)
        small = compact(layer)
        if not set(dims) <= set(range(dim + 1)):
            recorder.ledger.freeze(layer, operation.reason("its pixels are rearranged"))
        elif dim in dims:
            n = small.shape[dim] // factor**2
            shape = [*small.shape[:dim], n, factor**2, *small.shape[dim + 1 :]]
            first = recorder.ledger.tie_over(
                small.reshape(shape), [dim + 1], operation.reason(MEETS_CONSTANT)
            )
            layers.append(first.squeeze(dim + 1))
        else:
            layers.append(small)
    recorder.set(output, layers)
