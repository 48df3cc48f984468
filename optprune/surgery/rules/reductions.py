"""Reductions: over an unlabelled dimension they change nothing, over a labelled one they freeze.

Sums, and norms that are sums, are the exception: what is removed adds as little as what is zeroed.
So are means, variances and deviations that normalise the channels that they are taken over.
"""

from __future__ import annotations

from typing import Any

from optprune.surgery.labels import Layer, collapse, compact, varying
from optprune.surgery.operation import Operation
from optprune.surgery.rules.elementwise import MEETS_CONSTANT
from optprune.surgery.rules.registry import register
from optprune.surgery.tracing import Recorder

__all__ = ["reduce", "scan", "statistics", "total"]

COUNTS = "its channels are reduced, and their number counts"


def _dims(operation: Operation, n_dims: int) -> list[int]:
    """Return the dimensions that an operation reduces (all, where none is given)."""
    given: Any = operation.argument("dim")
    if given is None or given == []:
        return list(range(n_dims))
    chosen = [given] if isinstance(given, int) else list(given)
    return [int(dim) % max(n_dims, 1) for dim in chosen]


def _finish(
    recorder: Recorder, operation: Operation, layers: list[Layer], dims: list[int], n_dims: int
) -> None:
    """Drop reduced dimensions where the operation drops them, and hand the layers on."""
    for output in operation.outputs:
        if output.dim() == n_dims:
            recorder.set(output, layers)
        else:
            recorder.set(output, [layer.squeeze(dims) if dims else layer for layer in layers])


@register("aten.sum", "aten.nansum")
def total(recorder: Recorder, operation: Operation) -> None:
    """Sums tie what is added up into one channel, and absorb whole labelled dimensions."""
    source = operation.tensors[0]
    dims = _dims(operation, source.dim())
    reason = operation.reason(MEETS_CONSTANT)
    layers = collapse(recorder.ledger, recorder.layers(source), dims, reason)
    _finish(recorder, operation, layers, dims, source.dim())


@register(
    "aten.amax",
    "aten.amin",
    "aten.max",
    "aten.min",
    "aten.prod",
    "aten.logsumexp",
    "aten.argmax",
    "aten.argmin",
    "aten.any",
    "aten.all",
    "aten.median",
)
def reduce(recorder: Recorder, operation: Operation) -> None:
    """Freeze what is reduced over a labelled dimension."""
    source = operation.tensors[0]
    if operation.name in ("aten.max", "aten.min") and len(operation.tensors) > 1:
        from optprune.surgery.rules.elementwise import elementwise

        elementwise(recorder, operation)
        return
    dims = _dims(operation, source.dim())
    reason = operation.reason(COUNTS)
    layers = [recorder.ledger.fix(layer, dims, reason) for layer in recorder.layers(source)]
    alive = [layer for layer in layers if not set(varying(layer)) & set(dims)]
    _finish(recorder, operation, alive, dims, source.dim())


@register("aten.mean", "aten.var", "aten.var_mean", "aten.std", "aten.std_mean")
def statistics(recorder: Recorder, operation: Operation) -> None:
    """Take statistics of the kept channels, if they are to normalise these; freeze otherwise.

    `Recorder` follows the result to see what it is used for.
    """
    source = operation.tensors[0]
    dims = _dims(operation, source.dim())
    layers, taken = [], []
    for layer in recorder.layers(source):
        small = compact(layer)
        found = [dim for dim in range(small.dim()) if small.shape[dim] > 1]
        if found and set(found) <= set(dims):
            taken.append(small)
        else:
            layers.append(recorder.ledger.fix(small, dims, operation.reason(COUNTS)))
    _finish(recorder, operation, layers, dims, source.dim())
    for layer in taken:
        recorder.norm(operation, layer)
        for output in operation.outputs:
            recorder.statistic(output, layer, operation.reason(COUNTS))


@register("aten.linalg_vector_norm", "aten.norm")
def vector_norm(recorder: Recorder, operation: Operation) -> None:
    """Sums of absolute values or squares are as exact as sums; other norms freeze."""
    order = operation.argument("ord", operation.argument("p", 2))
    (total if order in (None, 1, 2) else reduce)(recorder, operation)


@register(
    "aten._softmax",
    "aten._safe_softmax",
    "aten._log_softmax",
    "aten.softmax",
    "aten.log_softmax",
    "aten.cumsum",
    "aten.cumprod",
    "aten.sort",
    "aten.argsort",
    "aten.topk",
    "aten.logcumsumexp",
)
def scan(recorder: Recorder, operation: Operation) -> None:
    """Freeze what mixes the indices of a labelled dimension; others pass."""
    source = operation.tensors[0]
    dim = int(operation.argument("dim", -1)) % max(source.dim(), 1)
    reason = operation.reason("its channels are mixed with one another")
    layers = [recorder.ledger.fix(layer, [dim], reason) for layer in recorder.layers(source)]
    for output in operation.outputs:
        recorder.set(output, [layer for layer in layers if dim not in varying(layer)])
