"""Matrix products and embeddings: tie what is contracted, hand on the rest.

Both operands' labels are lifted onto the space that the product iterates over (batch, rows,
columns, contracted index) and aligned there; what then varies along the contracted index is summed
away. The same space gives the MACs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from optprune.surgery.labels import Layer, align, collapse, compact, varying
from optprune.surgery.operation import Operation
from optprune.surgery.rules.registry import register
from optprune.surgery.tracing import Recorder

__all__ = ["MEETS_OTHER", "contract"]

MEETS_OTHER = (
    "it is multiplied with channels that cannot shrink with it (a network input, or a tensor "
    "made inside forward)"
)

_OF_WEIGHTS = ("aten.mv", "aten.dot", "aten.vdot")
"""Products that are not counted where they do not depend on the input: norms of weights."""


def contract(
    recorder: Recorder,
    operation: Operation,
    *operands: tuple[torch.Tensor, Sequence[Layer], str],
    output: str,
) -> list[Layer]:
    """Contract operands whose dimensions are named by letters, as in Einstein's notation.

    Parameters
    ----------
    recorder : Recorder
        The trace.
    operation : Operation
        The product.
    *operands : (Tensor, layers, letters)
        Two or more: their layers, and a letter for each dimension.
    output : str
        Letters of the result.

    Returns
    -------
    list of Layer
        Compact layers of the result.
    """
    letters = "".join(dict.fromkeys(output + "".join(names for *_, names in operands)))
    contracted = [index for index, letter in enumerate(letters) if letter not in output]
    sizes = [1] * len(letters)
    placed = []
    for tensor, layers, names in operands:
        shape = [1] * len(letters)
        for dim, letter in enumerate(names):
            shape[letters.index(letter)] = tensor.shape[dim]
        for index, size in enumerate(shape):
            sizes[index] = max(sizes[index], size)
        lifted = [_place(compact(layer), names, letters) for layer in layers]
        placed.append((tuple(shape), lifted))
    moving = [recorder.tracked(tensor).dynamic for tensor, _, _ in operands]
    for (_, layers, names), moves in zip(operands, moving, strict=True):
        if not moves and any(moving):
            _note_sides(recorder, layers, names, output)
    merged = align(recorder.ledger, placed, sizes, operation.reason(MEETS_OTHER))
    dynamic = recorder.tracked(operation.outputs[0]).dynamic
    if recorder.counting and (dynamic or operation.name not in _OF_WEIGHTS):
        covered = {dim for layer in merged for dim in varying(layer)}
        scale = float(np.prod([size for dim, size in enumerate(sizes) if dim not in covered]))
        family = "attention" if all(moving) else "linear"
        recorder.cost("macs", scale / recorder.samples, merged, family)
    alive = collapse(recorder.ledger, merged, contracted, operation.reason(MEETS_OTHER))
    return [layer.squeeze(contracted) if contracted else layer for layer in alive]


def _place(layer: Layer, names: str, letters: str) -> Layer:
    """Lay a compact layer out over the letters of the iteration space."""
    order = [names.index(letter) for letter in letters if letter in names]
    shape = [layer.shape[names.index(letter)] if letter in names else 1 for letter in letters]
    return layer.permute(order).reshape(shape)


def _note_sides(recorder: Recorder, layers: Sequence[Layer], names: str, output: str) -> None:
    """Note which labels of a weight are its output side and which its input side."""
    for layer in layers:
        dims = varying(layer)
        if all(names[dim] in output for dim in dims):
            recorder.produce(layer)
        else:
            recorder.consume(layer)


def _matrix_product(
    recorder: Recorder, operation: Operation, letters: tuple[str, str, str], names: tuple[str, str]
) -> None:
    """Contract the two named arguments and add the third, if there is one."""
    first, second = operation.argument(names[0]), operation.argument(names[1])
    output = operation.outputs[0]
    layers = contract(
        recorder,
        operation,
        (first, recorder.layers(first), letters[0]),
        (second, recorder.layers(second), letters[1]),
        output=letters[2],
    )
    added = operation.argument("self") if names[0] != "self" else None
    if isinstance(added, torch.Tensor):
        layers = add_bias(recorder, operation, output, layers, added, recorder.layers(added))
    recorder.set(output, layers)


def add_bias(
    recorder: Recorder,
    operation: Operation,
    output: torch.Tensor,
    layers: Sequence[Layer],
    bias: torch.Tensor,
    bias_layers: Sequence[Layer],
) -> list[Layer]:
    """Align a bias (whose shape broadcasts to the output's) with a product."""
    for layer in bias_layers:
        if not recorder.tracked(bias).dynamic:
            recorder.produce(layer)
    operands = [(tuple(output.shape), layers), (tuple(bias.shape), bias_layers)]
    return align(recorder.ledger, operands, output.shape, operation.reason(MEETS_OTHER))


@register("aten.mm")
def mm(recorder: Recorder, operation: Operation) -> None:
    """Matrix times matrix."""
    _matrix_product(recorder, operation, ("nk", "km", "nm"), ("self", "mat2"))


@register("aten.addmm")
def addmm(recorder: Recorder, operation: Operation) -> None:
    """Matrix times matrix plus bias."""
    _matrix_product(recorder, operation, ("nk", "km", "nm"), ("mat1", "mat2"))


@register("aten.bmm")
def bmm(recorder: Recorder, operation: Operation) -> None:
    """Batches of matrices."""
    _matrix_product(recorder, operation, ("bnk", "bkm", "bnm"), ("self", "mat2"))


@register("aten.baddbmm")
def baddbmm(recorder: Recorder, operation: Operation) -> None:
    """Batches of matrices plus bias."""
    _matrix_product(recorder, operation, ("bnk", "bkm", "bnm"), ("batch1", "batch2"))


@register("aten.mv")
def mv(recorder: Recorder, operation: Operation) -> None:
    """Matrix times vector."""
    _matrix_product(recorder, operation, ("nk", "k", "n"), ("self", "vec"))


@register("aten.dot", "aten.vdot")
def dot(recorder: Recorder, operation: Operation) -> None:
    """Vector times vector."""
    name = "tensor" if operation.name == "aten.dot" else "other"
    _matrix_product(recorder, operation, ("k", "k", ""), ("self", name))


@register("aten.linear")
def linear(recorder: Recorder, operation: Operation) -> None:
    """A linear layer over the last dimension, where the backend executes it as one operation."""
    source, weight = operation.argument("input"), operation.argument("weight")
    bias, output = operation.argument("bias"), operation.outputs[0]
    lead = "abcdefgh"[: source.dim() - 1]
    layers = contract(
        recorder,
        operation,
        (source, recorder.layers(source), lead + "k"),
        (weight, recorder.layers(weight), "mk"),
        output=lead + "m",
    )
    if isinstance(bias, torch.Tensor):
        layers = add_bias(recorder, operation, output, layers, bias, recorder.layers(bias))
    recorder.set(output, layers)


@register("aten._trilinear")
def trilinear(recorder: Recorder, operation: Operation) -> None:
    """A bilinear layer: its weight meets two inputs at once."""
    given = [operation.argument(f"i{number}") for number in (1, 2, 3)]
    hidden = [operation.argument(f"expand{number}") for number in (1, 2, 3)]
    letters = "abcdefgh"[: given[0].dim() + len(hidden[0])]
    operands = [
        (tensor, recorder.layers(tensor), _but(letters, dims))
        for tensor, dims in zip(given, hidden, strict=True)
    ]
    output = _but(letters, operation.argument("sumdim"))
    recorder.set(operation.outputs[0], contract(recorder, operation, *operands, output=output))


def _but(letters: str, dims: Sequence[int]) -> str:
    """Return the letters of all dimensions but some."""
    return "".join(letter for dim, letter in enumerate(letters) if dim not in dims)


@register("aten.embedding")
def embedding(recorder: Recorder, operation: Operation) -> None:
    """Rows of a table: the rows stay, the columns are handed on."""
    _look_up(recorder, operation)


@register("aten._embedding_bag", "aten._embedding_bag_forward_only")
def embedding_bag(recorder: Recorder, operation: Operation) -> None:
    """Sums, means or maxima of rows of a table: each column goes its own way."""
    scales = operation.argument("per_sample_weights")
    for layer in recorder.layers(scales) if isinstance(scales, torch.Tensor) else ():
        reason = operation.reason("it weighs the rows of an embedding by their position")
        recorder.ledger.freeze(layer, reason)
    _look_up(recorder, operation)


def _look_up(recorder: Recorder, operation: Operation) -> None:
    """Keep the rows of a table, hand its columns on as the result's last dimension."""
    weight, indices = operation.argument("weight"), operation.argument("indices")
    output = operation.outputs[0]
    for layer in recorder.layers(indices):
        recorder.ledger.freeze(layer, operation.reason("it is used as an index"))
    layers = []
    for layer in recorder.layers(weight):
        if varying(layer) == (1,):
            recorder.produce(layer)
            layers.append(compact(layer).reshape((1,) * (output.dim() - 1) + (-1,)))
        else:
            reason = operation.reason("the rows of an embedding are picked by their number")
            recorder.ledger.freeze(layer, reason)
    recorder.set(output, layers)
