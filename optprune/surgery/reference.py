"""What a smaller network is compared with: the dense one, zeroed, in double precision.

Two modes under which a network runs: `Precise` keeps everything in float64, also where the
network's code asks for less; `KeptStatistics` lets statistics over channels be those of the kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from optprune.surgery.fused import parts_of
from optprune.surgery.graph import ChannelGraph
from optprune.surgery.structure import Structure

__all__ = ["KeptStatistics", "Precise"]

_LOW = (torch.float32, torch.float16, torch.bfloat16)


class Precise(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Computes in float64 where the network's code asks for another floating-point type."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._defaults: list[torch.dtype] = []

    def __enter__(self) -> Any:
        self._defaults.append(torch.get_default_dtype())
        torch.set_default_dtype(torch.float64)
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        torch.set_default_dtype(self._defaults.pop())
        super().__exit__(kind, value, trace)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") in _LOW:
            kwargs["dtype"] = torch.float64
        parts = parts_of(func)
        if parts is not None:
            with self:
                return parts(*args, **kwargs)
        return self.execute(func, args, kwargs)

    def execute(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Execute an operation."""
        return func(*args, **kwargs)


class KeptStatistics(Precise):  # type: ignore[no-untyped-call]
    """Takes statistics over channels over those that a structure keeps.

    Parameters
    ----------
    graph : ChannelGraph
        The graph, which knows the statistics over channels.
    structure : Structure
        What is kept.
    """

    def __init__(self, graph: ChannelGraph, structure: Structure) -> None:
        super().__init__()
        kept = np.append(structure.kept, True)
        self._kept = {
            (statistics.operation, statistics.order): torch.from_numpy(kept[statistics.units])
            for statistics in graph.statistics
        }
        self._calls: Counter[str] = Counter()

    def execute(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Execute an operation, with statistics over kept channels where it takes any."""
        name = str(func)
        order = self._calls[name]
        self._calls[name] += 1
        kept = self._kept.get((name, order))
        if name == "aten._weight_norm_interface.default":
            # a direction of length zero has no quotient, but a weight of zero
            weight, norms = func(*args, **kwargs)
            return weight.nan_to_num(nan=0.0), norms
        if name == "aten.div.Tensor":
            # likewise a weight that is divided by its length
            quotient = func(*args, **kwargs)
            undefined = quotient.isnan() & (args[0] == 0)
            return torch.where(undefined, 0.0, quotient) if undefined.any() else quotient
        if kept is None:
            return func(*args, **kwargs)
        given = _named(func, args, kwargs)
        return _STATISTICS[name.split(".")[1]](given, kept)


def _named(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """Return the arguments of an operation by their names, defaults included."""
    given = dict(kwargs)
    for index, argument in enumerate(func._schema.arguments):
        if index < len(args):
            given[argument.name] = args[index]
        elif argument.name not in given:
            given[argument.name] = argument.default_value if argument.has_default_value() else None
    return given


def _moments(
    source: torch.Tensor, kept: torch.Tensor, dims: Sequence[int], correction: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance over dimensions (kept, of size 1) of the kept entries."""
    weight = kept.to(source.dtype).expand_as(source)
    count = weight.sum(tuple(dims), keepdim=True)
    mean = (source * weight).sum(tuple(dims), keepdim=True) / count
    variance = ((source - mean) ** 2 * weight).sum(tuple(dims), keepdim=True)
    return mean, variance / (count - correction)


def _normalized(
    source: torch.Tensor, kept: torch.Tensor, dims: Sequence[int], epsilon: float
) -> torch.Tensor:
    """Normalise over dimensions with the statistics of the kept entries; the others are zero."""
    mean, variance = _moments(source, kept, dims)
    return (source - mean) / (variance + epsilon).sqrt() * kept.to(source.dtype)


def _affine(
    normal: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, dims: list[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scale and shift along dimensions, as the operations of PyTorch return it."""
    shape = [size if dim in dims else 1 for dim, size in enumerate(normal.shape)]
    if weight is not None:
        normal = normal * weight.reshape(shape)
    if bias is not None:
        normal = normal + bias.reshape(shape)
    return normal, normal.new_zeros(()), normal.new_zeros(())


def _layer_norm(given: dict[str, Any], kept: torch.Tensor) -> Any:
    source = given["input"]
    dims = list(range(source.dim() - len(given["normalized_shape"]), source.dim()))
    normal = _normalized(source, kept, dims, given["eps"])
    return _affine(normal, given["weight"], given["bias"], dims)


def _group_norm(given: dict[str, Any], kept: torch.Tensor) -> Any:
    source, n_groups = given["input"], given["group"]
    grouped = source.reshape(source.shape[0], n_groups, source.shape[1] // n_groups, -1)
    mask = kept.reshape(1, n_groups, -1, 1)
    normal = _normalized(grouped, mask, (2, 3), given["eps"]).reshape(source.shape)
    return _affine(normal, given["weight"], given["bias"], [1])


def _batch_norm(given: dict[str, Any], kept: torch.Tensor) -> Any:
    source = given["input"]
    dims = [dim for dim in range(source.dim()) if dim != 1]
    normal = _normalized(source, kept, dims, given["eps"])
    return _affine(normal, given["weight"], given["bias"], [1])


def _reduced(
    given: dict[str, Any], kept: torch.Tensor, correction: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    source = given["self"]
    dims = given.get("dim")
    dims = [dims] if isinstance(dims, int) else list(dims or range(source.dim()))
    dims = [dim % source.dim() for dim in dims]
    mean, variance = _moments(source, kept, dims, correction)
    if not given.get("keepdim"):
        mean, variance = mean.squeeze(dims), variance.squeeze(dims)
    return mean, variance


def _variance(given: dict[str, Any], kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    correction = given.get("correction")
    if correction is None:
        correction = float(given.get("unbiased") is not False)
    mean, variance = _reduced(given, kept, float(correction))
    return variance, mean


def _deviation(given: dict[str, Any], kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    variance, mean = _variance(given, kept)
    return variance.sqrt(), mean


_STATISTICS: dict[str, Callable[[dict[str, Any], torch.Tensor], Any]] = {
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "native_batch_norm": _batch_norm,
    "mean": lambda given, kept: _reduced(given, kept)[0],
    "var": lambda given, kept: _variance(given, kept)[0],
    "var_mean": _variance,
    "std": lambda given, kept: _deviation(given, kept)[0],
    "std_mean": _deviation,
}
