"""Local search over integer widths: single changes that never break a budget.

A state is one option for each group. In the width of a single group every cost is a polynomial,
whose coefficients are read off the terms: after each change they are computed for all groups at
once, and with them what every option of every group would change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = ["Moves"]

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

_ROUNDING = 1e-9
"""Relative error of costs that are updated; nearer to a budget, the exact cost decides."""

_HOPE = 2.0
"""How far changes may help each other, when exchanges are tried."""

_LEAST_CLOSED = 0.2
"""The share of the gap that a round of exchanges must close for another one."""

_MOST_WORK = 2**26
"""Options that are looked at in exchanges, at most: a second or two."""

_OVERHEAD = 3000
"""What a change costs beside looking at the options, in options."""


class Moves:
    """Maximize a sum of one value for each group, within budgets, by single changes.

    Parameters
    ----------
    costs : mapping of str to CostPolynomial
        The costs by name.
    budgets : mapping of str to float
        Budgets that the first options meet.
    options : sequence of ndarray of int64
        Allowed widths of every group, ascending.
    values : sequence of ndarray of float64
        The value of every option.
    charges : ndarray of float64, shape (n_budgets,), optional
        How much each relative cost counts when gains are set against costs; all alike by default.
    """

    def __init__(
        self,
        costs: Mapping[str, CostPolynomial],
        budgets: Mapping[str, float],
        options: Sequence[_Ints],
        values: Sequence[_Floats],
        charges: _Floats | None = None,
    ) -> None:
        self._costs = [costs[name] for name in budgets]
        self._budgets = np.array([budgets[name] for name in budgets], dtype=np.float64)
        if charges is None or not charges.any():
            charges = np.ones(len(self._costs))
        # A budget of zero is met by a cost that is zero everywhere: no change costs anything.
        self._charges = charges / np.where(self._budgets > 0, self._budgets, 1.0)
        self._size = np.array([len(widths) for widths in options])
        self._first = np.concatenate([[0], np.cumsum(self._size)])
        self._group = np.repeat(np.arange(len(options)), self._size)
        self._width = np.concatenate(options).astype(np.float64)
        self._value = np.concatenate(values)
        self._parts = [_Part(cost) for cost in self._costs]
        self._work = 0
        self._spent: _Floats = np.zeros(len(self._costs))
        self._change: _Floats = np.zeros((len(self._costs), len(self._width)))
        self.start(np.zeros(len(options), dtype=np.int64))

    def start(self, chosen: _Ints) -> None:
        """Go to a state.

        Parameters
        ----------
        chosen : ndarray of int64, shape (n_groups,)
            Index of each group's option.
        """
        self._at = self._first[:-1] + chosen
        widths = self._width[self._at]
        self._factors = [cost.constants + cost.slopes @ widths for cost in self._costs]
        self._priced()

    @property
    def chosen(self) -> _Ints:
        """Index of each group's option, shape (n_groups,)."""
        return np.asarray(self._at - self._first[:-1], dtype=np.int64)

    @property
    def value(self) -> float:
        """The sum of the values."""
        return float(self._value[self._at].sum())

    @property
    def fits(self) -> bool:
        """Whether all budgets are met, by the exact costs."""
        return self._fit(self._spent, self._at)

    def shrink(self, trial: _Trial | None = None) -> None:
        """Take narrower options, the least loss per cost first, until the budgets are met.

        Parameters
        ----------
        trial : _Trial, optional
            An exchange that this is part of; the budgets may then stay broken.
        """
        closed = None if trial is None else trial.closed
        while not self.fits and self._promises(trial):
            loss = self._value[self._at[self._group]] - self._value
            over = self._spent > self._budgets * (1 - _ROUNDING)
            saved = -(self._change[over] / self._budgets[over, None]).sum(axis=0)
            useful = np.flatnonzero((saved > 0) & (self._group != closed))
            if not len(useful):
                return
            ratio = loss[useful] / saved[useful]
            self._take(int(useful[ratio.argmin()]))

    def fill(self, trial: _Trial | None = None) -> None:
        """Take the change of the best gain per cost that fits, until none does.

        Parameters
        ----------
        trial : _Trial, optional
            An exchange that this is part of.
        """
        tried = np.zeros(len(self._width), dtype=bool)
        if trial is not None and trial.closed is not None:
            tried[self._first[trial.closed] : self._first[trial.closed + 1]] = True
        scale = np.abs(self._value).max(initial=0.0)
        limits = self._budgets * (1 + _ROUNDING)
        while self._promises(trial):
            gain = self._value - self._value[self._at[self._group]]
            fits = (self._spent[:, None] + self._change <= limits[:, None]).all(axis=0)
            useful = np.flatnonzero((gain > 1e-12 * scale) & fits & ~tried)
            if not len(useful):
                return
            price = self._charges @ np.maximum(self._change[:, useful], 0)
            free = price <= 0
            if free.any():
                best = useful[free][gain[useful[free]].argmax()]
            else:
                best = useful[(gain[useful] / price).argmax()]
            if self._fits_after(int(best)):
                self._take(int(best))
            else:
                tried[best] = True

    def exchange(self, bound: float, enough: float = 0.0) -> None:
        """Change one group and let others make up for it, wherever the sum grows.

        A group is narrowed by 1, 2, 4, … options, and what that frees is given to others; or it is
        widened, and others are narrowed until the budgets are met.

        Parameters
        ----------
        bound : float
            No state within the budgets has more.
        enough : float
            A gap to the bound that is not worth more time.

        Notes
        -----
        Were changes independent, what is freed could gain no more than at the best ratio of gain
        to cost of any single change, and what is over would lose no less than at the least one.
        Where that is no hope by the factor `_HOPE`, nothing is tried. It ends after a round over
        all groups that closes less than `_LEAST_CLOSED` of the gap, or after `_MOST_WORK`.
        """
        self.fill()
        self._work = _MOST_WORK
        while self._work > 0 and self.value < bound - enough:
            before = self.value
            self._round(bound - enough)
            if self.value - before <= _LEAST_CLOSED * (bound - before):
                return

    def _round(self, goal: float) -> None:
        """Try exchanges of all groups, until the goal is reached or the work is done."""
        ratios = self._ratios()
        for group, direction in product(range(len(self._at)), (-1, 1)):
            step = direction
            while 0 <= self.chosen[group] + step < self._size[group]:
                if self._exchanged(group, int(self._at[group]) + step, ratios):
                    step, ratios = direction, self._ratios()
                else:
                    step *= 2
                if self._work <= 0 or self.value >= goal:
                    return

    def _ratios(self) -> tuple[float, float]:
        """Return the most gain and the least loss per cost of any single change."""
        gain = self._value - self._value[self._at[self._group]]
        price = self._charges @ self._change
        wider, narrower = (gain > 0) & (price > 0), price < 0
        most = (gain[wider] / price[wider]).max(initial=0.0)
        least = (gain[narrower] / price[narrower]).min(initial=np.inf)
        return float(most), max(float(least), 0.0)

    def _exchanged(self, group: int, option: int, ratios: tuple[float, float]) -> bool:
        """Try an option of a group; go back unless the sum grows."""
        gain = self._value[option] - self._value[self._at[group]]
        left = float(self._charges @ (self._budgets - self._spent - self._change[:, option]))
        hope = _HOPE * ratios[0] * left if left > 0 else ratios[1] / _HOPE * left
        if gain + hope <= 0:
            return False
        kept = self._at, [each.copy() for each in self._factors], self._change, self._spent
        value = self.value
        self._at = self._at.copy()
        self._take(option)
        trial = _Trial(group, value, ratios[0])
        self.shrink(trial)
        if self.fits:
            self.fill(trial)
            self.fill(replace(trial, closed=None))
            if self.value > value + 1e-12 * abs(value):
                return True
        self._at, self._factors, self._change, self._spent = kept
        return False

    def _promises(self, trial: _Trial | None) -> bool:
        """Return whether what is left of the budgets may bring a trial above its goal."""
        if trial is None:
            return True
        left = float(self._charges @ (self._budgets - self._spent))
        return self.value + _HOPE * trial.ratio * max(left, 0.0) > trial.goal

    def _take(self, option: int) -> None:
        """Change one group."""
        self._work -= len(self._width) + _OVERHEAD
        group = self._group[option]
        step = self._width[option] - self._width[self._at[group]]
        self._at[group] = option
        for cost, factors in zip(self._costs, self._factors, strict=True):
            factors += cost.slopes[:, :, group] * step
        self._priced()

    def _priced(self) -> None:
        """Compute the costs of the state, and what each option changes in them."""
        step = self._width - self._width[self._at][self._group]
        self._spent = np.zeros(len(self._costs))
        self._change = np.zeros((len(self._costs), len(step)))
        for number, (part, factors) in enumerate(zip(self._parts, self._factors, strict=True)):
            self._spent[number] = part.coefficients @ factors.prod(axis=0)
            # Horner's rule in the step
            for power in part.powers(factors)[::-1]:
                self._change[number] += power[self._group]
                self._change[number] *= step

    def _fits_after(self, option: int) -> bool:
        """Return whether all budgets are met after a change."""
        at = self._at.copy()
        at[self._group[option]] = option
        return self._fit(self._spent + self._change[:, option], at)

    def _fit(self, spent: _Floats, at: _Ints) -> bool:
        """Return whether a state that costs `spent` but for rounding meets all budgets."""
        if (spent > self._budgets * (1 + _ROUNDING)).any():
            return False
        if (spent <= self._budgets * (1 - _ROUNDING)).all():
            return True
        widths = self._width[at]
        pairs = zip(self._costs, self._budgets, strict=True)
        return all(float(cost(widths)[0]) <= budget for cost, budget in pairs)


@dataclass(frozen=True)
class _Trial:
    """A group that stays as it is, a sum to be surpassed, and the most gain per relative cost."""

    closed: int | None
    goal: float
    ratio: float


class _Part:
    """A cost as a polynomial in the width of each single group."""

    def __init__(self, cost: CostPolynomial) -> None:
        self.coefficients = cost.coefficients
        self.n_groups = cost.slopes.shape[2]
        self.group, self.term = np.nonzero(cost.slopes.any(axis=0).T)
        self.slopes = cost.slopes[:, self.term, self.group]

    def powers(self, factors: _Floats) -> _Floats:
        """Return the coefficients of the powers 1, 2, … of a step, shape (n_factors, n_groups)."""
        parts = np.zeros((len(factors) + 1, len(self.term)))
        parts[0] = self.coefficients[self.term]
        for factor, slope in zip(factors[:, self.term], self.slopes, strict=True):
            parts[1:] = parts[1:] * factor + parts[:-1] * slope
            parts[0] *= factor
        return np.stack([np.bincount(self.group, each, self.n_groups) for each in parts[1:]])
