"""Labels: which unit each index of each tensor belongs to, and what ties them together.

Every index of every dimension of every parameter gets an integer label, from 1; 0 means *no unit*
(a constant, a network input). A tensor in flight carries *layers*: label tensors of its own shape,
one for each independent family of labels. A weight has one layer for each of its dimensions, an
activation usually a single one that varies along its channel dimension. A layer is stored expanded
(stride 0) along the dimensions in which it does not vary, so it costs next to no memory, and data
movement is simply executed on it.

The `LabelLedger` collects what a trace learns: ties between labels, labels that are frozen and
why, and tensors whose labels vary along two dimensions at once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

__all__ = [
    "Broadcast",
    "LabelLedger",
    "Layer",
    "Reason",
    "align",
    "collapse",
    "compact",
    "compact_along",
    "expand",
    "lift",
    "varying",
]

Layer = torch.Tensor
"""A label tensor: int64, on the CPU, of the shape of the tensor that it describes."""


@dataclass(frozen=True)
class Reason:
    """Why labels are frozen.

    Parameters
    ----------
    text : str
        In plain words.
    operation : str
        The operation at which it happened, or what else decided.
    line : str
        The line of the network's code.
    hidden : bool
        True where there is nothing to tell, as for the kernel size of a convolution.
    """

    text: str
    operation: str
    line: str
    hidden: bool = False


def varying(layer: Layer) -> tuple[int, ...]:
    """Return the dimensions along which a layer varies; none for one without labels, or empty."""
    if layer.numel() == 0:
        return ()
    small = _without_strides(layer)
    return tuple(dim for dim, size in enumerate(small.shape) if size > 1 and _varies(small, dim))


def _varies(layer: Layer, dim: int) -> bool:
    """Tell whether a layer varies along a dimension; most do along their first line."""
    line = layer[tuple(slice(None) if other == dim else 0 for other in range(layer.dim()))]
    return bool((line != line[0]).any()) or bool((layer != layer.narrow(dim, 0, 1)).any())


def _without_strides(layer: Layer) -> Layer:
    """Keep one index of the dimensions that are expanded."""
    for dim in range(layer.dim()):
        if layer.shape[dim] > 1 and layer.stride(dim) == 0:
            layer = layer.narrow(dim, 0, 1)
    return layer


def compact(layer: Layer) -> Layer:
    """Keep one index of every dimension along which the layer does not vary."""
    small = _without_strides(layer)
    dims = varying(small)
    for dim in range(small.dim()):
        if dim not in dims and small.shape[dim] > 1:
            small = small.narrow(dim, 0, 1)
    return small


def compact_along(layer: Layer, dim: int) -> Layer:
    """Make a layer compact, but keep the length of one dimension."""
    small = compact(layer)
    shape = list(small.shape)
    shape[dim] = layer.shape[dim]
    return small.expand(shape)


def expand(layer: Layer, shape: Sequence[int]) -> Layer:
    """Expand a compact layer to the shape of its tensor."""
    return layer.expand(tuple(shape))


def lift(layer: Layer, n_dims: int) -> Layer:
    """Prepend dimensions of size 1, as broadcasting does."""
    return layer.reshape((1,) * (n_dims - layer.dim()) + tuple(layer.shape))


@dataclass(frozen=True, eq=False)
class Broadcast:
    """Labels of a smaller operand along some of the dimensions of a larger one.

    Parameters
    ----------
    large : ndarray of int64, shape (n_shared, n_other)
        Labels of the larger operand: the dimensions that both have, flattened, and the others.
    small : ndarray of int64, shape (n_shared,)
        Labels of the smaller operand.
    reason : Reason
        The operation that combines them.

    Notes
    -----
    Usually the two are tied. Where all shared indices of the large operand leave together (a scale
    for each position within an attention head, whose heads leave whole), the shared dimensions
    never shrink, and the small operand stays.
    """

    large: npt.NDArray[np.int64]
    small: npt.NDArray[np.int64]
    reason: Reason


class LabelLedger:
    """Everything that a trace learns about labels.

    Attributes
    ----------
    n_labels : int
        Labels handed out so far, with the label 0 that means *no unit*.
    ties : list of (ndarray, ndarray)
        Pairs of labels that must leave together.
    frozen : list of (ndarray, Reason)
        Labels that must stay.
    rectangles : list of ndarray
        Label arrays that vary along two dimensions or more: what remains must stay rectangular.
    broadcasts : list of Broadcast
        Vectors that stand for every index of a further dimension of what they are combined with.
    copies : set of int
        Labels of copies of a single index, which no parameter has.
    assumptions : list of (ndarray, Reason)
        Labels for which the trace had to assume that the network's code follows a removal.
    """

    def __init__(self) -> None:
        self.n_labels = 1
        self.ties: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        self.frozen: list[tuple[npt.NDArray[np.int64], Reason]] = []
        self.rectangles: list[npt.NDArray[np.int64]] = []
        self.broadcasts: list[Broadcast] = []
        self.copies: set[int] = set()
        self.assumptions: list[tuple[npt.NDArray[np.int64], Reason]] = []

    def allocate(self, size: int) -> Layer:
        """Hand out new labels, shape (size,)."""
        labels = torch.arange(self.n_labels, self.n_labels + size, device="cpu")
        self.n_labels += size
        return labels

    def tie(self, first: Layer, second: Layer, reason: Reason) -> None:
        """Tie the labels of two broadcastable layers, index by index.

        A label that meets *no unit* is frozen, for `reason`.
        """
        shape = np.broadcast_shapes(first.shape, second.shape)
        a, b = first.expand(shape).reshape(-1), second.expand(shape).reshape(-1)
        differ = (a > 0) & (b > 0) & (a != b)
        if bool(differ.any()):
            # one number for each pair: a row of two is slow to sort
            pairs = torch.unique(a[differ] * self.n_labels + b[differ]).numpy()
            self.ties.append((pairs // self.n_labels, pairs % self.n_labels))
        alone = torch.cat((a[(a > 0) & (b == 0)], b[(b > 0) & (a == 0)]))
        if alone.numel():
            self.freeze(alone, reason)

    def tie_over(self, layer: Layer, dims: Sequence[int], reason: Reason) -> Layer:
        """Tie labels along dimensions and return the layer with these dimensions of size 1."""
        first = layer
        for dim in dims:
            first = first.narrow(dim, 0, 1)
        if first.numel() != layer.numel():
            self.tie(layer, first, reason)
        return first

    def fix(self, layer: Layer, dims: Collection[int], reason: Reason) -> Layer:
        """Note that dimensions of a tensor cannot shrink.

        A layer that varies along other dimensions too is tied along these, so that it can still
        leave as whole slices; one that does not is frozen for `reason`. Returns the layer that
        lives on, compact.
        """
        small = compact(layer)
        found = [dim for dim in range(small.dim()) if small.shape[dim] > 1]
        inside = [dim for dim in found if dim in dims]
        if not inside:
            return small
        if len(inside) == len(found):
            self.freeze(small, reason)
            return small
        return self.tie_over(small, inside, reason)

    def combine(self, first: Layer, second: Layer, reason: Reason) -> Layer:
        """Tie two compact layers with as many dimensions; return the one that stands for both.

        Where one varies along a part of the other's dimensions only, the tie is settled after the
        pass; see `Broadcast`.
        """
        dims, other = (
            {d for d in range(layer.dim()) if layer.shape[d] > 1} for layer in (first, second)
        )
        if len(dims) < len(other):
            first, second, dims, other = second, first, other, dims
        if other and other < dims and bool((first > 0).all()) and bool((second > 0).all()):
            shared, rest = sorted(other), sorted(dims - other)
            order = [*shared, *rest, *(d for d in range(first.dim()) if d not in dims)]
            large = first.permute(order).reshape(second.numel(), -1)
            small = second.permute(order).reshape(-1)
            self.broadcasts.append(Broadcast(large.numpy().copy(), small.numpy().copy(), reason))
            return first
        self.tie(first, second, reason)
        return torch.where(first > 0, first, second)

    def freeze(self, labels: Layer, reason: Reason) -> None:
        """Freeze labels for a reason."""
        found = torch.unique(_without_strides(labels))
        found = found[found > 0]
        if found.numel():
            self.frozen.append((found.numpy(), reason))

    def assume(self, labels: Layer, reason: Reason) -> None:
        """Note that the network's code must follow a removal of these labels."""
        self.assumptions.append((torch.unique(_without_strides(labels)).numpy(), reason))

    def rectangle(self, layer: Layer, reason: Reason) -> None:
        """Note a layer that varies along two dimensions or more."""
        small = compact(layer)
        self.assume(small, reason)
        self.rectangles.append(small.reshape([n for n in small.shape if n > 1]).numpy().copy())


def align(
    ledger: LabelLedger,
    operands: Sequence[tuple[tuple[int, ...], Sequence[Layer]]],
    shape: Sequence[int],
    reason: Reason,
    tables: Collection[int] = (),
) -> list[Layer]:
    """Tie the labels of operands that are combined index by index, with broadcasting.

    Parameters
    ----------
    ledger : LabelLedger
        Where ties and frozen labels go.
    operands : sequence of (shape, layers)
        Shape and layers of every operand; shapes broadcast to `shape`.
    shape : sequence of int
        Shape of the result.
    reason : Reason
        What a label is frozen for that meets a constant: an operand longer than 1 along a
        dimension in which it has no labels.
    tables : collection of int
        Operands that do not depend on the input of the network: parameters, masks, positions. Where
        such a one is frozen it is a constant from here on, and hands no labels on.

    Returns
    -------
    list of Layer
        Compact layers of the result, lifted to its number of dimensions. Layers that share a
        dimension are tied and merged; layers that share none stay apart.
    """
    n_dims = len(shape)
    lifted: list[list[tuple[Layer, set[int]]]] = []
    for _, layers in operands:
        # a label of a single index broadcasts and ties nothing
        own = [lift(small, n_dims) for small in map(compact, layers) if small.numel() > 1]
        lifted.append([(layer, {d for d in range(n_dims) if layer.shape[d] > 1}) for layer in own])
    for index, layers_of_operand in enumerate(lifted):
        for place, (layer, dims) in enumerate(layers_of_operand):
            constant: set[int] = set()
            for other, (other_shape, _) in enumerate(operands):
                if other == index:
                    continue
                sizes = (1,) * (n_dims - len(other_shape)) + tuple(other_shape)
                covered = set().union(*(found for _, found in lifted[other]))
                constant |= {dim for dim in dims if sizes[dim] > 1 and dim not in covered}
            if constant:
                fixed = ledger.fix(layer, constant, reason)
                left = {d for d in dims if fixed.shape[d] > 1}
                frozen = left <= constant and index in tables
                layers_of_operand[place] = (fixed, set() if frozen else left)
    merged: list[tuple[Layer, set[int]]] = []
    for index, layers_of_operand in enumerate(lifted):
        for layer, dims in layers_of_operand:
            if not dims:
                continue
            current, origins = layer, {index}
            apart: list[tuple[Layer, set[int]]] = []
            for known, known_origins in merged:
                shared = any(known.shape[d] > 1 and current.shape[d] > 1 for d in range(n_dims))
                # two families of labels of one operand are independent of each other
                if shared and index not in known_origins:
                    current = ledger.combine(known, current, reason)
                    origins |= known_origins
                else:
                    apart.append((known, known_origins))
            merged = [*apart, (current, origins)]
    return [layer for layer, _ in merged]


def collapse(
    ledger: LabelLedger, layers: Sequence[Layer], dims: Sequence[int], reason: Reason
) -> list[Layer]:
    """Take a sum over dimensions: tie what is added up, drop what is summed away.

    Parameters
    ----------
    ledger : LabelLedger
        Where the ties go.
    layers : sequence of Layer
        Layers of the tensor that is summed.
    dims : sequence of int
        The dimensions that are summed.
    reason : Reason
        For labels that turn out to meet a constant.

    Returns
    -------
    list of Layer
        The layers that live on, compact, with the summed dimensions of size 1.
    """
    alive = []
    for layer in layers:
        small = compact(layer)
        found = [dim for dim in range(small.dim()) if small.shape[dim] > 1]
        inside = [dim for dim in found if dim in dims]
        if found and len(inside) == len(found):
            continue
        alive.append(ledger.tie_over(small, inside, reason) if inside else small)
    return alive
