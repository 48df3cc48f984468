r"""The best Lagrangian bound on separable losses under one budget.

The least Lagrangian over the options (`Elimination`), less :math:`\lambda B`, bounds every choice
within the budget B from below. The best charge lies where two minimizers, one within the budget and
one over it, are equally good: the secant between them is followed until it finds no third.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from optprune.allocation.elimination import Elimination
    from optprune.surgery import CostPolynomial

__all__ = ["LagrangianOptimum", "lagrangian"]

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

_MOST_ROUNDS = 60
"""Charges that are tried; the bound holds after any number."""

_FIRST_STEP = 0.01
"""How far from the first charge the next one is, relative to it; then four times as far."""


@dataclass(frozen=True, eq=False)
class LagrangianOptimum:
    """The best charge, its bound, and the choices at it.

    Parameters
    ----------
    bound : float
        No choice within the budget has less loss.
    charge : float
        The charge for a unit of the cost.
    within : ndarray of int64, shape (n_groups,)
        Options within the budget.
    over : ndarray of int64, shape (n_groups,), or None
        Options over the budget that are equally good for the Lagrangian; None where the least loss
        of all is within the budget.
    """

    bound: float
    charge: float
    within: _Ints
    over: _Ints | None


def lagrangian(
    elimination: Elimination,
    cost: CostPolynomial,
    budget: float,
    options: Sequence[_Ints],
    losses: Sequence[_Floats],
    first: float = 0.0,
) -> LagrangianOptimum:
    """Maximize the Lagrangian bound over the charge.

    Parameters
    ----------
    elimination : Elimination
        The plan for `cost` and `options`.
    cost : CostPolynomial
        The cost.
    budget : float
        The narrowest options meet it.
    options : sequence of ndarray of int64
        Allowed widths of every group, ascending.
    losses : sequence of ndarray of float64
        The loss of every option.
    first : float
        A charge near the best one, if one is known, such as the price in a relaxation.

    Returns
    -------
    LagrangianOptimum
    """

    def measured(chosen: _Ints) -> tuple[float, float]:
        widths = [w[index] for w, index in zip(options, chosen, strict=True)]
        loss = math.fsum(table[index] for table, index in zip(losses, chosen, strict=True))
        return loss, float(cost(widths)[0])

    over = np.array([int(table.argmin()) for table in losses])
    loss_over, cost_over = measured(over)
    if cost_over <= budget:
        return LagrangianOptimum(loss_over, 0.0, over, None)
    within = np.zeros(len(losses), dtype=np.int64)
    loss_within, cost_within = measured(within)
    bound, best = loss_over, 0.0
    charge, step = first, _FIRST_STEP
    sides = {True, False} if first <= 0 else set()
    for _ in range(_MOST_ROUNDS):
        if len(sides) == 2:
            charge = max((loss_within - loss_over) / (cost_over - cost_within), 0.0)
            line = loss_over + charge * (cost_over - budget)
            if bound >= line - 1e-12 * (abs(line) + abs(loss_over)):
                break
        chosen = elimination.minimize(losses, charge)
        loss, spent = measured(chosen)
        value = loss + charge * (spent - budget)
        if value > bound:
            bound, best = value, charge
        fits = spent <= budget
        sides.add(fits)
        if fits:
            within, loss_within, cost_within = chosen, loss, spent
        else:
            over, loss_over, cost_over = chosen, loss, spent
        charge *= 1 / (1 + step) if fits else 1 + step
        step *= 4
    return LagrangianOptimum(bound, best, within, over)
