"""One option for each group: rounded, improved, and bounded, until the certified gap is small.

First the relaxed widths are rounded down and what is left of the budgets is given out. Unless the
gap is small then, two things follow that narrow it from both sides:

- *elimination*, where one budget counts and its tables are small enough: the Lagrangian over the
  options themselves, whose bound knows the grid, and its two minimizers as further choices;
- *exchanges* from the best choice so far (`Moves.exchange`).

Both look at fewer options every time: one is left away when no choice with it can be better than
the best so far, since it costs the bound more than the gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.allocation.elimination import Elimination
from optprune.allocation.lagrangian import lagrangian
from optprune.allocation.moves import Moves

if TYPE_CHECKING:
    from optprune.allocation.certificate import Certificate
    from optprune.surgery import CostPolynomial

__all__ = ["Choice", "choose"]

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

_ROUNDING = 1e-9
"""A regret that is no more than this over the gap may be rounding."""


@dataclass(frozen=True, eq=False)
class Choice:
    """An option for each group.

    Parameters
    ----------
    chosen : ndarray of int64, shape (n_groups,)
        Indices of options.
    value : float
        The sum of their values.
    bound : float
        No choice within the budgets has more.
    status : str
        How it was found, in words.
    """

    chosen: _Ints
    value: float
    bound: float
    status: str


def choose(
    costs: Mapping[str, CostPolynomial],
    budgets: Mapping[str, float],
    options: Sequence[_Ints],
    values: Sequence[_Floats],
    near: _Floats,
    multipliers: Mapping[str, float],
    certificate: Certificate,
    *,
    enough: float,
    largest: int,
) -> Choice:
    """Choose the options of the largest sum of values within budgets.

    Parameters
    ----------
    costs : mapping of str to CostPolynomial
        The costs by name.
    budgets : mapping of str to float
        Budgets that the narrowest options meet.
    options : sequence of ndarray of int64
        Allowed widths of every group, ascending.
    values : sequence of ndarray of float64
        The value of every option, of the order of one; that of each group's best is 0.
    near : ndarray of float64, shape (n_groups,)
        Relaxed widths.
    multipliers : mapping of str to float
        What each budget gains in the relaxation, relative to it; zero where it does not bind.
    certificate : Certificate
        Of all options.
    enough : float
        A gap that is not worth more time, as a fraction of the value.
    largest : int
        Entries of the largest table of an elimination; 0 for none.

    Returns
    -------
    Choice
    """
    search = _Search(costs, budgets, options, values, certificate.bound)
    charges = np.array([multipliers[name] for name in budgets])
    # Rounding down a width that is whole but for rounding keeps it.
    down = [
        max(int(np.searchsorted(widths, width * (1 + 1e-9), side="right")) - 1, 0)
        for widths, width in zip(options, near, strict=True)
    ]
    search.visit(np.array(down), charges)
    if search.gap > enough * -search.value:
        ends = np.cumsum([len(widths) for widths in options])[:-1]
        search.leave_away(np.split(certificate.regrets, ends))
        if largest:
            charges = search.eliminate(charges, largest)
    if search.gap > enough * -search.value:
        search.exchange(charges, enough)
    return Choice(search.chosen, search.value, search.bound, "; ".join(search.status))


class _Search:
    """The best choice so far, its bound, and the options that a better one may have."""

    def __init__(
        self,
        costs: Mapping[str, CostPolynomial],
        budgets: Mapping[str, float],
        options: Sequence[_Ints],
        values: Sequence[_Floats],
        bound: float,
    ) -> None:
        self.costs, self.budgets, self.bound = costs, budgets, bound
        self.options, self.values = list(options), list(values)
        self.kept = [np.arange(len(widths)) for widths in options]
        self.chosen, self.value = np.zeros(len(options), dtype=np.int64), -np.inf
        self.status = ["rounded down and filled"]

    @property
    def gap(self) -> float:
        """How far the best choice may be from the optimum."""
        return self.bound - self.value

    def visit(self, start: _Ints, charges: _Floats) -> None:
        """Go to options, meet the budgets and fill them; take it where it is the best so far."""
        moves = Moves(self.costs, self.budgets, self.options, self.values, charges)
        moves.start(start)
        moves.shrink()
        moves.fill()
        self._take(moves)

    def exchange(self, charges: _Floats, enough: float) -> None:
        """Improve the best choice by exchanges, until the gap is this fraction of its value."""
        moves = Moves(self.costs, self.budgets, self.options, self.values, charges)
        pairs = zip(self.kept, self.chosen, strict=True)
        moves.start(np.array([int(np.searchsorted(kept, at)) for kept, at in pairs]))
        moves.exchange(self.bound, enough * -self.value)
        self._take(moves)
        self.status.append("exchanges")

    def leave_away(self, regrets: Sequence[_Floats]) -> None:
        """Leave options away whose regret is more than the gap.

        Those of the best choice stay, and so do the narrowest, which meet the budgets.
        """
        for group, regret in enumerate(regrets):
            stay = regret <= self.gap + _ROUNDING
            stay |= self.kept[group] == self.chosen[group]
            stay[0] = True
            self.kept[group] = self.kept[group][stay]
            self.options[group] = self.options[group][stay]
            self.values[group] = self.values[group][stay]

    def eliminate(self, charges: _Floats, largest: int) -> _Floats:
        """Bound by elimination, where one budget counts; return what relative costs are charged."""
        most = np.array([widths[-1] for widths in self.options])
        over = {n for n, budget in self.budgets.items() if float(self.costs[n](most)[0]) > budget}
        # A bound without the budgets that are charged nothing is one with them.
        names = [name for name, charge in zip(self.budgets, charges, strict=True) if charge > 0]
        names = names or list(over)
        if len(names) != 1:
            self.status.append(f"no elimination: {len(names)} budgets bind")
            return charges
        (name,) = names
        cost, budget = self.costs[name], self.budgets[name]
        plan = Elimination.plan(cost, self.options, largest)
        if isinstance(plan, str):
            self.status.append(f"no elimination: {plan}")
            return charges
        losses = [-table for table in self.values]
        first = float(charges.max()) / budget if budget > 0 else 0.0
        optimum = lagrangian(plan, cost, budget, self.options, losses, first)
        charges = np.array([optimum.charge * budget * (each == name) for each in self.budgets])
        for start in (optimum.within, optimum.over):
            if start is not None:
                self.visit(start, charges)
        # A choice with an option that was left away is no better than the best so far.
        self.bound = max(self.value, min(self.bound, -optimum.bound))
        self.status.append(f"elimination (largest table {plan.largest} entries)")
        least = plan.least(losses, optimum.charge)
        if least is not None:
            self.leave_away([each - optimum.charge * budget + self.bound for each in least])
        return charges

    def _take(self, moves: Moves) -> None:
        """Take the state of a local search where it is the best so far."""
        if moves.value > self.value:
            pairs = zip(self.kept, moves.chosen, strict=True)
            self.chosen = np.array([kept[at] for kept, at in pairs], dtype=np.int64)
            self.value = moves.value
