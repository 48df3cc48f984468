"""One number in the network's code that must be as long as a dimension, for every structure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from optprune.surgery.labels import Reason
from optprune.surgery.sizes import Combined, Dimension, Expression, Held

if TYPE_CHECKING:
    from optprune.surgery.settling import Settling

__all__ = ["Equation", "Labels", "Length", "value_of"]

Labels: TypeAlias = npt.NDArray[np.int64]
Length: TypeAlias = "Labels | int"
"""The length of a dimension: the labels that it counts, or a number that never changes."""


@dataclass
class Equation:
    """One number that must equal one length."""

    settling: Settling
    reason: Reason
    changed: bool = field(default=False)

    def impose(self, expression: Expression, length: Length) -> bool:
        """Demand that an expression is as long as a dimension; return whether that took a tie."""
        self._impose(expression, length)
        return self.changed

    def _impose(self, expression: Expression, length: Length) -> None:
        if isinstance(expression, int):
            # a literal: where the network's code does not follow after all, verification tells
            return
        if isinstance(expression, Held):
            bound = self.settling.bound.setdefault(expression.key, length)
            self._equate(bound, length)
        elif isinstance(expression, Dimension):
            own = self.settling.length_of(expression)
            self._equate(expression.value if own is None else own, length)
        elif expression.operator == "*":
            self._product(expression, length)
        elif expression.operator == "//":
            self._quotient(expression, length)
        else:
            self._sum(expression, length)

    def _equate(self, first: Length, second: Length) -> None:
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

    def _product(self, expression: Combined, length: Length) -> None:
        """Take a length apart into those of two factors."""
        first, second = expression.first, expression.second
        n_first, n_second = value_of(first), value_of(second)
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

    def _known(self, expression: Expression) -> Length | None:
        """Return the length that an expression has now, where it is a single one."""
        if isinstance(expression, int):
            return expression
        if isinstance(expression, Held):
            return self.settling.bound.get(expression.key)
        if isinstance(expression, Dimension):
            return self.settling.length_of(expression)
        one, other = self._known(expression.first), self._known(expression.second)
        if isinstance(one, int) and isinstance(other, int):
            return expression.value
        return None

    def _quotient(self, expression: Combined, length: Length) -> None:
        """Demand that the dividend is the quotient times the divisor."""
        dividend, divisor = expression.first, expression.second
        n_divisor, n_dividend = value_of(divisor), value_of(dividend)
        known = self._known(divisor)
        moving = None if known is None or isinstance(known, int) else known
        if n_divisor * expression.value != n_dividend:
            for part in (expression.first, expression.second):
                self._impose(part, value_of(part))
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

    def _sum(self, expression: Combined, length: Length) -> None:
        """Check a sum or a difference; what does not agree stays."""
        first, second = expression.first, expression.second
        if expression.operator == "-" and isinstance(first, Held) and self._known(first) is None:
            taken = self._known(second)
            if taken is not None:
                self._impose(first, np.concatenate([_counted(taken), _counted(length)]))
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


def _counted(length: Length) -> Labels:
    """Return the labels that a length counts; a number that never changes counts no unit."""
    return np.zeros(length, dtype=np.int64) if isinstance(length, int) else length


def value_of(expression: Expression) -> int:
    """Return the number that an expression has in the dense network."""
    return expression if isinstance(expression, int) else expression.value
