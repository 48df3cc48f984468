"""Element-by-element operations: aligned labels are tied; a dimension of size 1 ties nothing."""

from __future__ import annotations

import torch

from optprune.surgery.labels import align, compact
from optprune.surgery.operation import Operation
from optprune.surgery.rules.registry import register
from optprune.surgery.tracing import Recorder

__all__ = ["elementwise", "factory_like"]

MEETS_CONSTANT = (
    "it meets a constant, which cannot shrink with it (a tensor made inside forward, a network "
    "input, or an integer buffer)"
)


@register(
    "elementwise",
    "aten.hardswish",
    "aten.log_sigmoid_forward",
    "aten._prelu_kernel",
    "aten.native_dropout",
    "aten.masked_fill",
    "aten.where",
    "aten.bernoulli",
    "aten.fill",
    "aten.zero",
    "aten.uniform",
    "aten.normal_",
    "aten.bernoulli_",
    "aten.rsub",
    "aten.nan_to_num",
    "aten._to_copy",
    "aten.clone",
    "aten.contiguous",
    "aten.lift_fresh",
    "aten.add",
    "aten.mul",
    "aten.rrelu_with_noise",
    "aten.rrelu_with_noise_functional",
    # the tag by which the others are known is missing from these in older releases of PyTorch
    "aten.celu",
    "aten.elu",
    "aten.hardsigmoid",
    "aten.hardtanh",
    "aten.leaky_relu",
    "aten.selu",
)
def elementwise(recorder: Recorder, operation: Operation) -> None:
    """Tie the operands' labels index by index and hand them to every output."""
    shape = operation.outputs[0].shape
    used = [tensor for tensor in operation.tensors if tensor.dim() <= len(shape)]
    operands = [(_extent(tensor), recorder.layers(tensor)) for tensor in used]
    tables = [place for place, tensor in enumerate(used) if not recorder.tracked(tensor).dynamic]
    reason = operation.reason(MEETS_CONSTANT)
    layers = align(recorder.ledger, operands, shape, reason, tables)
    for output in operation.outputs:
        if output.shape == shape and not recorder.tracked(output).writable:
            recorder.set(output, layers)


def _extent(tensor: torch.Tensor) -> tuple[int, ...]:
    """Return the shape of a tensor, 1 where it was expanded: that ties as little as a size of 1."""
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    return tuple(1 if stride == 0 else size for size, stride in strides)


@register(
    "aten.empty_like",
    "aten.zeros_like",
    "aten.ones_like",
    "aten.full_like",
    "aten.rand_like",
    "aten.randn_like",
)
def factory_like(recorder: Recorder, operation: Operation) -> None:
    """A tensor made in the shape of another shrinks with it."""
    source = operation.tensors[0]
    recorder.set(operation.outputs[0], recorder.layers(source))


@register(
    "aten.zeros",
    "aten.ones",
    "aten.empty",
    "aten.full",
    "aten.new_zeros",
    "aten.new_ones",
    "aten.new_empty",
    "aten.new_full",
)
def factory(recorder: Recorder, operation: Operation) -> None:
    """A tensor of a given size has no labels, but takes those that are written into it."""
    output, source = operation.outputs[0], recorder.noise_source
    if source is not None and source.dim() == output.dim():
        # one number for each channel, the same at all its positions
        layers = [
            layer
            for layer in map(compact, recorder.layers(source))
            if all(n in (1, size) for n, size in zip(layer.shape, output.shape, strict=True))
        ]
        recorder.set(output, layers)
    elif output.numel() > 1:
        blank = torch.zeros(output.shape, dtype=torch.int64, device="cpu")
        recorder.set(output, [blank], writable=True)


@register("aten.copy_", "aten.copy")
def copy(recorder: Recorder, operation: Operation) -> None:
    """A write into a fresh tensor writes the labels; into any other it ties them."""
    target, source = operation.tensors[:2]
    tracked = recorder.tracked(target)
    reason = operation.reason(MEETS_CONSTANT)
    sources = recorder.layers(source)
    if tracked.writable:
        merged = align(
            recorder.ledger, [(tuple(source.shape), sources)], tuple(target.shape), reason
        )
        if len(merged) > 1:
            for layer in merged[1:]:
                recorder.ledger.freeze(layer, operation.reason("it is written beside another"))
        if merged:
            tracked.layers[0].copy_(merged[0].expand(target.shape))
        else:
            tracked.layers[0].zero_()
        return
    operands = [
        (tuple(target.shape), recorder.layers(target)),
        (tuple(source.shape), sources),
    ]
    layers = align(recorder.ledger, operands, target.shape, reason)
    recorder.set(operation.outputs[0], layers)
