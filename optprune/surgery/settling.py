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
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from optprune.surgery.labels import Reason
from optprune.surgery.sizes import (
    AttributeKey,
    Combined,
    Dimension,
    Expression,
    Held,
    SizeUse,
    compact_along,
)
from optprune.surgery.tracing import LabelledAxis, Recorder

__all__ = ["Settled", "settle"]

_Labels: TypeAlias = npt.NDArray[np.int64]
_Frozen: TypeAlias = tuple[_Labels, Reason]
_Length: TypeAlias = "_Labels | int"
"""The length of a dimension: the labels that it counts, or a number that never changes."""

_NO_LABELS: _Labels = np.zeros(0, dtype=np.int64)


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

    component: _Labels
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
    return _Settling(recorder, also_frozen).run()


class _Settling:
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
        self.bound: dict[AttributeKey, _Length] = {}
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
        self.component: _Labels = np.asarray(found, dtype=np.int64)
        self.stays = np.zeros(self.component.max(initial=0) + 1, dtype=np.bool_)
        self.stays[self.component[0]] = True
        for labels, _ in self.frozen:
            self.stays[self.component[labels]] = True

    def tie(self, first: _Labels, second: _Labels) -> bool:
        """Tie labels one by one; tell whether that changes anything."""
        if (self.component[first] == self.component[second]).all():
            return False
        self.first.append(first)
        self.second.append(second)
        return True

    def freeze(self, labels: _Labels, reason: Reason) -> bool:
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
            length = self._length(use)
            if length is None:
                assert use.layer is not None
                changed |= self.freeze(use.layer.numpy().reshape(-1), use.reason)
            else:
                changed |= _Equation(self, use.reason).impose(use.expression, length)
        return changed

    def _length(self, use: SizeUse | Dimension) -> _Length | None:
        """Return the length of a used dimension; None where it shrinks in an irregular way."""
        if use.layer is None:
            return _value(use.expression) if isinstance(use, SizeUse) else use.value
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

    def count(self, labels: _Labels) -> dict[int, int]:
        """Return the length that labels count: component by component, -1 for what stays."""
        units = self.component[labels]
        units = np.where(self.stays[units], -1, units)
        found, counts = np.unique(units, return_counts=True)
        return dict(zip(found.tolist(), counts.tolist(), strict=True))


@dataclass
class _Equation:
    """One number that must equal one length."""

    settling: _Settling
    reason: Reason
    changed: bool = field(default=False)

    def impose(self, expression: Expression, length: _Length) -> bool:
        """Demand that an expression is as long as a dimension; return whether that took a tie."""
        self._impose(expression, length)
        return self.changed

    def _impose(self, expression: Expression, length: _Length) -> None:
        if isinstance(expression, int):
            # a literal: where the network's code does not follow after all, verification tells
            return
        if isinstance(expression, Held):
            bound = self.settling.bound.setdefault(expression.key, length)
            self._equate(bound, length)
        elif isinstance(expression, Dimension):
            own = self.settling._length(expression)
            self._equate(expression.value if own is None else own, length)
        elif expression.operator == "*":
            self._product(expression, length)
        elif expression.operator == "//":
            self._quotient(expression, length)
        else:
            self._sum(expression, length)

    def _equate(self, first: _Length, second: _Length) -> None:
        """Make two lengths equal for every structure."""
        if isinstance(first, int) and isinstance(second, int):
            return
        if isinstance(first, int):
            first, second = second, first
        assert not isinstance(first, int)
        if isinstance(second, int):
            self.changed |= self.settling.freeze(first, self.reason)
        elif self.settling.count(first) != self.settling.count(second):
            if len(first) == len(second):
                self.changed |= self.settling.tie(first, second)
            else:
                self.changed |= self.settling.freeze(first, self.reason)
                self.changed |= self.settling.freeze(second, self.reason)

    def _product(self, expression: Combined, length: _Length) -> None:
        """Take a length apart into those of two factors."""
        first, second = expression.first, expression.second
        n_first, n_second = _value(first), _value(second)
        if isinstance(length, int) or len(length) != n_first * n_second:
            self._impose(first, n_first)
            self._impose(second, n_second)
            return
        units = self.settling.component[length]
        for one, other, n_one, n_other in (
            (first, second, n_first, n_second),
            (second, first, n_second, n_first),
        ):
            # the factor that shrinks may be the outer or the inner one of the two dimensions
            for table, labels in (
                (units.reshape(n_one, n_other), length.reshape(n_one, n_other)),
                (units.reshape(n_other, n_one).T, length.reshape(n_other, n_one).T),
            ):
                if (table == table[:, :1]).all() and self._may_stay(other):
                    self._impose(one, labels[:, 0].copy())
                    self._impose(other, n_other)
                    return
        constant, moving = (first, second) if isinstance(first, int) else (second, first)
        if isinstance(constant, int):
            parts = length.reshape(constant, -1)
            self.changed |= self.settling.tie(
                parts.reshape(-1), np.broadcast_to(parts[:1], parts.shape).reshape(-1)
            )
            self._impose(moving, parts[0].copy())

    def _may_stay(self, expression: Expression) -> bool:
        """Tell whether a factor is known not to shrink, or not known to shrink."""
        if isinstance(expression, int):
            return True
        known = self._known(expression)
        return known is None or isinstance(known, int) or set(self.settling.count(known)) == {-1}

    def _known(self, expression: Expression) -> _Length | None:
        """Return the length that an expression has now, where it is a single one."""
        if isinstance(expression, int):
            return expression
        if isinstance(expression, Held):
            return self.settling.bound.get(expression.key)
        if isinstance(expression, Dimension):
            return self.settling._length(expression)
        one, other = self._known(expression.first), self._known(expression.second)
        if isinstance(one, int) and isinstance(other, int):
            return expression.value
        return None

    def _quotient(self, expression: Combined, length: _Length) -> None:
        """Demand that the dividend is the quotient times the divisor."""
        dividend, divisor = expression.first, expression.second
        n_divisor, n_dividend = _value(divisor), _value(dividend)
        known = self._known(divisor)
        moving = None if known is None or isinstance(known, int) else known
        if n_divisor * expression.value != n_dividend:
            for part in (expression.first, expression.second):
                self._impose(part, _value(part))
            if not isinstance(length, int):
                self.changed |= self.settling.freeze(length, self.reason)
        elif isinstance(length, int):
            self._impose(dividend, n_dividend if moving is None else np.repeat(moving, length))
        elif moving is None:
            own = self._known(dividend)
            blocks = np.repeat(length, n_divisor)
            if own is not None and not isinstance(own, int):
                units = self.settling.component[own].reshape(-1, n_divisor)
                if not (units == units[:, :1]).all():
                    blocks = np.tile(length, n_divisor)
            self._impose(dividend, blocks)
        else:
            self.changed |= self.settling.freeze(length, self.reason)

    def _sum(self, expression: Combined, length: _Length) -> None:
        """Check a sum or a difference; what does not agree stays."""
        first, second = expression.first, expression.second
        if expression.operator == "-" and isinstance(first, Held) and self._known(first) is None:
            taken = self._known(second)
            if taken is not None:
                self._impose(first, np.concatenate([_labels(taken), _labels(length)]))
                return
        counts = self._count(expression)
        if counts is None:
            return
        wanted = {-1: length} if isinstance(length, int) else self.settling.count(length)
        keys = set(counts) | set(wanted)
        if any(counts.get(key, 0) != wanted.get(key, 0) for key in keys if key != -1):
            for part in (expression.first, expression.second):
                known = self._known(part)
                if known is not None and not isinstance(known, int):
                    self.changed |= self.settling.freeze(known, self.reason)
            if not isinstance(length, int):
                self.changed |= self.settling.freeze(length, self.reason)

    def _count(self, expression: Expression) -> dict[int, int] | None:
        """Return the length of an expression, component by component, where all is known."""
        known = self._known(expression)
        if isinstance(known, int):
            return {-1: known}
        if known is not None:
            return self.settling.count(known)
        if isinstance(expression, Combined) and expression.operator in "+-":
            one, other = self._count(expression.first), self._count(expression.second)
            if one is None or other is None:
                return None
            sign = 1 if expression.operator == "+" else -1
            keys = set(one) | set(other)
            return {key: one.get(key, 0) + sign * other.get(key, 0) for key in keys}
        return None


def _labels(length: _Length) -> _Labels:
    """Return the labels that a length counts; a number that never changes counts no unit."""
    return np.zeros(length, dtype=np.int64) if isinstance(length, int) else length


def _value(expression: Expression) -> int:
    """Return the number that an expression has in the dense network."""
    return expression if isinstance(expression, int) else expression.value


def _distinct(arrays: Sequence[_Labels]) -> list[_Labels]:
    """Drop repetitions."""
    return list({(array.shape, array.tobytes()): array for array in arrays}.values())


def _rectangular(
    labels: _Labels, component: _Labels, stays: npt.NDArray[np.bool_]
) -> list[tuple[_Labels, _Labels]]:
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


def _remaining(units: _Labels, dim: int) -> int:
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
