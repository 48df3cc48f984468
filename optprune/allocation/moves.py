"""Local search over integer widths: single changes that never break a budget.

A state is one option for each group. What a change of one group does to a cost involves the terms
of that group alone, and after a change only groups that share a term with it are recomputed; so a
step costs what the neighbourhood of a group in the network costs, not what the network costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

_MOST_TRIALS = 2000
"""Exchanges that are tried at most: seconds in the largest networks."""


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
        self._terms = [
            [np.flatnonzero(cost.slopes[:, :, group].any(axis=0)) for group in range(len(options))]
            for cost in self._costs
        ]
        self._neighbours = [self._near(group) for group in range(len(options))]
        self._trials = 0
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
        self._change = np.zeros((len(self._costs), len(self._width)))
        for group in range(len(self._at)):
            self._price(group)
        self._spent = self._summed()

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
        return self._exactly_fits(self._at)

    def shrink(self, closed: int | None = None) -> None:
        """Take narrower options, the least loss per cost first, until the budgets are met.

        Parameters
        ----------
        closed : int, optional
            A group that stays as it is; the budgets may then stay broken.
        """
        while not self.fits:
            loss = self._value[self._at[self._group]] - self._value
            over = self._spent > self._budgets * (1 - _ROUNDING)
            saved = -(self._change[over] / self._budgets[over, None]).sum(axis=0)
            useful = np.flatnonzero((saved > 0) & (self._group != closed))
            if not len(useful):
                return
            ratio = loss[useful] / saved[useful]
            self._take(int(useful[ratio.argmin()]))

    def fill(self, closed: int | None = None) -> None:
        """Take the change of the best gain per cost that fits, until none does.

        Parameters
        ----------
        closed : int, optional
            A group that stays as it is.
        """
        tried = np.zeros(len(self._width), dtype=bool)
        if closed is not None:
            tried[self._first[closed] : self._first[closed + 1]] = True
        scale = np.abs(self._value).max(initial=0.0)
        limits = self._budgets * (1 + _ROUNDING)
        while True:
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

    def exchange(self, passes: int = 8) -> None:
        """Change one group and let others make up for it, wherever the sum grows.

        A group is narrowed, and what that frees is given to others; or it is widened, and others
        are narrowed until the budgets are met.

        Parameters
        ----------
        passes : int
            How often all groups are tried at most; it ends when none helps.

        Notes
        -----
        Were changes independent, what is freed could gain no more than at the best ratio of gain
        to cost of any single change, and what is over would lose no less than at the least one.
        Where that is no hope by the factor `_HOPE`, nothing is tried, nor after `_MOST_TRIALS`.
        """
        self.fill()
        self._trials = 0
        for _ in range(passes):
            before, ratios = self.value, self._ratios()
            for group in range(len(self._at)):
                for direction in (-1, 1):
                    step = direction
                    while 0 <= self.chosen[group] + step < self._size[group]:
                        if self._exchanged(group, int(self._at[group]) + step, ratios):
                            step, ratios = direction, self._ratios()
                        else:
                            step *= 2
            if not self.value > before:
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
        if gain + hope <= 0 or self._trials >= _MOST_TRIALS:
            return False
        self._trials += 1
        kept = self._at, [each.copy() for each in self._factors], self._change, self._spent
        value = self.value
        self._at, self._change = self._at.copy(), self._change.copy()
        self._take(option)
        self.shrink(closed=group)
        if self.fits:
            self.fill(closed=group)
            self.fill()
            if self.value > value + 1e-12 * abs(value):
                return True
        self._at, self._factors, self._change, self._spent = kept
        return False

    def _take(self, option: int) -> None:
        """Change one group."""
        group = self._group[option]
        step = self._width[option] - self._width[self._at[group]]
        self._at[group] = option
        for cost, factors in zip(self._costs, self._factors, strict=True):
            factors += cost.slopes[:, :, group] * step
        for near in self._neighbours[group]:
            self._price(int(near))
        self._spent = self._summed()

    def _price(self, group: int) -> None:
        """Compute what each option of a group changes in every cost."""
        part = slice(self._first[group], self._first[group + 1])
        step = self._width[part] - self._width[self._at[group]]
        for number, cost in enumerate(self._costs):
            terms = self._terms[number][group]
            now = self._factors[number][:, terms]
            then = now[:, :, None] + cost.slopes[:, terms, group][:, :, None] * step
            rise = then.prod(axis=0) - now.prod(axis=0)[:, None]
            self._change[number, part] = cost.coefficients[terms] @ rise

    def _summed(self) -> _Floats:
        """Return the costs of the state, from the factors."""
        return np.array(
            [
                cost.coefficients @ factors.prod(axis=0)
                for cost, factors in zip(self._costs, self._factors, strict=True)
            ]
        )

    def _fits_after(self, option: int) -> bool:
        """Return whether all budgets are met after a change."""
        spent = self._spent + self._change[:, option]
        if (spent <= self._budgets * (1 - _ROUNDING)).all():
            return True
        at = self._at.copy()
        at[self._group[option]] = option
        return self._exactly_fits(at)

    def _exactly_fits(self, at: _Ints) -> bool:
        """Return whether a state meets all budgets, by the exact costs."""
        widths = self._width[at]
        pairs = zip(self._costs, self._budgets, strict=True)
        return all(float(cost(widths)[0]) <= budget for cost, budget in pairs)

    def _near(self, group: int) -> _Ints:
        """Return the groups that share a term with a group, itself included."""
        shared = np.zeros(len(self._first) - 1, dtype=bool)
        shared[group] = True
        for number, cost in enumerate(self._costs):
            shared |= cost.slopes[:, self._terms[number][group]].any(axis=(0, 1))
        return np.flatnonzero(shared)
