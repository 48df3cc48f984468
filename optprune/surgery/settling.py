"""After the pass: what the ties leave open is settled, until everything agrees.

The ties of a trace make components. On these it is decided, in turns, because each decision may
change them:

- *broadcasts*: whether a vector belongs to each slice of what it scales, or is the same for all;
- *rectangles*: along which dimension a tensor shrinks whose labels vary along several;
- *sizes*: whether each number in the network's code is as long as its dimension after any removal.
  The length of a dimension after a removal is a sum over components; so is the number, through the
  shapes and attributes that it was computed from. Where the two differ they are tied, where no
  attribute can be set to make them equal the dimension stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from optprune.surgery.equation import Equation, Labels, Length, value_of
from optprune.surgery.labels import Reason, compact_along
from optprune.surgery.operation import LabelledAxis
from optprune.surgery.sizes import AttributeKey, Combined, Dimension, Held, SizeUse
from optprune.surgery.tracing import Recorder

__all__ = ["Settled", "settle"]

_Frozen: TypeAlias = tuple[Labels, Reason]

_NO_LABELS: Labels = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Settled:
    """What the ties come to.

    Attributes
    ----------
    component : ndarray of int64, shape (n_labels,)
        The connected component of every label.
    frozen : list of (ndarray, Reason)
        All labels that must stay, and why.
    attributes : list of LabelledAxis
        Attributes that hold lengths of dimensions: their value is the number of kept labels.
    """

    component: Labels
    frozen: list[_Frozen]
    attributes: list[LabelledAxis]


def settle(recorder: Recorder, also_frozen: Sequence[_Frozen] = ()) -> Settled:
    """Settle what the ties of a trace leave open.

    Parameters
    ----------
    recorder : Recorder
        What the trace has learned.
    also_frozen : sequence of (ndarray, Reason)
        More labels that must stay, and why.

    Returns
    -------
    Settled
    """
    return Settling(recorder, also_frozen).run()


class Settling:
    """The state of a settlement: ties and frozen labels, which grow until nothing changes."""

    def __init__(self, recorder: Recorder, also_frozen: Sequence[_Frozen]) -> None:
        ledger = recorder.ledger
        self.n_labels = ledger.n_labels
        self.first = [_NO_LABELS, *(a for a, _ in ledger.ties)]
        self.second = [_NO_LABELS, *(b for _, b in ledger.ties)]
        self.frozen = [*also_frozen, *ledger.frozen]
        self.broadcasts = list(ledger.broadcasts)
        self.rectangles = _distinct(ledger.rectangles)
        self.uses = recorder.sizes
        self.bound: dict[AttributeKey, Length] = {}
        self._connect()

    def run(self) -> Settled:
        """Take the decisions in turns."""
        while True:
            changed = self._settle_broadcasts() or self._settle_rectangles() or self._settle_sizes()
            if not changed:
                break
            self._connect()
        attributes = [
            LabelledAxis(f"{module}.{name}" if module else name, index, labels, attribute=True)
            for (module, name, index), labels in self.bound.items()
            if not isinstance(labels, int)
        ]
        return Settled(self.component, self.frozen, attributes)

    def _connect(self) -> None:
        """Number the connected components, and mark those that stay."""
        rows, columns = np.concatenate(self.first), np.concatenate(self.second)
        self.first, self.second = [rows], [columns]
        ones = np.ones(len(rows), dtype=np.int8)
        graph = coo_array((ones, (rows, columns)), shape=(self.n_labels, self.n_labels))
        found = connected_components(graph, directed=False)[1]
        self.component: Labels = np.asarray(found, dtype=np.int64)
        self.stays = np.zeros(self.component.max(initial=0) + 1, dtype=np.bool_)
        self.stays[self.component[0]] = True
        for labels, _ in self.frozen:
            self.stays[self.component[labels]] = True

    def tie(self, first: Labels, second: Labels) -> bool:
        """Tie labels one by one; tell whether that changes anything."""
        if (self.component[first] == self.component[second]).all():
            return False
        self.first.append(first)
        self.second.append(second)
        return True

    def freeze(self, labels: Labels, reason: Reason) -> bool:
        """Freeze labels; tell whether that changes anything."""
        labels = np.unique(labels)
        labels = labels[labels > 0]
        units = self.component[labels]
        if self.stays[units].all():
            return False
        self.frozen.append((labels, reason))
        self.stays[units] = True
        return True

    def _settle_broadcasts(self) -> bool:
        """Freeze vectors along dimensions that never shrink; tie all others to their slices."""
        if not self.broadcasts:
            return False
        waiting, changed = [], False
        for broadcast in self.broadcasts:
            units = self.component[broadcast.large]
            if (units == units[:1]).all() and not (units == units[0, 0]).all():
                text = "it is the same for slices that leave whole"
                reason = Reason(text, broadcast.reason.operation, broadcast.reason.line, True)
                self.frozen.append((np.unique(broadcast.small), reason))
                changed = True
            else:
                waiting.append(broadcast)
        if not changed:
            for broadcast in waiting:
                small = np.broadcast_to(broadcast.small[:, None], broadcast.large.shape)
                changed |= self.tie(broadcast.large.reshape(-1), small.reshape(-1))
            waiting = []
        self.broadcasts = waiting
        return changed

    def _settle_rectangles(self) -> bool:
        """Tie labels so that what remains of every tensor is rectangular."""
        touched = np.zeros(self.n_labels, dtype=np.bool_)
        changed = False
        for labels in self.rectangles:
            # an earlier tie of this turn may have settled it already
            if touched[labels].any():
                continue
            for one, other in _rectangular(labels, self.component, self.stays):
                if self.tie(one, other):
                    changed = True
                    touched[np.isin(self.component, np.unique(self.component[labels]))] = True
        return changed

    def _settle_sizes(self) -> bool:
        """Make every number as long as its dimension; return whether that took a new tie."""
        self.bound = {}
        changed = False
        direct = [use for use in self.uses if isinstance(use.expression, Held)]
        shapes = [use for use in self.uses if isinstance(use.expression, Dimension)]
        computed = [use for use in self.uses if isinstance(use.expression, Combined)]
        # what is certain first: how a computed number follows depends on all others
        for use in (*direct, *shapes, *computed):
            if changed and isinstance(use.expression, Combined):
                return True
            length = self.length_of(use)
            if length is None:
                assert use.layer is not None
                changed |= self.freeze(use.layer.numpy().reshape(-1), use.reason)
            else:
                changed |= Equation(self, use.reason).impose(use.expression, length)
        return changed

    def length_of(self, use: SizeUse | Dimension) -> Length | None:
        """Return the length of a used dimension; None where it shrinks in an irregular way."""
        if use.layer is None:
            return value_of(use.expression) if isinstance(use, SizeUse) else use.value
        labels = np.moveaxis(compact_along(use.layer, use.dim).numpy(), use.dim, 0)
        labels = labels.reshape(labels.shape[0], -1)
        units = self.component[labels]
        if self.stays[units].all():
            return len(labels)
        if (units == units[:, :1]).all():
            return labels[:, 0].copy()
        if (units == units[:1]).all():
            return len(labels)
        return None

    def count(self, labels: Labels) -> dict[int, int]:
        """Return the length that labels count: component by component, -1 for what stays."""
        units = self.component[labels]
        units = np.where(self.stays[units], -1, units)
        found, counts = np.unique(units, return_counts=True)
        return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _distinct(arrays: Sequence[Labels]) -> list[Labels]:
    """Drop repetitions."""
    return list({(array.shape, array.tobytes()): array for array in arrays}.values())


def _rectangular(
    labels: Labels, component: Labels, stays: npt.NDArray[np.bool_]
) -> list[tuple[Labels, Labels]]:
    """Return the ties that keep an array rectangular, none where it is already.

    It is when everything stays, or when along some dimension each slice is one unit. Otherwise
    the last dimension is the one that shrinks (``view(n, groups, channels // groups)``), unless
    that leaves a single unit and another dimension does not (heads, which leave whole); indices
    across the others are tied.
    """
    units = component[labels]
    if stays[units].all():
        return []
    for dim in range(units.ndim):
        slices = np.moveaxis(units, dim, 0).reshape(units.shape[dim], -1)
        if (slices == slices[:, :1]).all():
            return []
    remaining = [_remaining(units, dim) for dim in range(units.ndim)]
    dim = units.ndim - 1 if remaining[-1] > 1 else int(np.argmax(remaining))
    slices = np.moveaxis(labels, dim, -1).reshape(-1, labels.shape[dim])
    heads = np.broadcast_to(slices[:1], slices.shape)
    return [(slices[1:].reshape(-1), heads[1:].reshape(-1))]


def _remaining(units: Labels, dim: int) -> int:
    """Count the units that are left when each slice along a dimension becomes one."""
    slices = np.moveaxis(units, dim, 0).reshape(units.shape[dim], -1)
    found, places = np.unique(slices, return_inverse=True)
    places = places.reshape(slices.shape)
    rows = np.repeat(np.arange(len(slices)), slices.shape[1])
    n = len(slices) + len(found)
    edges = coo_array(
        (np.ones(len(rows), dtype=np.int8), (rows, len(slices) + places.reshape(-1))), shape=(n, n)
    )
    return int(connected_components(edges, directed=False)[0])
