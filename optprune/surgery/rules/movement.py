"""Data movement: executed on the labels themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

from optprune.surgery.labels import Layer, expand, varying
from optprune.surgery.operation import Operation
from optprune.surgery.rules.registry import register
from optprune.surgery.tracing import Recorder

__all__ = ["execute", "move"]

_RESHAPING = ("aten.view", "aten._unsafe_view", "aten._reshape_alias")


def execute(operation: Operation, source: torch.Tensor, layer: Layer) -> list[Layer]:
    """Execute an operation on a layer in place of its source tensor.

    Parameters
    ----------
    operation : Operation
        The data movement.
    source : Tensor
        The argument that is moved; other tensors (indices) stay as they are.
    layer : Layer
        Labels of the source.

    Returns
    -------
    list of Layer
        Labels of every output.
    """
    if operation.name in _RESHAPING:
        return [layer.reshape(operation.outputs[0].shape)]

    def swap(value: Any) -> Any:
        if value is source:
            return layer
        return value.cpu() if isinstance(value, torch.Tensor) else value

    args, kwargs = tree_map(swap, (operation.args, operation.kwargs))
    out = operation.function(*args, **kwargs)
    return [leaf for leaf in tree_flatten(out)[0] if isinstance(leaf, torch.Tensor)]


@register(
    "aten.view",
    "aten._unsafe_view",
    "aten._reshape_alias",
    "aten.permute",
    "aten.transpose",
    "aten.t",
    "aten.unsqueeze",
    "aten.squeeze",
    "aten.repeat",
    "aten.alias",
    "aten.detach",
    "aten.flip",
    "aten.diagonal",
    "aten.pixel_unshuffle",
    "aten.movedim",
)
def move(recorder: Recorder, operation: Operation) -> None:
    """Execute the movement on every layer of the moved tensor."""
    source = operation.tensors[0]
    tracked = recorder.tracked(source)
    layers = tracked.layers
    if operation.name in _RESHAPING and tracked.dynamic and len(layers) > 1:
        layers = _apart(recorder, operation, layers)
    moved = [execute(operation, source, layer) for layer in layers]
    for index, output in enumerate(operation.outputs):
        layers = [layers_of_outputs[index] for layers_of_outputs in moved]
        recorder.set(output, layers, writable=tracked.writable)


@register("aten.expand")
def expanded(recorder: Recorder, operation: Operation) -> None:
    """Copies of a single index may become fewer: they have labels of their own."""
    move(recorder, operation)
    source, output = operation.tensors[0], operation.outputs[0]
    tracked = recorder.tracked(source)
    if not (tracked.dynamic or tracked.layers):
        return
    layers = list(recorder.tracked(output).layers)
    added = output.dim() - source.dim()
    for dim, size in enumerate(output.shape):
        if size > 1 and (dim < added or source.shape[dim - added] == 1):
            shape = [1] * output.dim()
            shape[dim] = size
            labels = recorder.ledger.allocate(size)
            recorder.ledger.copies.update(labels.tolist())
            layers.append(labels.reshape(shape))
    recorder.set(output, layers, writable=tracked.writable)


def _apart(recorder: Recorder, operation: Operation, layers: list[Layer]) -> list[Layer]:
    """Freeze all but the outermost of those layers that are flattened into one dimension.

    Mere copies stand back behind channels.
    """
    kept: list[Layer] = []
    taken: set[int] = set()
    copies = recorder.ledger.copies

    def rank(layer: Layer) -> tuple[bool, tuple[int, ...]]:
        return int(layer[(0,) * layer.dim()]) in copies, varying(layer)

    for layer in sorted(layers, key=rank):
        dims = set(varying(layer.reshape(operation.outputs[0].shape)))
        if dims & taken:
            text = "it is flattened together with other channels, which leave on their own"
            recorder.ledger.freeze(layer, operation.reason(text))
        else:
            kept.append(layer)
            taken |= dims
    return kept


@register("aten.as_strided")
def restride(recorder: Recorder, operation: Operation) -> None:
    """Accept a change of strides that leaves every index in its place; freeze any other."""
    source, output = operation.tensors[0], operation.outputs[0]
    long = [dim for dim, size in enumerate(output.shape) if size > 1]
    stays = source.shape == output.shape and source.is_contiguous()
    if not stays:
        # pooling to one position re-strides its result to the layout of its input
        stays = source is output and len(long) <= 2 and long == list(range(len(long)))
    layers = recorder.layers(source)
    if stays and all(layer.shape == output.shape for layer in layers):
        recorder.set(output, layers)
        return
    for layer in layers:
        recorder.ledger.freeze(layer, operation.reason("its memory is laid out anew"))


@register("aten.unfold")
def unfold(recorder: Recorder, operation: Operation) -> None:
    """Windows over positions; labelled ones cannot shrink."""
    source, output = operation.tensors[0], operation.outputs[0]
    dim = int(operation.argument("dimension")) % source.dim()
    reason = operation.reason("it is convolved over as a position")
    layers = []
    for layer in recorder.layers(source):
        small = recorder.ledger.fix(layer, [dim], reason)
        if small.shape[dim] == 1:
            layers.append(expand(small.unsqueeze(-1), output.shape))
    recorder.set(output, layers)


@register("aten.im2col")
def windows(recorder: Recorder, operation: Operation) -> None:
    """Each channel becomes a run of channels, one for each place of the window."""
    source, output = operation.tensors[0], operation.outputs[0]
    reason = operation.reason("it is convolved over as a position")
    layers = []
    for layer in recorder.layers(source):
        small = recorder.ledger.fix(layer, [source.dim() - 2, source.dim() - 1], reason)
        small = small.reshape(small.shape[:-2])
        if small.shape[-1] > 1:
            small = small.repeat_interleave(output.shape[-2] // small.shape[-1], -1)
        layers.append(small.unsqueeze(-1))
    recorder.set(output, [layer for layer in layers if layer.numel() > 1])


@register("aten.col2im")
def joined_windows(recorder: Recorder, operation: Operation) -> None:
    """A run of channels, one for each place of the window, becomes one channel."""
    source, output = operation.tensors[0], operation.outputs[0]
    reason = operation.reason("it is convolved over as a position")
    n_channels = output.shape[-3]
    layers = []
    for layer in recorder.layers(source):
        small = recorder.ledger.fix(layer, [source.dim() - 1], reason)
        if small.shape[-1] > 1:
            continue
        small = small.squeeze(-1)
        if small.shape[-1] > 1:
            runs = small.reshape(*small.shape[:-1], n_channels, -1)
            small = recorder.ledger.tie_over(runs, [runs.dim() - 1], reason).squeeze(-1)
        layers.append(small.unsqueeze(-1).unsqueeze(-1))
    recorder.set(output, layers)


@register("aten.constant_pad_nd")
def pad(recorder: Recorder, operation: Operation) -> None:
    """Padding a labelled dimension adds constants; padding another one adds nothing new."""
    source, output = operation.tensors[0], operation.outputs[0]
    amounts = list(operation.argument("pad"))
    padded: dict[int, tuple[int, int]] = {}
    for index in range(len(amounts) // 2):
        before, after = amounts[2 * index], amounts[2 * index + 1]
        padded[source.dim() - 1 - index] = (before, after)
    layers = []
    for layer in recorder.layers(source):
        dims = varying(layer)
        moved = layer
        for dim, (before, after) in padded.items():
            if dim in dims and before >= 0 and after >= 0 and before + after and len(dims) > 1:
                # what is added belongs to slices that leave whole
                reason = operation.reason("it is padded with constants")
                moved = recorder.ledger.fix(moved, [dim], reason)
                shape = list(moved.shape)
                shape[dim] = output.shape[dim]
                moved = expand(moved, shape)
            elif dim in dims:
                moved = _pad_with_constants(moved, dim, before, after)
            else:
                shape = list(moved.shape)
                shape[dim] = output.shape[dim]
                moved = expand(moved.narrow(dim, 0, 1), shape)
        layers.append(moved)
    recorder.set(output, layers)


def _pad_with_constants(layer: Layer, dim: int, before: int, after: int) -> Layer:
    """Add zeros (no unit) before and after, or crop for negative amounts."""
    start, stop = max(-before, 0), layer.shape[dim] - max(-after, 0)
    layer = layer.narrow(dim, start, stop - start)
    pieces = []
    for amount, place in ((before, 0), (after, 1)):
        if amount > 0:
            shape = list(layer.shape)
            shape[dim] = amount
            zeros = torch.zeros(shape, dtype=torch.int64, device="cpu")
            pieces.append((place, zeros))
    ordered = [zeros for place, zeros in pieces if place == 0] + [layer]
    ordered += [zeros for place, zeros in pieces if place == 1]
    return torch.cat(ordered, dim)
