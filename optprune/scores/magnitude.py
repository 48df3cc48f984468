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
from torch import nn

from optprune.errors import ArgumentError
from optprune.scores.slices import group_of_units, parameter_axes, parts, slice_sums
from optprune.surgery import ChannelGraph

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
    parameters, axes = parameter_axes(network, graph)
    if not graph.groups:
        return np.zeros(0)
    group_of = group_of_units(graph)
    powers = slice_sums(parameters, axes, lambda _, w: w.abs() if order == 1 else w.square())
    if not np.isfinite(powers).all():
        ends = np.cumsum([axis.size for axis in axes])
        first = int(np.argmin(np.isfinite(powers)))
        bad = axes[int(np.searchsorted(ends, first, side="right"))].tensor
        raise ArgumentError(f"The network's {bad!r} holds values that are not finite.")

    layers: dict[tuple[str, str], tuple[_Floats, npt.NDArray[np.bool_]]] = {}
    for part in parts(graph, axes):
        if part.role in members:
            total, seen = layers.setdefault(
                (part.layer, part.role),
                (np.zeros(graph.n_units), np.zeros(graph.n_groups, dtype=bool)),
            )
            total += np.bincount(part.units, powers[part.entries], minlength=graph.n_units)
            seen[group_of[part.units]] = True

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
