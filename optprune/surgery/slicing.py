"""Removing channels: `Slicer` for a search, `cut` for a network of one's own, `mask` to compare.

A candidate costs one `index_select` for each narrowed dimension and nothing else: the modules are
copied once, into a shell that takes one candidate's tensors after another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from optprune.errors import GraphMismatchError
from optprune.surgery.attributes import (
    dense_attributes,
    narrow_attributes,
    set_attributes,
    set_sizes,
)
from optprune.surgery.graph import ChannelGraph
from optprune.surgery.state import Slot, dense_state, empty_copy, install, slots
from optprune.surgery.structure import Structure

__all__ = ["Slicer", "cut", "mask"]


class Slicer:
    """Makes one small network after another from a dense one.

    Parameters
    ----------
    network : nn.Module
        The dense network; it is read, never written to.
    graph : ChannelGraph
        Its channel graph.

    Raises
    ------
    GraphMismatchError
        If names or shapes of the network's state are not those that were traced.
    TraceError
        If the network cannot be copied.
    """

    def __init__(self, network: nn.Module, graph: ChannelGraph) -> None:
        self.graph = graph
        self._state = dense_state(network)
        check_shapes({name: tuple(t.shape) for name, t in self._state.items()}, graph.shapes)
        self._shell = empty_copy(network).eval()
        self._slots = slots(network)
        self._dense = dense_attributes(network)
        self._units: list[npt.NDArray[np.int32]] = []
        self._plan: dict[str, list[tuple[int, int]]] = {}
        known: dict[bytes, int] = {}
        for axis in graph.axes:
            key = axis.units.tobytes()
            if key not in known:
                known[key] = len(self._units)
                self._units.append(axis.units)
            self._plan.setdefault(axis.tensor, []).append((axis.dim, known[key]))
        self._saved = set(network.state_dict())
        self._kept: tuple[Structure, list[npt.NDArray[np.int64] | None]] | None = None

    def take(
        self, structure: Structure, state: Mapping[str, torch.Tensor] | None = None
    ) -> dict[str, torch.Tensor]:
        """Take the tensors of a structure.

        Parameters
        ----------
        structure : Structure
            What is kept.
        state : mapping of str to Tensor, optional
            A dense state to take from, by names; the network's own by default.

        Returns
        -------
        dict of str to Tensor
            Every parameter and buffer by its canonical name. All are copies: none shares storage
            with the dense network.

        Raises
        ------
        GraphMismatchError
            If the structure belongs to another graph, or `state` does not fit the network.
        """
        self.graph.check(structure)
        source = self._state if state is None else self._checked(state)
        device = next((tensor.device for tensor in source.values()), torch.device("cpu"))
        kept = [
            None if chosen is None else torch.from_numpy(chosen).to(device)
            for chosen in self._indices(structure)
        ]
        taken = {}
        for name, tensor in source.items():
            result = tensor
            for dim, index in self._plan.get(name, ()):
                chosen_here = kept[index]
                if chosen_here is not None:
                    result = result.index_select(dim, chosen_here)
            taken[name] = result.clone() if result is tensor else result
        return taken

    def _indices(self, structure: Structure) -> list[npt.NDArray[np.int64] | None]:
        """Return what stays of each distinct axis; None where all does."""
        if self._kept is None or self._kept[0] is not structure:
            bits = np.append(structure.kept, True)
            chosen = [np.flatnonzero(bits[units]) for units in self._units]
            self._kept = (
                structure,
                [
                    None if len(found) == len(units) else found
                    for found, units in zip(chosen, self._units, strict=True)
                ],
            )
        return self._kept[1]

    def _checked(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return a foreign state under canonical names, detached."""
        # a buffer that is not persistent is in no state dict; the network's own serves
        missing = [name for name in self._state if name not in state and name in self._saved]
        if missing:
            raise GraphMismatchError(f"state lacks the tensors {missing[:3]} of the network.")
        found = {name: state.get(name, own).detach() for name, own in self._state.items()}
        check_shapes({name: tuple(t.shape) for name, t in found.items()}, self.graph.shapes)
        return found

    def load(self, structure: Structure, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
        """Put a candidate's tensors into the shell and return it.

        Parameters
        ----------
        structure : Structure
            The structure that the tensors were taken for.
        tensors : mapping of str to Tensor
            From `take`. The shell uses this very storage: training or recalibrating it changes
            the tensors.

        Returns
        -------
        nn.Module
            The shell, in evaluation mode. The next `load` replaces what it holds.

        Raises
        ------
        GraphMismatchError
            If the tensors are not those of the structure.
        """
        self.graph.check(structure)
        self._check_tensors(structure, tensors)
        fill(self._shell, self._slots, self._dense, self.graph, structure, tensors)
        return self._shell.eval()

    def _check_tensors(self, structure: Structure, tensors: Mapping[str, torch.Tensor]) -> None:
        """Raise `GraphMismatchError` unless the tensors have the shapes of the structure."""
        kept = self._indices(structure)
        for name, own in self._state.items():
            shape = list(own.shape)
            for dim, index in self._plan.get(name, ()):
                chosen = kept[index]
                shape[dim] = shape[dim] if chosen is None else len(chosen)
            found = tensors.get(name)
            if found is None or list(found.shape) != shape:
                came = "is missing" if found is None else f"has shape {tuple(found.shape)}"
                raise GraphMismatchError(
                    f"tensor {name!r} {came}, the structure has {tuple(shape)}; hand over what "
                    "take() returned for this structure."
                )


def fill(
    network: nn.Module,
    places: list[Slot],
    dense: Mapping[str, Mapping[str, Any]],
    graph: ChannelGraph,
    structure: Structure,
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Put narrowed tensors into a copy of the dense network, and set its sizes."""
    install(network, places, tensors)
    set_sizes(network, dense)
    set_attributes(network, narrow_attributes(graph, structure))


def check_shapes(
    shapes: Mapping[str, tuple[int, ...]], expected: tuple[tuple[str, tuple[int, ...]], ...]
) -> None:
    """Raise `GraphMismatchError` unless names and shapes are those that were traced."""
    wanted = dict(expected)
    for name in (*wanted, *shapes):
        if shapes.get(name) != wanted.get(name):
            raise GraphMismatchError(
                f"tensor {name!r} has shape {shapes.get(name, 'none (it is missing)')}, the graph "
                f"was traced with {wanted.get(name, 'none (it is unknown)')}; trace this network."
            )


def cut(network: nn.Module, graph: ChannelGraph, structure: Structure) -> nn.Module:
    """Remove channels and return an independent, smaller network of the same class.

    Parameters
    ----------
    network : nn.Module
        The dense network; it is not changed.
    graph : ChannelGraph
        Its channel graph.
    structure : Structure
        What is kept.

    Returns
    -------
    nn.Module
        The user's own class with smaller parameters, each module in the mode (training or
        evaluation) that it has in `network`.

    Raises
    ------
    GraphMismatchError
        If network, graph and structure do not belong together.
    TraceError
        If the network cannot be copied.
    """
    slicer = Slicer(network, graph)
    small = slicer.load(structure, slicer.take(structure))
    for module, original in zip(small.modules(), network.modules(), strict=True):
        module.training = original.training
    return small


def mask(network: nn.Module, graph: ChannelGraph, structure: Structure) -> nn.Module:
    """Zero channels and return an independent network of the dense shapes.

    Every slice that a removed unit has in a parameter or buffer is zero, on the producing and on
    the consuming side. Normalisations over channels still take their statistics over all channels,
    zeros included; everything else computes just what the network from `cut` computes.

    Parameters
    ----------
    network : nn.Module
        The dense network; it is not changed.
    graph : ChannelGraph
        Its channel graph.
    structure : Structure
        What is kept.

    Returns
    -------
    nn.Module
        A copy of the network.

    Raises
    ------
    GraphMismatchError
        If network, graph and structure do not belong together.
    TraceError
        If the network cannot be copied.
    """
    graph.check(structure)
    state = {name: tensor.clone() for name, tensor in dense_state(network).items()}
    check_shapes({name: tuple(tensor.shape) for name, tensor in state.items()}, graph.shapes)
    removed = np.append(~structure.kept, False)
    for axis in graph.axes:
        tensor = state[axis.tensor]
        index = torch.from_numpy(np.flatnonzero(removed[axis.units])).to(tensor.device)
        tensor.index_fill_(axis.dim, index, 0)
    masked = empty_copy(network)
    install(masked, slots(network), state)
    return masked
