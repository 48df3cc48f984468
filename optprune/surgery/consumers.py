"""Which layers take a group in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from optprune.surgery.graph import ChannelGraph

__all__ = ["consumed"]


def consumed(graph: ChannelGraph) -> dict[int, dict[str, npt.NDArray[np.int32]]]:
    """Return, for every group, the layers that it enters, with the unit of each input channel.

    Parameters
    ----------
    graph : ChannelGraph
        Groups and units.

    Returns
    -------
    dict of int to dict of str to ndarray of int32
        By the groups' indices and the layers' names; arrays of shape ``(channels,)``, the second
        dimension of the layer's weight, with -1 for channels of no unit. A group that no weight
        takes in has an empty dict.
    """
    found: dict[int, dict[str, npt.NDArray[np.int32]]] = {g.index: {} for g in graph.groups}
    group_of = np.repeat(np.arange(graph.n_groups), graph.widths)
    inputs = {m.tensor for g in graph.groups for m in g.members if m.role == "in" and m.dim == 1}
    for axis in graph.axes:
        layer, _, leaf = axis.tensor.rpartition(".")
        if axis.dim == 1 and leaf == "weight" and axis.tensor in inputs:
            for index in np.unique(group_of[axis.units[axis.units >= 0]]):
                found[int(index)][layer] = axis.units
    return found
