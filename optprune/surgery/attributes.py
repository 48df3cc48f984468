"""Numbers that modules keep about the sizes of their tensors, set after a removal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from optprune.surgery.graph import ChannelGraph
from optprune.surgery.structure import Structure

__all__ = ["dense_attributes", "narrow_attributes", "set_attributes", "set_sizes"]

_WATCHED: dict[type[nn.Module], tuple[str, ...]] = {
    _ConvNd: ("in_channels", "out_channels", "groups"),
    nn.Linear: ("in_features", "out_features"),
    nn.Bilinear: ("in1_features", "in2_features", "out_features"),
    _NormBase: ("num_features",),
    nn.GroupNorm: ("num_channels", "num_groups"),
    nn.LayerNorm: ("normalized_shape",),
    nn.RMSNorm: ("normalized_shape",),
    nn.Embedding: ("embedding_dim",),
    nn.PReLU: ("num_parameters",),
    nn.RNNBase: ("input_size", "hidden_size", "proj_size"),
    nn.RNNCellBase: ("input_size", "hidden_size"),
    nn.MultiheadAttention: ("embed_dim", "kdim", "vdim"),
}


def dense_attributes(network: nn.Module) -> dict[str, dict[str, Any]]:
    """Return the sizes that the modules of a dense network keep, by module name."""
    found = {}
    for name, module in network.named_modules():
        for kind, names in _WATCHED.items():
            if isinstance(module, kind):
                found[name] = {attribute: getattr(module, attribute) for attribute in names}
    return found


def set_sizes(modules: Mapping[str, nn.Module], dense: Mapping[str, Mapping[str, Any]]) -> None:
    """Set the sizes of all modules from the tensors that they hold now.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        The modules of a network whose tensors were narrowed, by name.
    dense : mapping of str to mapping
        The sizes before, from `dense_attributes`.
    """
    for name, before in dense.items():
        # plain numbers live in the instance; Module.__setattr__ would search elsewhere first
        modules[name].__dict__.update(_sizes(modules[name], before))


def _sizes(module: nn.Module, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes of one module."""
    weight = module._parameters.get("weight")
    if isinstance(module, _ConvNd):
        return _convolution_sizes(module, before)
    if isinstance(module, _NormBase):
        tensor = weight if weight is not None else module._buffers.get("running_mean")
        return {} if tensor is None else {"num_features": tensor.shape[0]}
    if isinstance(module, nn.RNNBase):
        return _recurrent_sizes(module)
    if isinstance(module, nn.RNNCellBase):
        return {"input_size": module.weight_ih.shape[1], "hidden_size": module.weight_hh.shape[1]}
    if isinstance(module, nn.MultiheadAttention):
        return _attention_sizes(module)
    if weight is None:
        return {}
    if isinstance(module, nn.Linear):
        return {"in_features": weight.shape[1], "out_features": weight.shape[0]}
    if isinstance(module, nn.Bilinear):
        sizes = ("out_features", "in1_features", "in2_features")
        return dict(zip(sizes, weight.shape, strict=True))
    if isinstance(module, nn.GroupNorm):
        channels = weight.shape[0]
        alone = before["num_groups"] == before["num_channels"]
        return {
            "num_channels": channels,
            "num_groups": channels if alone else before["num_groups"],
        }
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return {"normalized_shape": tuple(weight.shape)}
    if isinstance(module, nn.Embedding):
        return {"embedding_dim": weight.shape[1]}
    return {"num_parameters": weight.shape[0]}


def _convolution_sizes(module: _ConvNd, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return channels and groups; the groups of a depthwise convolution leave with channels."""
    weight = module._parameters.get("weight")
    # a reparametrised weight is no parameter, and is computed when it is asked for
    first, second = (module.weight if weight is None else weight).shape[:2]
    groups = int(before["groups"])
    transposed = isinstance(module, _ConvTransposeNd)
    depthwise = groups > 1 and groups == before["in_channels"]
    if depthwise:
        per_group = before["out_channels"] // groups
        groups = first if transposed else first // per_group
    if transposed:
        return {"in_channels": first, "out_channels": second * groups, "groups": groups}
    return {"in_channels": second * groups, "out_channels": first, "groups": groups}


def _recurrent_sizes(module: nn.RNNBase) -> dict[str, Any]:
    """Return the sizes of a recurrent layer from its first layer's weights."""
    hidden = module._parameters["weight_hh_l0"]
    inputs = module._parameters["weight_ih_l0"]
    projection = module._parameters.get("weight_hr_l0")
    assert hidden is not None
    assert inputs is not None
    gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
    return {
        "input_size": inputs.shape[1],
        "hidden_size": hidden.shape[0] // gates,
        "proj_size": 0 if projection is None else projection.shape[0],
    }


def _attention_sizes(module: nn.MultiheadAttention) -> dict[str, Any]:
    """Return the sizes of embeddings of an attention from its projections."""
    joint = module._parameters["in_proj_weight"]
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    found = [module._parameters[name] if joint is None else joint for name in names]
    sizes = [matrix.shape[1] for matrix in found if matrix is not None]
    return dict(zip(("embed_dim", "kdim", "vdim"), sizes, strict=True))


def narrow_attributes(graph: ChannelGraph, structure: Structure) -> dict[str, dict[int, int]]:
    """Return the attributes that no tensor shows: ``{"module.attribute": {dim: size}}``."""
    found: dict[str, dict[int, int]] = {}
    for axis in graph.attributes:
        found.setdefault(axis.tensor, {})[axis.dim] = len(axis.kept(structure))
    return found


def set_attributes(
    modules: Mapping[str, nn.Module], sizes: Mapping[str, Mapping[int, int]]
) -> None:
    """Set attributes that no tensor shows."""
    for full, lengths in sizes.items():
        name, _, attribute = full.rpartition(".")
        value = getattr(modules[name], attribute)
        if isinstance(value, int):
            setattr(modules[name], attribute, lengths[0])
        else:
            changed = [lengths.get(dim, size) for dim, size in enumerate(value)]
            setattr(modules[name], attribute, type(value)(changed))
