"""Seeing the calls in which remembered numbers end up; see `optprune.surgery.sizes`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from optprune.surgery.labels import Layer, compact, compact_along, varying
from optprune.surgery.sizes import Dimension, Size, SizeUse, keep

if TYPE_CHECKING:
    from optprune.surgery.tracing import Recorder

__all__ = ["SizeMode"]


class SizeMode(TorchFunctionMode):
    """Hands out shapes that remember, and notes where remembered numbers are used."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "size" or func == torch.Tensor.shape.__get__:  # type: ignore[attr-defined]
            return self._shape(args[0], func(*args, **kwargs), args[1:], kwargs)
        if name == "scaled_dot_product_attention":
            self._fix_scale(args, kwargs)
        if name in _NOISE:
            with self.recorder.following_noise(args[0] if args else kwargs["input"]):
                return func(*args, **kwargs)
        found = [value for value in _numbers((args, kwargs)) if isinstance(value, Size)]
        if not found:
            return func(*args, **kwargs)
        with self.recorder.following(found):
            out = func(*args, **kwargs)
        if name in _ARITHMETIC:
            for size in found:
                keep(size, name)
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(self.recorder, out, args, kwargs)
        return out

    def _shape(self, tensor: torch.Tensor, out: Any, args: Sequence[Any], kwargs: Any) -> Any:
        """Return the shape of a tensor, labelled dimensions as `Size`."""
        layers = self.recorder.layers(tensor)
        if not layers:
            return out
        own: dict[int, Layer] = {}
        for layer in layers:
            for dim in varying(layer):
                own.setdefault(dim, layer)
        if isinstance(out, int):
            dim = int(args[0] if args else kwargs["dim"]) % tensor.dim()
            return self._size(out, own, dim)
        return torch.Size(self._size(n, own, dim) for dim, n in enumerate(out))

    def _size(self, length: int, layers: dict[int, Layer], dim: int) -> int:
        """Let the length of a labelled dimension remember its labels."""
        if dim not in layers:
            return length
        expression = Dimension(compact(layers[dim]), dim, length)
        return Size(length, expression, self.recorder)

    def _fix_scale(self, args: Any, kwargs: Any) -> None:
        """Attention divides by the root of the head size, unless the caller gives a scale."""
        if kwargs.get("scale") is not None:
            return
        reason = self.recorder.reason("the scale of attention depends on it", "attention")
        for tensor in (*args[:2], kwargs.get("query"), kwargs.get("key")):
            if isinstance(tensor, torch.Tensor):
                for layer in self.recorder.layers(tensor):
                    self.recorder.ledger.fix(layer, [tensor.dim() - 1], reason)


_ARITHMETIC = frozenset(
    f"{before}{name}{after}"
    for name in ("mul", "div", "truediv", "true_divide", "pow", "add", "sub")
    for before, after in (("", ""), ("", "_"), ("__", "__"), ("__r", "__"), ("__i", "__"))
)
"""Calls that compute with a number, not with tensors of its size."""

_NOISE = frozenset(
    ("dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout", "feature_dropout")
)
"""Calls that draw one random number for each channel, in a tensor that they make themselves."""


def _numbers(value: Any) -> Iterator[Any]:
    """Yield the ints of nested arguments."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, slice):
        yield from _numbers((value.start, value.stop))


def _flat(values: Iterable[Any]) -> list[Any]:
    """Take sizes that are written one by one or as one sequence."""
    listed = list(values)
    if len(listed) == 1 and isinstance(listed[0], tuple | list):
        return list(listed[0])
    return listed


def _use(recorder: Recorder, tensor: torch.Tensor, dim: int, size: Any, name: str) -> None:
    """Note that a dimension of a tensor must be as long as a number."""
    if not isinstance(size, Size) or int(size) <= 1:
        return
    reason = recorder.reason("its size is used as a number that cannot follow a removal", name)
    layers = [layer for layer in recorder.layers(tensor) if dim in varying(layer)]
    for layer in layers:
        recorder.sizes.append(SizeUse(size.expression, compact(layer), dim, reason))
    if not layers and tensor.shape[dim] == int(size):
        recorder.sizes.append(SizeUse(size.expression, None, dim, reason))


def _reshape(recorder: Recorder, out: torch.Tensor, args: Any, kwargs: Any) -> None:
    """Sizes of all dimensions of the result."""
    sizes = _flat(args[1:] or kwargs.get("shape") or kwargs.get("size") or ())
    for dim, size in enumerate(sizes):
        _use(recorder, out, dim, size, "view")


def _expand(recorder: Recorder, out: torch.Tensor, args: Any, kwargs: Any) -> None:
    """Sizes of the last dimensions of the result."""
    sizes = _flat(args[1:] or kwargs.get("size") or ())
    for dim, size in enumerate(sizes):
        _use(recorder, out, out.dim() - len(sizes) + dim, size, "expand")


def _unflatten(recorder: Recorder, out: torch.Tensor, args: Any, kwargs: Any) -> None:
    """Sizes that one dimension is taken apart into."""
    source, dim, sizes = [*args, kwargs.get("dim"), kwargs.get("sizes")][:3]
    for offset, size in enumerate(sizes or kwargs["sizes"]):
        _use(recorder, out, int(dim) % source.dim() + offset, size, "unflatten")


def _split(recorder: Recorder, out: Sequence[torch.Tensor], args: Any, kwargs: Any) -> None:
    """The sizes of parts; a part whose size is a literal cannot shrink."""
    dim = args[2] if len(args) > 2 else kwargs.get("dim", 0)
    sizes = (
        args[1] if len(args) > 1 else kwargs.get("split_size", kwargs.get("split_size_or_sections"))
    )
    if sizes is None:
        sizes = kwargs["split_sizes"]
    listed = [sizes] * len(out) if isinstance(sizes, int) else list(sizes)
    for part, size in zip(out, listed, strict=True):
        place = int(dim) % part.dim()
        if isinstance(size, Size):
            _use(recorder, part, place, size, "split")
        else:
            reason = recorder.reason(f"it is a part of the fixed size {size}", "split")
            for layer in recorder.layers(part):
                recorder.ledger.fix(layer, [place], reason)


def _narrow(recorder: Recorder, _out: torch.Tensor, args: Any, kwargs: Any) -> None:
    """Start and length along one dimension."""
    named = dict(zip(("input", "dim", "start", "length"), args, strict=False)) | kwargs
    source, start, length = named["input"], named["start"], named["length"]
    dim = int(named["dim"]) % source.dim()
    _bound(recorder, source, dim, start, "narrow")
    _bound(recorder, source, dim, start + length, "narrow")


def _item(recorder: Recorder, _out: torch.Tensor, args: Any, _kwargs: Any) -> None:
    """Bounds of slices."""
    source, places = args[:2]
    places = places if isinstance(places, tuple) else (places,)
    dim = 0
    for index, place in enumerate(places):
        if place is Ellipsis:
            rest = sum(1 for later in places[index + 1 :] if later is not None)
            dim = source.dim() - rest
            continue
        if place is None:
            continue
        if isinstance(place, slice):
            _bound(recorder, source, dim, place.start, "slice")
            _bound(recorder, source, dim, place.stop, "slice")
            dim += 1
        elif isinstance(place, torch.Tensor):
            dim += place.dim() if place.dtype == torch.bool else 1
        else:
            dim += 1


def _bound(recorder: Recorder, source: torch.Tensor, dim: int, bound: Any, name: str) -> None:
    """What lies before a bound must be as many as the bound says (behind it, for negative ones)."""
    if not isinstance(bound, Size) or not 0 < abs(int(bound)) <= int(source.shape[dim]):
        return
    negative = int(bound) < 0
    size = -bound if negative else bound
    start = int(source.shape[dim]) - int(size) if negative else 0
    reason = recorder.reason("it is sliced at a number that cannot follow a removal", name)
    for layer in recorder.layers(source):
        if dim in varying(layer):
            part = layer.narrow(dim, start, int(size))
            recorder.sizes.append(SizeUse(size.expression, compact_along(part, dim), dim, reason))


def _make(recorder: Recorder, out: torch.Tensor, args: Any, kwargs: Any) -> None:
    """Let a constant tensor whose size follows a removal take part in it."""
    given = args[1:] if args and isinstance(args[0], torch.Tensor) else args
    sizes = _flat(given or (kwargs.get("size"),))
    if sizes and isinstance(sizes[0], tuple | list):
        sizes = list(sizes[0])
    recorder.label_constant(out, sizes)


def _normalize(recorder: Recorder, _out: torch.Tensor, args: Any, kwargs: Any) -> None:
    """Sizes of the last dimensions, over which a normalisation goes."""
    source = args[0] if args else kwargs["input"]
    sizes = list(args[1] if len(args) > 1 else kwargs["normalized_shape"])
    for offset, size in enumerate(sizes):
        _use(recorder, source, source.dim() - len(sizes) + offset, size, "norm")


def _convolve(recorder: Recorder, _out: torch.Tensor, args: Any, kwargs: Any) -> None:
    """The number of groups: that of the channels in a depthwise convolution, else a constant."""
    groups = args[6] if len(args) > 6 else kwargs.get("groups", 1)
    source = args[0] if args else kwargs["input"]
    if isinstance(groups, Size) and source.shape[1] == int(groups):
        _use(recorder, source, 1, groups, "convolution")
    elif isinstance(groups, Size):
        reason = recorder.reason("it is the number of groups of a convolution", "convolution")
        recorder.sizes.append(SizeUse(groups.expression, None, 1, reason))


_HANDLERS: dict[str, Callable[[Recorder, Any, Any, Any], None]] = {
    "view": _reshape,
    "reshape": _reshape,
    "expand": _expand,
    "broadcast_to": _expand,
    "unflatten": _unflatten,
    "split": _split,
    "split_with_sizes": _split,
    "narrow": _narrow,
    "conv1d": _convolve,
    "conv2d": _convolve,
    "conv3d": _convolve,
    "layer_norm": _normalize,
    "rms_norm": _normalize,
    "__getitem__": _item,
    "zeros": _make,
    "ones": _make,
    "empty": _make,
    "full": _make,
    "new_zeros": _make,
    "new_ones": _make,
    "new_empty": _make,
    "new_full": _make,
}
