r"""Exact minimization of separable losses plus a charged cost, by dynamic programming.

For a charge :math:`\lambda \ge 0`, the Lagrangian
:math:`\sum_g \ell_g(w_g) + \lambda F(w)` is a sum of tables over the groups that share a monomial
of the cost. Groups leave one by one: what a group's best option is, for all options of its
neighbours, becomes a table of those. On a chain this is Viterbi's algorithm; elsewhere the largest
table grows with the treewidth of the graph of groups.

Its minimum over the options, less :math:`\lambda B`, bounds every choice within the budget B from
below. The best charge lies where two minimizers, one within the budget and one over it, are equally
good: the secant between them is followed until it finds no third.

References
----------
A. J. Viterbi: Error bounds for convolutional codes, IEEE Transactions on Information Theory 13,
1967, doi:10.1109/TIT.1967.1054010. R. Dechter: Bucket elimination, Artificial Intelligence 113,
1999, doi:10.1016/S0004-3702(99)00059-4. Which group leaves next (the least table) is the min-weight
rule; not checked against the papers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = ["LARGEST_TABLE", "Elimination", "LagrangianOptimum", "lagrangian"]

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

LARGEST_TABLE = 2_000_000
"""Entries of the largest table: 16 MB, a few milliseconds."""

_MOST_PRODUCTS = 200_000
"""A cost of more products of summands is not multiplied out."""

_MOST_ROUNDS = 60
"""Secants that are followed; the bound holds after any number."""


@dataclass(frozen=True, eq=False)
class Elimination:
    """A cost as tables over options, and the order in which groups leave.

    Parameters
    ----------
    tables : list of (tuple of int, ndarray)
        Groups, ascending, and the cost that they share for all their options. They add up to the
        cost.
    order : list of int
        The groups in the order in which they leave.
    largest : int
        Entries of the largest table on the way.
    """

    tables: list[tuple[tuple[int, ...], _Floats]]
    order: list[int]
    largest: int

    @classmethod
    def plan(
        cls, cost: CostPolynomial, options: Sequence[_Ints], limit: int = LARGEST_TABLE
    ) -> Elimination | str:
        """Plan the elimination, or say why it is too large.

        Parameters
        ----------
        cost : CostPolynomial
            The cost.
        options : sequence of ndarray of int64
            Allowed widths of every group.
        limit : int
            The largest number of entries of a table.

        Returns
        -------
        Elimination or str
            The plan, or the reason that there is none.
        """
        products = ((cost.slopes != 0).sum(axis=2) + (cost.constants != 0)).prod(axis=0).sum()
        if products > _MOST_PRODUCTS:
            return f"the cost has {products:.3g} products, over the limit of {_MOST_PRODUCTS:.3g}"
        coefficients, exponents = cost.monomials()
        scopes = [tuple(np.flatnonzero(row).tolist()) for row in exponents]
        order, largest = _order(scopes, [len(widths) for widths in options])
        if largest > limit:
            return f"its largest table has {largest:.3g} entries, over the limit of {limit:.3g}"
        merged: dict[tuple[int, ...], _Floats] = {}
        for scope, coefficient, row in zip(scopes, coefficients, exponents, strict=True):
            table = np.full((1,) * len(scope), coefficient)
            for axis, group in enumerate(scope):
                powers = options[group].astype(np.float64) ** row[group]
                table = table * powers.reshape(_along(len(scope), axis))
            merged[scope] = merged[scope] + table if scope in merged else table
        return cls(list(merged.items()), order, largest)

    def minimize(self, losses: Sequence[_Floats], charge: float) -> _Ints:
        """Return the option of each group that minimizes losses plus charge times cost.

        Parameters
        ----------
        losses : sequence of ndarray of float64
            The loss of every option.
        charge : float
            What a unit of the cost is charged.

        Returns
        -------
        ndarray of int64, shape (n_groups,)
            Indices of options.
        """
        live = [(scope, charge * table) for scope, table in self.tables if scope]
        live += [((group,), loss) for group, loss in enumerate(losses)]
        best: list[tuple[tuple[int, ...], npt.NDArray[np.int64]]] = []
        for group in self.order:
            touched = [each for each in live if group in each[0]]
            live = [each for each in live if group not in each[0]]
            others = tuple(sorted({g for scope, _ in touched for g in scope} - {group}))
            scope = (*others, group)
            total = np.zeros((1,) * len(scope))
            for each, table in touched:
                total = total + _spread(each, table, scope)
            best.append((others, total.argmin(axis=-1)))
            live.append((others, total.min(axis=-1)))
        chosen = np.zeros(len(losses), dtype=np.int64)
        for group, (others, winner) in zip(reversed(self.order), reversed(best), strict=True):
            chosen[group] = winner[tuple(chosen[list(others)])]
        return chosen


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

    Returns
    -------
    LagrangianOptimum
    """

    def measured(chosen: _Ints) -> tuple[float, float]:
        widths = [w[index] for w, index in zip(options, chosen, strict=True)]
        loss = math.fsum(table[index] for table, index in zip(losses, chosen, strict=True))
        return loss, float(cost(widths)[0])

    over = elimination.minimize(losses, 0.0)
    loss_over, cost_over = measured(over)
    if cost_over <= budget:
        return LagrangianOptimum(loss_over, 0.0, over, None)
    within = np.zeros(len(losses), dtype=np.int64)
    loss_within, cost_within = measured(within)
    bound, best = loss_over, 0.0
    for _ in range(_MOST_ROUNDS):
        charge = max((loss_within - loss_over) / (cost_over - cost_within), 0.0)
        chosen = elimination.minimize(losses, charge)
        loss, spent = measured(chosen)
        value = loss + charge * (spent - budget)
        if value > bound:
            bound, best = value, charge
        line = loss_over + charge * (cost_over - budget)
        if value >= line - 1e-12 * (abs(line) + abs(loss)):
            break
        if spent <= budget:
            within, loss_within, cost_within = chosen, loss, spent
        else:
            over, loss_over, cost_over = chosen, loss, spent
    return LagrangianOptimum(bound, best, within, over)


def _order(scopes: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> tuple[list[int], int]:
    """Return the groups, the one of the least table next, and the entries of the largest."""
    near: dict[int, set[int]] = {group: set() for group in range(len(sizes))}
    for scope in scopes:
        for group in scope:
            near[group].update(scope)
    for group in near:
        near[group].discard(group)

    def entries(group: int) -> int:
        return sizes[group] * math.prod(sizes[other] for other in near[group])

    order, largest = [], 1
    weight = {group: entries(group) for group in near}
    while weight:
        group = min(weight, key=lambda each: (weight[each], each))
        largest = max(largest, weight.pop(group))
        order.append(group)
        others = near.pop(group)
        for other in others:
            near[other] |= others
            near[other] -= {group, other}
        for other in others:
            weight[other] = entries(other)
    return order, largest


def _along(n_axes: int, axis: int) -> tuple[int, ...]:
    """Return the shape that lays a vector along one axis."""
    return tuple(-1 if each == axis else 1 for each in range(n_axes))


def _spread(scope: tuple[int, ...], table: _Floats, wide: tuple[int, ...]) -> _Floats:
    """Return a table with an axis for each group of a wider scope."""
    present = [group for group in wide if group in scope]
    table = table.transpose([scope.index(group) for group in present])
    sizes = iter(table.shape)
    return table.reshape([next(sizes) if group in scope else 1 for group in wide])
