"""How large the weights of a unit are, put together over everything that leaves with it.

A unit of a residual stream is produced by several layers, normalized several times, and consumed
by several more; all of these slices are removed with it. Each layer's slices are measured against
the mean of their group in that layer, so that a wide layer with large weights does not drown the
others, and the relative sizes are averaged.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from optprune.errors import ArgumentError, GraphMismatchError
from optprune.surgery import Axis, ChannelGraph

__all__ = ["ROLES", "check_roles", "relative_norms"]

ROLES = ("out", "in", "norm")

_Floats: TypeAlias = npt.NDArray[np.float64]


def check_roles(members: Collection[str]) -> None:
    """Check the roles that a score aggregates over.

    Raises
    ------
    ArgumentError
        When there is none, or one that is unknown.
    """
    if isinstance(members, str) or not members or not set(members) <= set(ROLES):
        raise ArgumentError(
            f"members must be a non-empty tuple of roles from {ROLES}, got {members!r}."
        )


def relative_norms(
    network: nn.Module, graph: ChannelGraph, order: int, members: Collection[str] = ROLES
) -> _Floats:
    r"""Return the mean relative norm of the slices of every unit.

    Parameters
    ----------
    network : nn.Module
        A network of the graph's architecture, on any device.
    graph : ChannelGraph
        Its groups and units.
    order : {1, 2}
        1 for the sum of absolute values, 2 for the Euclidean norm.
    members : collection of {"out", "in", "norm"}
        Which members count.

    Returns
    -------
    ndarray of float64
        Shape ``(n_units,)``, not negative; the mean over each group is 1, or 0 where all of its
        weights are 0.

    Raises
    ------
    GraphMismatchError
        When the network has not the parameters of the graph.
    ArgumentError
        When a weight is not finite, or a group has no member of these roles.

    Notes
    -----
    Unit :math:`u` of group :math:`g` has in layer :math:`l` (on one side: producing, consuming or
    normalizing; weight and bias together) the slice :math:`w_{l,u}`. With the layers :math:`L_g`
    in which the group has a slice,

    .. math:: s_u = \frac{1}{|L_g|} \sum_{l \in L_g}
              \frac{\lVert w_{l,u} \rVert_p}
                   {\frac{1}{|g|} \sum_{v \in g} \lVert w_{l,v} \rVert_p}

    where a layer whose slices of the group are all zero counts 0. Parameters only: running
    statistics have no part. One pass over the weights of each prunable dimension, on the network's
    device.
    """
    _check_shapes(network, graph)
    if not graph.groups:
        return np.zeros(0)
    parameters = dict(network.named_parameters(remove_duplicate=False))
    role_of = {
        (member.tensor, member.dim, group.index): member.role
        for group in graph.groups
        for member in group.members
    }
    group_of = np.repeat(np.arange(graph.n_groups), graph.widths)
    axes = [axis for axis in graph.axes if axis.tensor in parameters]
    # A tied weight has several names and counts once.
    axes = list({(id(parameters[axis.tensor]), axis.dim): axis for axis in axes}.values())
    powers = _slice_powers(parameters, axes, order)

    layers: dict[tuple[str, str], tuple[_Floats, npt.NDArray[np.bool_]]] = {}
    for axis, power in zip(axes, powers, strict=True):
        covered = axis.units >= 0
        units, power = axis.units[covered], power[covered]
        groups = np.unique(group_of[units])
        roles = np.array([role_of[axis.tensor, axis.dim, int(group)] for group in groups])
        for role in sorted(set(roles) & set(members)):
            of_role = np.zeros(graph.n_groups, dtype=bool)
            of_role[groups[roles == role]] = True
            chosen = of_role[group_of[units]]
            total, seen = layers.setdefault(
                (_layer(axis.tensor), role),
                (np.zeros(graph.n_units), np.zeros(graph.n_groups, dtype=bool)),
            )
            total += np.bincount(units[chosen], power[chosen], minlength=graph.n_units)
            seen |= of_role

    scores, counts = np.zeros(graph.n_units), np.zeros(graph.n_groups)
    for total, seen in layers.values():
        norms = total ** (1 / order)
        means = np.bincount(group_of, norms, minlength=graph.n_groups) / graph.widths
        scores += norms / np.where(means > 0, means, 1.0)[group_of]
        counts += seen
    for group in graph.groups:
        if not counts[group.index]:
            found = sorted({member.role for member in group.members})
            raise ArgumentError(
                f"group {group.name!r} has no parameter of the roles {tuple(members)}; its members "
                f"are of the roles {found}. Give members= with one of these."
            )
    return np.asarray(scores / counts[group_of], dtype=np.float64)


def _layer(tensor: str) -> str:
    """Return what is measured together: a module's weight and bias, else the tensor alone."""
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


def _slice_powers(
    parameters: dict[str, nn.Parameter], axes: list[Axis], order: int
) -> list[_Floats]:
    """Return for each axis the sum over every slice of absolute values to the power `order`."""
    sums = []
    with torch.no_grad():
        for axis in axes:
            weights = parameters[axis.tensor].detach()
            # Half precision overflows in sums.
            wide = torch.promote_types(weights.dtype, torch.float32)
            powers = weights.to(wide).abs() if order == 1 else weights.to(wide).square()
            others = [dim for dim in range(weights.dim()) if dim != axis.dim]
            sums.append(powers.sum(dim=others) if others else powers)
        # One transfer for all axes.
        flat = torch.cat(sums).cpu().numpy().astype(np.float64)
    if not np.isfinite(flat).all():
        bad = next(a.tensor for a, s in zip(axes, sums, strict=True) if not s.isfinite().all())
        raise ArgumentError(f"The network's {bad!r} holds values that are not finite.")
    return np.split(flat, np.cumsum([axis.size for axis in axes])[:-1])
