"""Where a group's representation is read: at the layers that take it in, or that make it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from optprune.errors import GraphMismatchError
from optprune.surgery import ChannelGraph, ChannelGroup, consumed

__all__ = ["Place", "Source", "check_network", "consuming", "producing"]

_TAKING_IN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_MAKING = (nn.Linear, _ConvNd, nn.MultiheadAttention, nn.Embedding, nn.RNNBase)


@dataclass(frozen=True)
class Place:
    """What passes through a network at one module.

    Parameters
    ----------
    module : str
        The module's name.
    side : {"inputs", "outputs"}
        What reaches it, or what it returns.
    channels_first : bool
        Whether the channels are the dimension behind the samples, as in a convolution; else they
        are the last.
    """

    module: str
    side: Literal["inputs", "outputs"]
    channels_first: bool


@dataclass(frozen=True, eq=False)
class Source:
    """A place where a group is seen, and its part of the channels there.

    Parameters
    ----------
    place : Place
        The place.
    channels : Tensor of int64 or None
        Shape ``(width, channels of a unit)``; None for all channels of the place.
    positions : bool
        Whether the channels of a unit are one feature at many positions, side by side behind a
        flatten.
    """

    place: Place
    channels: torch.Tensor | None
    positions: bool = False

    def features(self, seen: torch.Tensor, *, pooled: bool) -> torch.Tensor:
        """Return the group's features from what passed through the place.

        Parameters
        ----------
        seen : Tensor
            Shape ``(n, channels, positions)``.
        pooled : bool
            Whether to average over positions.

        Returns
        -------
        Tensor
            Shape ``(n, d)``.
        """
        if self.channels is None:
            return seen.flatten(1)
        units, each = self.channels.shape
        own = seen[:, self.channels.reshape(-1).to(seen.device)]
        if pooled and self.positions:
            own = own.view(len(own), units, each, -1).mean(2)
        return own.flatten(1)


def consuming(network: nn.Module, graph: ChannelGraph, group: ChannelGroup) -> list[Source]:
    """Return the inputs of the linear layers and convolutions that take a group in.

    Parameters
    ----------
    network : nn.Module
        A network of the graph.
    graph : ChannelGraph
        Groups and units.
    group : ChannelGroup
        One of them.

    Returns
    -------
    list of Source
        In the order of the graph; empty where no such layer takes the group in.
    """
    modules = dict(network.named_modules())
    made_as = min((m.per_unit for m in group.members if m.role == "out"), default=0)
    found = []
    for name, entering in consumed(graph)[group.index].items():
        module = modules.get(name)
        if isinstance(module, _TAKING_IN):
            units = np.tile(entering, getattr(module, "groups", 1))
            place = Place(name, "inputs", isinstance(module, _ConvNd))
            flattened = isinstance(module, nn.Linear) and made_as == 1
            found.append(Source(place, _channels(units, group), flattened))
    return found


def producing(network: nn.Module, graph: ChannelGraph, group: ChannelGroup) -> list[Source]:
    """Return the outputs of the modules that make a group, for one that no layer takes in.

    Parameters
    ----------
    network : nn.Module
        A network of the graph.
    graph : ChannelGraph
        Groups and units.
    group : ChannelGroup
        One of them.

    Returns
    -------
    list of Source
        Of linear layers, convolutions, attention, embeddings and recurrent layers. All that a
        module returns where its channels are not the indices of its weight: the heads of
        `nn.MultiheadAttention` are seen as the outputs of the attention.
    """
    modules = dict(network.named_modules())
    axes = {(axis.tensor, axis.dim): axis for axis in graph.axes}
    found: dict[str, Source] = {}
    for member in group.members:
        name, _, leaf = member.tensor.rpartition(".")
        module = modules.get(name)
        if member.role != "out" or name in found or not isinstance(module, _MAKING):
            continue
        place = Place(name, "outputs", isinstance(module, _ConvNd))
        axis = axes.get((member.tensor, member.dim))
        own = axis is not None and leaf == "weight" and axis.size == _returned(module)
        found[name] = Source(place, _channels(axis.units, group) if axis and own else None)
    return list(found.values())


def check_network(network: nn.Module, graph: ChannelGraph) -> None:
    """Raise `GraphMismatchError` unless a network has the tensors that a graph was traced with.

    Parameters
    ----------
    network : nn.Module
        The network.
    graph : ChannelGraph
        The graph.
    """
    have = {
        name: tuple(tensor.shape)
        for tensors in (network.named_parameters(), network.named_buffers())
        for name, tensor in tensors
    }
    for name, shape in graph.shapes:
        if have.get(name) != shape:
            raise GraphMismatchError(
                f"the graph has {name!r} of shape {shape} and the network "
                f"{f'of shape {have[name]}' if name in have else 'has no such tensor'}: give the "
                "graph that was traced from this network, or none."
            )


def _channels(units: npt.NDArray[np.int32], group: ChannelGroup) -> torch.Tensor | None:
    """Return the channels of each unit in the order of the units; all units have as many."""
    order = np.argsort(units, kind="stable")
    own = order[(units[order] >= group.start) & (units[order] < group.stop)]
    return torch.from_numpy(own.reshape(group.width, -1))


def _returned(module: nn.Module) -> int:
    """Return the channels that a module returns, 0 where nothing is known."""
    known = ("out_features", "out_channels", "embedding_dim")
    return next((int(getattr(module, name)) for name in known if hasattr(module, name)), 0)
