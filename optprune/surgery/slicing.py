"""Removing channels: `Slicer` for a search, `cut` for a network of one's own, `mask` to compare.

A candidate costs one `index_select` for each narrowed dimension and nothing else: the modules are
copied once, into a shell that takes one candidate's tensors after another.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from optprune.errors import GraphMismatchError
from optprune.surgery.admission import admit
from optprune.surgery.attributes import (
    dense_attributes,
    narrow_attributes,
    set_attributes,
    set_sizes,
)
from optprune.surgery.caches import forget
from optprune.surgery.graph import ChannelGraph
from optprune.surgery.state import dense_state, empty_copy, install, own_storage, slots
from optprune.surgery.structure import Structure
from optprune.surgery.surroundings import plain_settings

__all__ = ["Slicer", "check_shapes", "cut", "mask", "zero"]

_Kept = npt.NDArray[np.int64]
_NUMPY = (torch.float16, torch.float32, torch.float64)


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
    ArgumentTypeError, TraceError
        If the network is not a plain one, or cannot be copied.
    """

    def __init__(self, network: nn.Module, graph: ChannelGraph) -> None:
        admit(network)
        self.graph = graph
        self._state = dense_state(network)
        check_shapes({name: tuple(t.shape) for name, t in self._state.items()}, graph.shapes)
        self._saved = set(network.state_dict())
        # not eval(): a method of the user's own may write to what the copy still shares
        self._shell = empty_copy(network)
        self._modules = dict(self._shell.named_modules())
        self._slots = slots(network)
        self._dense = dense_attributes(network)
        self._plan = _Plan(self._state, graph)
        self._kept: tuple[Structure, list[_Kept]] | None = None
        self._taken: dict[str, torch.Tensor] | None = None
        self._loaded: tuple[Structure, Mapping[str, torch.Tensor]] | None = None

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

        Notes
        -----
        All vectors are gathered by one ``index_select`` over their concatenation; a kernel or a
        matrix takes one for each of its narrowed dimensions.
        """
        self.graph.check(structure)
        source = self._state if state is None else self._checked(state)
        kept = self._indices(structure)
        taken = dict.fromkeys(source, torch.empty(0))
        bits = np.append(structure.kept, True)
        for names, units, axes in self._plan.vectors:
            chosen = torch.from_numpy(np.flatnonzero(bits[units]))
            joined = torch.cat([source[name] for name in names])
            gathered = joined.index_select(0, chosen.to(joined.device))
            sizes = [len(kept[axis]) for axis in axes]
            pieces = torch.split(gathered, sizes)
            # .data: each piece counts its own versions, as autograd wants of separate tensors
            taken.update((n, piece.data) for n, piece in zip(names, pieces, strict=True))
        for names in self._plan.scalars:
            copies = torch.stack([source[name] for name in names]).unbind()
            taken.update((n, copy.data) for n, copy in zip(names, copies, strict=True))
        moved: dict[tuple[int, torch.device], torch.Tensor] = {}
        for name, steps in self._plan.others:
            tensor = result = source[name]
            narrowed = [(dim, axis) for dim, axis in steps if len(kept[axis]) < tensor.shape[dim]]
            if [dim for dim, _ in narrowed] == [0, 1] and _large(tensor):
                taken[name] = _gather(tensor, *(kept[axis] for _, axis in narrowed))
                continue
            for dim, axis in narrowed:
                place = (axis, tensor.device)
                if place not in moved:
                    moved[place] = torch.from_numpy(kept[axis]).to(tensor.device)
                result = result.index_select(dim, moved[place])
            result = result.clone() if result is tensor else result
            form = _channels_last(tensor)
            taken[name] = result if form is None else result.contiguous(memory_format=form)
        self._taken = taken
        return taken

    def _indices(self, structure: Structure) -> list[_Kept]:
        """Return what stays of each distinct axis."""
        if self._kept is None or self._kept[0] is not structure:
            bits = np.append(structure.kept, True)
            self._kept = (structure, [np.flatnonzero(bits[units]) for units in self._plan.units])
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

    def scatter(
        self, structure: Structure, tensors: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Put the tensors of a structure back into the dense shapes, with zeros in between.

        The inverse of `take`: a network of the dense shapes with this state computes what the
        small one computes, up to normalizations over channels, which then count the zeros too.

        Parameters
        ----------
        structure : Structure
            What is kept.
        tensors : mapping of str to Tensor
            Every parameter and buffer of the small network by its canonical name; what it has
            beside these is left out.

        Returns
        -------
        dict of str to Tensor
            Every parameter and buffer in its dense shape. All are copies.

        Raises
        ------
        GraphMismatchError
            If the structure belongs to another graph, or the tensors are not those of the
            structure.
        """
        self.graph.check(structure)
        self._check_tensors(structure, tensors)
        kept = self._indices(structure)
        state = {}
        for name, own in self._state.items():
            tensor = result = tensors[name].detach()
            for dim, axis in self._plan.steps.get(name, ()):
                if len(kept[axis]) == own.shape[dim]:
                    continue
                shape = list(result.shape)
                shape[dim] = own.shape[dim]
                index = torch.from_numpy(kept[axis]).to(result.device)
                result = result.new_zeros(shape).index_copy_(dim, index, result)
            result = result.clone() if result is tensor else result
            form = _channels_last(own)
            state[name] = result if form is None else result.contiguous(memory_format=form)
        return state

    def load(self, structure: Structure, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
        """Put a candidate's tensors into the shell and return it.

        Parameters
        ----------
        structure : Structure
            The structure that the tensors were taken for.
        tensors : mapping of str to Tensor
            From `take`. The shell uses this very storage: training or recalibrating it changes
            the tensors. The mapping that was loaded last is not put in again.

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
        loaded = self._loaded
        if loaded is None or loaded[0] is not structure or loaded[1] is not tensors:
            if tensors is not self._taken or self._kept is None or self._kept[0] is not structure:
                self._check_tensors(structure, tensors)
            self._loaded = None
            install(self._modules, self._slots, tensors)
            set_sizes(self._modules, self._dense)
            set_attributes(self._modules, narrow_attributes(self.graph, structure))
            forget(self._modules, self.graph.caches)
            self._loaded = (structure, tensors)
        for module in self._modules.values():
            module.__dict__["training"] = False
        return self._shell

    def _check_tensors(self, structure: Structure, tensors: Mapping[str, torch.Tensor]) -> None:
        """Raise `GraphMismatchError` unless the tensors have the shapes of the structure."""
        kept = self._indices(structure)
        for name, own in self._state.items():
            shape = list(own.shape)
            for dim, axis in self._plan.steps.get(name, ()):
                shape[dim] = len(kept[axis])
            found = tensors.get(name)
            if found is None or list(found.shape) != shape:
                came = "is missing" if found is None else f"has shape {tuple(found.shape)}"
                raise GraphMismatchError(
                    f"tensor {name!r} {came}, the structure has {tuple(shape)}; hand over what "
                    "take() returned for this structure."
                )


def _channels_last(tensor: torch.Tensor) -> torch.memory_format | None:
    """Return the format of a kernel whose channels lie last in memory; what is taken keeps it."""
    form = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.dim())
    if form is None or tensor.is_contiguous() or not tensor.is_contiguous(memory_format=form):
        return None
    return form


def _large(tensor: torch.Tensor) -> bool:
    """Tell whether one gather beats two selections with a large tensor in between."""
    if tensor.numel() < 2**17 or not tensor.is_contiguous():
        return False
    return _in_numpy(tensor) or tensor[0, 0].numel() >= 4


def _in_numpy(tensor: torch.Tensor) -> bool:
    """Tell whether numpy can read a tensor."""
    return tensor.device.type == "cpu" and tensor.dtype in _NUMPY


def _gather(tensor: torch.Tensor, outer: _Kept, inner: _Kept) -> torch.Tensor:
    """Take indices of the first two dimensions at once."""
    n_outer, n_inner, *kernel = tensor.shape
    # numpy asks for huge pages: large results cost fewer page faults
    if tensor[0, 0].numel() < 4:
        return torch.from_numpy(tensor.numpy()[np.ix_(outer, inner)])
    rows = (outer[:, None] * n_inner + inner).reshape(-1)
    flat = tensor.view(n_outer * n_inner, -1)
    if _in_numpy(tensor):
        taken = torch.from_numpy(flat.numpy().take(rows, axis=0))
    else:
        taken = flat.index_select(0, torch.from_numpy(rows).to(tensor.device))
    return taken.view(len(outer), len(inner), *kernel)


class _Plan:
    """How each tensor is narrowed, gathered so that a candidate costs few operations.

    Attributes
    ----------
    units : list of ndarray
        Distinct axes.
    steps : dict of str to list of (int, int)
        Dimension and number of the axis, for each tensor that can be narrowed.
    vectors : list of (names, units, axes)
        Vectors of one type: their names, the units of their concatenation, and their axes.
    scalars : list of list of str
        Tensors without dimensions, of one type each.
    others : list of (str, steps)
        All other tensors.
    """

    def __init__(self, state: Mapping[str, torch.Tensor], graph: ChannelGraph) -> None:
        self.units: list[npt.NDArray[np.int32]] = []
        self.steps: dict[str, list[tuple[int, int]]] = {}
        known: dict[bytes, int] = {}
        for axis in graph.axes:
            number = self._number(axis.units, known)
            self.steps.setdefault(axis.tensor, []).append((axis.dim, number))
        vectors: dict[object, tuple[list[str], list[int]]] = {}
        scalars: dict[object, list[str]] = {}
        self.others: list[tuple[str, list[tuple[int, int]]]] = []
        for name, tensor in state.items():
            kind = (tensor.dtype, tensor.device)
            if tensor.dim() == 0:
                scalars.setdefault(kind, []).append(name)
            elif tensor.dim() == 1:
                whole = np.full(tensor.shape[0], -1, dtype=np.int32)
                number = (
                    self.steps[name][0][1] if name in self.steps else self._number(whole, known)
                )
                names, axes = vectors.setdefault(kind, ([], []))
                names.append(name)
                axes.append(number)
            else:
                self.others.append((name, self.steps.get(name, [])))
        self.scalars = list(scalars.values())
        self.vectors = [
            (names, np.concatenate([self.units[axis] for axis in axes]), axes)
            for names, axes in vectors.values()
        ]

    def _number(self, units: npt.NDArray[np.int32], known: dict[bytes, int]) -> int:
        """Return the number of a distinct axis."""
        key = units.tobytes()
        if key not in known:
            known[key] = len(self.units)
            self.units.append(units)
        return known[key]


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


@plain_settings()
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
    ArgumentTypeError, TraceError
        If the network is not a plain one, or cannot be copied.
    """
    slicer = Slicer(network, graph)
    small = slicer.load(structure, slicer.take(structure))
    for module, original in zip(small.modules(), network.modules(), strict=True):
        module.training = original.training
    own_storage(small)
    return small


@plain_settings()
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
    ArgumentTypeError, TraceError
        If the network is not a plain one, or cannot be copied.
    """
    admit(network)
    graph.check(structure)
    state = {name: tensor.clone() for name, tensor in dense_state(network).items()}
    check_shapes({name: tuple(tensor.shape) for name, tensor in state.items()}, graph.shapes)
    zero(state, graph, structure)
    masked = empty_copy(network)
    modules = dict(masked.named_modules())
    install(modules, slots(network), state)
    forget(modules, graph.caches)
    return masked


def zero(state: Mapping[str, torch.Tensor], graph: ChannelGraph, structure: Structure) -> None:
    """Zero, in place, every slice that a removed unit has in a parameter or buffer."""
    removed = np.append(~structure.kept, False)
    for axis in graph.axes:
        tensor = state[axis.tensor]
        index = torch.from_numpy(np.flatnonzero(removed[axis.units])).to(tensor.device)
        tensor.index_fill_(axis.dim, index, 0)
