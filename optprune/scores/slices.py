"""The slices that units have in a network's parameters, and sums over each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from optprune.errors import GraphMismatchError
from optprune.surgery import Axis, ChannelGraph

__all__ = ["Part", "group_of_units", "parameter_axes", "parts", "slice_sums"]

_Floats: TypeAlias = npt.NDArray[np.float64]
_Indices: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """What one axis has on one side: producing, consuming or normalizing.

    Parameters
    ----------
    layer : str
        What is looked at together: a module's weight and bias, any other tensor alone.
    role : {"out", "in", "norm"}
        The side.
    units : ndarray of int, shape (n,)
        The unit of each slice.
    entries : ndarray of int, shape (n,)
        Where the slice's sum stands in what `slice_sums` returns for the same axes.
    """

    layer: str
    role: str
    units: _Indices
    entries: _Indices


def parameter_axes(
    network: nn.Module, graph: ChannelGraph
) -> tuple[dict[str, nn.Parameter], list[Axis]]:
    """Return a network's parameters and those of their axes in which units have slices.

    Parameters
    ----------
    network : nn.Module
        A network of the graph's architecture.
    graph : ChannelGraph
        Its groups and units.

    Returns
    -------
    parameters : dict of str to nn.Parameter
        By all of their names.
    axes : list of Axis
        Of parameters only, not of running statistics. A tied parameter has several names and
        counts once.

    Raises
    ------
    GraphMismatchError
        When the network has not the parameters of the graph.
    """
    _check_shapes(network, graph)
    parameters = dict(network.named_parameters(remove_duplicate=False))
    axes = [axis for axis in graph.axes if axis.tensor in parameters]
    once = {(id(parameters[axis.tensor]), axis.dim): axis for axis in axes}
    return parameters, list(once.values())


def group_of_units(graph: ChannelGraph) -> _Indices:
    """Return the index of every unit's group, shape ``(n_units,)``."""
    return np.repeat(np.arange(graph.n_groups), graph.widths)


def parts(graph: ChannelGraph, axes: Sequence[Axis]) -> list[Part]:
    """Tell what each axis has on which side.

    Parameters
    ----------
    graph : ChannelGraph
        Groups and units.
    axes : sequence of Axis
        From `parameter_axes`, in the order of `slice_sums`.

    Returns
    -------
    list of Part
        One for each axis and role.
    """
    role_of = {
        (member.tensor, member.dim, group.index): member.role
        for group in graph.groups
        for member in group.members
    }
    group_of = group_of_units(graph)
    found = []
    start = 0
    for axis in axes:
        covered = np.flatnonzero(axis.units >= 0)
        units = axis.units[covered].astype(np.int64)
        groups, inverse = np.unique(group_of[units], return_inverse=True)
        roles = np.array([role_of[axis.tensor, axis.dim, int(group)] for group in groups])
        for role in np.unique(roles):
            chosen = (roles == role)[inverse]
            layer = _layer(axis.tensor)
            found.append(Part(layer, str(role), units[chosen], start + covered[chosen]))
        start += axis.size
    return found


def slice_sums(
    parameters: dict[str, nn.Parameter],
    axes: Sequence[Axis],
    function: Callable[[str, torch.Tensor], torch.Tensor],
) -> _Floats:
    """Return the sum over every slice of a function of the weights.

    Parameters
    ----------
    parameters : dict of str to nn.Parameter
        From `parameter_axes`.
    axes : sequence of Axis
        Of these parameters; at least one.
    function : callable
        ``function(name, weights)`` takes a parameter's values in float32 at least and returns a
        tensor of their shape.

    Returns
    -------
    ndarray of float64
        The axes one after another, a sum for each index.
    """
    sums = []
    with torch.no_grad():
        for axis in axes:
            weights = parameters[axis.tensor].detach()
            # Half precision overflows in sums.
            wide = weights.to(torch.promote_types(weights.dtype, torch.float32))
            values = function(axis.tensor, wide)
            others = [dim for dim in range(values.dim()) if dim != axis.dim]
            sums.append(values.sum(dim=others) if others else values)
        # One transfer for all axes.
        return torch.cat(sums).cpu().numpy().astype(np.float64)


def _layer(tensor: str) -> str:
    """Return what is looked at together: a module's weight and bias, else the tensor alone."""
    module, _, leaf = tensor.rpartition(".")
    return module if module and leaf in ("weight", "bias") else f"{module}|{leaf}"


def _check_shapes(network: nn.Module, graph: ChannelGraph) -> None:
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if isinstance(tensor, torch.Tensor)
    }
    for name, shape in graph.shapes:
        if shapes.get(name) != tuple(shape):
            raise GraphMismatchError(
                f"The graph was traced with {name!r} of shape {tuple(shape)} and the network has "
                f"{shapes.get(name, 'no such tensor')}: score a dense network of the graph's "
                "architecture, or trace this one."
            )
