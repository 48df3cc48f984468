"""Reductions: over an unlabelled dimension they change nothing, over a labelled one they freeze.

A sum is the exception: what is removed adds as little as what is zeroed.
"""

from __future__ import annotations

from typing import Any

from optprune.surgery.labels import Layer, collapse, compact, varying
from optprune.surgery.rules.elementwise import MEETS_CONSTANT
from optprune.surgery.rules.registry import register
from optprune.surgery.tracing import Operation, Recorder

__all__ = ["reduce", "scan"]


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
    "aten.mean",
    "aten.amax",
    "aten.amin",
    "aten.max",
    "aten.min",
    "aten.var",
    "aten.std",
    "aten.var_mean",
    "aten.std_mean",
    "aten.prod",
    "aten.logsumexp",
    "aten.argmax",
    "aten.argmin",
    "aten.any",
    "aten.all",
    "aten.median",
    "aten.norm",
    "aten.linalg_vector_norm",
)
def reduce(recorder: Recorder, operation: Operation) -> None:
    """Freeze what is reduced over a labelled dimension."""
    source = operation.tensors[0]
    if operation.name in ("aten.max", "aten.min") and len(operation.tensors) > 1:
        from optprune.surgery.rules.elementwise import elementwise

        elementwise(recorder, operation)
        return
    dims = _dims(operation, source.dim())
    layers = []
    for layer in recorder.layers(source):
        if set(varying(layer)) & set(dims):
            recorder.ledger.freeze(
                layer, operation.reason("its channels are reduced, and their number counts")
            )
        else:
            layers.append(compact(layer))
    _finish(recorder, operation, layers, dims, source.dim())


@register(
    "aten._softmax",
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
    layers = []
    for layer in recorder.layers(source):
        if dim in varying(layer):
            recorder.ledger.freeze(
                layer, operation.reason("its channels are mixed with one another")
            )
        else:
            layers.append(compact(layer))
    for output in operation.outputs:
        recorder.set(output, layers)
