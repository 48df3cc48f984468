"""Removed = zeroed, computed without the package's own `mask` and `verify`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn

from optprune.surgery import ChannelGraph, Structure
from optprune.surgery.calling import Inputs, call, to_dtype

from .networks import Case, tensors


def split_name(dimension: str) -> tuple[str, int]:
    """Read ``"tensor:dim"``; without ``":dim"`` it is dimension 0."""
    tensor, _, dim = dimension.partition(":")
    return tensor, int(dim or 0)


def units_of(graph: ChannelGraph, dimension: str, size: int) -> np.ndarray:
    """Return the unit of every index of a dimension, -1 where it is always kept."""
    tensor, dim = split_name(dimension)
    tensor = dict(graph.aliases).get(tensor, tensor)
    for axis in graph.axes:
        if (axis.tensor, axis.dim) == (tensor, dim):
            assert axis.size == len(axis.units) == size
            return np.asarray(axis.units)
    return np.full(size, -1)


def kept_of(graph: ChannelGraph, structure: Structure, dimension: str, size: int) -> torch.Tensor:
    """Return which indices of a dimension stay."""
    units = units_of(graph, dimension, size)
    return torch.from_numpy(np.where(units < 0, True, structure.kept[np.maximum(units, 0)]))


def state_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return all parameters and buffers under all their names, unsaved buffers included."""
    state = dict(network.named_parameters(remove_duplicate=False))
    return {**state, **dict(network.named_buffers(remove_duplicate=False))}


def size_of(network: nn.Module, dimension: str) -> int:
    """Return the size of a dimension of a network's tensor."""
    tensor, dim = split_name(dimension)
    return state_of(network)[tensor].shape[dim]


def zeroed(network: nn.Module, graph: ChannelGraph, structure: Structure) -> nn.Module:
    """Copy the network and set every parameter slice of the removed units to zero."""
    network = copy.deepcopy(network)
    parameters = dict(network.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for axis in graph.axes:
            if axis.tensor in parameters:
                kept = kept_of(graph, structure, f"{axis.tensor}:{axis.dim}", axis.size)
                parameters[axis.tensor].index_fill_(axis.dim, (~kept).nonzero().flatten(), 0)
    for module in network.modules():
        if type(module).__name__ == "_WeightNorm":
            # a direction of length zero has no quotient, but a weight of zero
            module.forward = partial(_weight_of_no_length, module.forward)
    return network


def _weight_of_no_length(forward: Callable[..., torch.Tensor], *args: torch.Tensor) -> torch.Tensor:
    return forward(*args).nan_to_num(nan=0.0)


def normalize_kept(
    network: nn.Module, dense: nn.Module, graph: ChannelGraph, structure: Structure, case: Case
) -> None:
    """Make the network's normalisations over channels take statistics of kept channels only."""
    for name, dimension in case.norms.items():
        kept = kept_of(graph, structure, dimension, size_of(dense, dimension)).double()
        module = network.get_submodule(name)
        if isinstance(module, nn.GroupNorm):
            module.forward = partial(_group_norm, module, kept)
        else:
            assert isinstance(module, nn.LayerNorm)
            channels = 1 if type(module).__name__ == "LayerNorm2d" else -1
            module.forward = partial(_layer_norm, module, kept, channels)


def _layer_norm(norm: nn.LayerNorm, kept: torch.Tensor, dim: int, x: torch.Tensor) -> torch.Tensor:
    x = x.movedim(dim, -1)
    mean = (x * kept).sum(-1, keepdim=True) / kept.sum()
    variance = ((x - mean).square() * kept).sum(-1, keepdim=True) / kept.sum()
    y = (x - mean) / torch.sqrt(variance + norm.eps) * kept
    if norm.elementwise_affine:
        y = y * norm.weight + norm.bias
    return y.movedim(-1, dim)


def _group_norm(norm: nn.GroupNorm, kept: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    grouped = x.reshape(x.shape[0], norm.num_groups, -1, x[0, 0].numel())
    mask = kept.reshape(norm.num_groups, -1, 1)
    count = (mask.sum((1, 2)) * grouped.shape[3]).clamp(min=1).view(1, -1, 1, 1)
    mean = (grouped * mask).sum((2, 3), keepdim=True) / count
    variance = ((grouped - mean).square() * mask).sum((2, 3), keepdim=True) / count
    y = ((grouped - mean) / torch.sqrt(variance + norm.eps) * mask).view_as(x)
    if norm.affine:
        shape = (1, -1, *[1] * (x.dim() - 2))
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    return y


def outputs(network: nn.Module, inputs: Inputs, *, branches: bool = False) -> list[torch.Tensor]:
    """Run in double precision; with `branches`, the code thinks that it is training.

    Layers (modules without children) always stay in eval mode, so that statistics are the running
    ones and nothing is dropped.
    """
    network.train(branches)
    for module in network.modules():
        if not next(module.children(), None):
            module.eval()
    with torch.no_grad():
        result = tensors(call(network, to_dtype(inputs, torch.float64)))
    network.eval()
    return result


def difference(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Return the largest difference, relative to the largest value of each output."""
    assert len(found) == len(expected) > 0
    assert [tuple(t.shape) for t in found] == [tuple(t.shape) for t in expected]
    for tensor in found + expected:
        assert torch.isfinite(tensor).all()
    scales = [float(b.abs().max()) for b in expected]
    assert min(scales) > 1e-6, "the signals die: the comparison would say nothing"
    pairs = zip(found, expected, scales, strict=True)
    return max(float((a - b).abs().max()) / scale for a, b, scale in pairs)


def check_removed_equals_zeroed(
    case: Case, dense: nn.Module, small: nn.Module, graph: ChannelGraph, structure: Structure
) -> None:
    """Assert that a small network computes what the dense one with zeroed slices computes."""
    reference = zeroed(dense, graph, structure)
    normalize_kept(reference, dense, graph, structure, case)
    inputs = case.example(batch=3, seed=7)
    for branches in (False, True):
        found = outputs(small, inputs, branches=branches)
        expected = outputs(reference, inputs, branches=branches)
        assert difference(found, expected) < 1e-8
    if not structure.kept.all():
        assert difference(expected, outputs(dense, inputs, branches=True)) > 1e-7, (
            "removing these units changes nothing: the comparison would say nothing"
        )


def repaired(graph: ChannelGraph, kept: np.ndarray) -> Structure:
    """Return the structure of the kept units; a group that would be empty keeps its last."""
    kept = np.array(kept, dtype=bool)
    for group in graph.groups:
        if not kept[group.slice].any():
            kept[group.stop - 1] = True
    return graph.structure(kept)


def random_structure(graph: ChannelGraph, seed: int, how: str = "half") -> Structure:
    """Draw a structure: about half of each group, other widths, few units, or one group only."""
    generator = np.random.default_rng([seed, len(how)])
    if how == "half":
        return repaired(graph, generator.random(graph.n_units) < 0.5)
    if how == "few":
        widths = np.minimum(graph.widths, generator.integers(1, 3, graph.n_groups))
    elif how == "widths":
        widths = generator.integers(1, graph.widths + 1)
    else:
        assert how == "one group"
        widths = np.array(graph.widths)
        if graph.n_groups:
            chosen = generator.integers(graph.n_groups)
            widths[chosen] = generator.integers(1, widths[chosen] + 1)
    return graph.structure_from_widths(widths, generator.random(graph.n_units))


def structures(graph: ChannelGraph) -> st.SearchStrategy[Structure]:
    """Draw structures that shrink to the whole network."""
    removed = st.lists(st.booleans(), min_size=graph.n_units, max_size=graph.n_units)
    return removed.map(lambda bits: repaired(graph, ~np.array(bits, dtype=bool)))


def layers_of(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that state their sizes, with their names."""
    for name, module in network.named_modules():
        if not next(module.children(), None):
            yield name, module


def check_attributes(network: nn.Module) -> None:
    """Assert that every layer says the sizes that it has."""
    for name, layer in layers_of(network):
        for attribute, size in _sizes(layer).items():
            assert getattr(layer, attribute) == size, f"{name}.{attribute} should be {size}"


def _sizes(layer: nn.Module) -> dict[str, object]:
    weight = getattr(layer, "weight", None)
    if isinstance(layer, nn.modules.conv._ConvNd):
        outer, inner = weight.shape[:2]
        if layer.transposed:
            return {"in_channels": outer, "out_channels": inner * layer.groups}
        return {"in_channels": inner * layer.groups, "out_channels": outer}
    if isinstance(layer, nn.Linear):
        return {"in_features": weight.shape[1], "out_features": weight.shape[0]}
    if isinstance(layer, nn.modules.batchnorm._NormBase) and weight is not None:
        return {"num_features": len(weight)}
    if isinstance(layer, nn.LayerNorm) and weight is not None:
        return {"normalized_shape": tuple(weight.shape)}
    if isinstance(layer, nn.GroupNorm) and layer.affine:
        return {"num_channels": len(weight)}
    if isinstance(layer, nn.PReLU):
        return {"num_parameters": len(weight)}
    if isinstance(layer, nn.Embedding):
        return {"num_embeddings": weight.shape[0], "embedding_dim": weight.shape[1]}
    return {}
