"""Operations on positions, channel by channel: pooling, resizing, mirrored padding."""

from __future__ import annotations

import re

from optprune.surgery.operation import Operation
from optprune.surgery.rules.registry import register
from optprune.surgery.tracing import Recorder

__all__ = ["window"]

_NAMES = (
    "max_pool{n}d",
    "max_pool{n}d_with_indices",
    "mkldnn_max_pool{n}d",
    "avg_pool{n}d",
    "_adaptive_avg_pool{n}d",
    "adaptive_avg_pool{n}d",
    "mkldnn_adaptive_avg_pool{n}d",
    "adaptive_max_pool{n}d",
    "fractional_max_pool{n}d",
    "reflection_pad{n}d",
    "replication_pad{n}d",
    "upsample_nearest{n}d",
    "_upsample_nearest_exact{n}d",
    "upsample_linear{n}d",
    "upsample_bilinear{n}d",
    "upsample_bicubic{n}d",
    "upsample_trilinear{n}d",
    "_upsample_bilinear{n}d_aa",
    "_upsample_bicubic{n}d_aa",
    "grid_sampler_{n}d",
)


@register(*(f"aten.{name.format(n=n)}" for name in _NAMES for n in (1, 2, 3)))
def window(recorder: Recorder, operation: Operation) -> None:
    """Labels of samples and channels pass; labels of positions freeze."""
    source = operation.tensors[0]
    found = re.search(r"(\d)d", operation.name)
    n_positions = int(found.group(1)) if found else 2
    layers = []
    for layer in recorder.layers(source):
        positions = range(layer.dim() - n_positions, layer.dim())
        reason = operation.reason("it is pooled or resized as a position")
        small = recorder.ledger.fix(layer, positions, reason)
        if all(small.shape[dim] == 1 for dim in positions):
            layers.append(small)
    for tensor in operation.tensors[1:]:
        for layer in recorder.layers(tensor):
            recorder.ledger.freeze(layer, operation.reason("it is used as a grid of positions"))
    for output in operation.outputs:
        recorder.set(output, layers)
