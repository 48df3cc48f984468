r"""Exact minimization of separable losses plus a charged cost, by dynamic programming.

For a charge :math:`\lambda \ge 0`, the Lagrangian
:math:`\sum_g \ell_g(w_g) + \lambda F(w)` is a sum of tables over the groups that share a monomial
of the cost. Groups leave one by one: what a group's best option is, for all options of its
neighbours, becomes a table of those. On a chain this is Viterbi's algorithm; elsewhere the largest
table grows with the treewidth of the graph of groups. The same tables, passed back, tell the least
Lagrangian of every single option.

References
----------
A. J. Viterbi: Error bounds for convolutional codes, IEEE Transactions on Information Theory 13,
1967, doi:10.1109/TIT.1967.1054010. R. Dechter: Bucket elimination, Artificial Intelligence 113,
1999, doi:10.1016/S0004-3702(99)00059-4. Which group leaves next (the least table) is the min-weight
rule; not checked against the papers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = ["LARGEST_TABLE", "Elimination"]

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

LARGEST_TABLE = 2**21
"""Entries of the largest table: 16 MiB, some milliseconds. ResNet-50 in steps of 8 has as many."""

_MOST_ENTRIES = 2**24
"""Entries of all tables together that are held to be passed back: 128 MiB."""

_MOST_PRODUCTS = 200_000
"""A cost of more products of summands is not multiplied out."""


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
    entries : int
        Entries of all tables on the way.
    """

    tables: list[tuple[tuple[int, ...], _Floats]]
    order: list[int]
    largest: int
    entries: int

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
        order, sizes = _order(scopes, [len(widths) for widths in options])
        largest = max(sizes)
        if largest > limit:
            return f"its largest table has {largest:.3g} entries, over the limit of {limit:.3g}"
        merged: dict[tuple[int, ...], _Floats] = {}
        for scope, coefficient, row in zip(scopes, coefficients, exponents, strict=True):
            table = np.full((1,) * len(scope), coefficient)
            for axis, group in enumerate(scope):
                powers = options[group].astype(np.float64) ** row[group]
                table = table * powers.reshape(_along(len(scope), axis))
            merged[scope] = merged[scope] + table if scope in merged else table
        return cls(list(merged.items()), order, largest, sum(sizes))

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
        winners = [
            (others, total.argmin(axis=-1)) for others, total, _ in self._totals(losses, charge)
        ]
        chosen = np.zeros(len(losses), dtype=np.int64)
        for group, (others, winner) in zip(reversed(self.order), reversed(winners), strict=True):
            chosen[group] = winner[tuple(chosen[list(others)])]
        return chosen

    def least(self, losses: Sequence[_Floats], charge: float) -> list[_Floats] | None:
        """Return the least of losses plus charge times cost of all choices with an option.

        Parameters
        ----------
        losses : sequence of ndarray of float64
            The loss of every option.
        charge : float
            What a unit of the cost is charged.

        Returns
        -------
        list of ndarray of float64, or None
            A number for each option of every group; None where the tables together are too large
            to be held.
        """
        if self.entries > _MOST_ENTRIES:
            return None
        steps = list(self._totals(losses, charge))
        lowest = [total.min(axis=-1) for _, total, _ in steps]
        # What a table does not know of: the least of everything else, for all options of `others`.
        roots = sum(float(low) for low in lowest if not low.ndim)
        roots += sum(charge * float(table) for scope, table in self.tables if not scope)
        outside = [roots - low if not low.ndim else low for low in lowest]
        found = [np.zeros(0)] * len(losses)
        for place in reversed(range(len(steps))):
            others, total, parts = steps[place]
            scope = (*others, self.order[place])
            total = total + outside[place][..., None]
            found[scope[-1]] = total.min(axis=tuple(range(len(others))))
            for part in parts:
                kept = steps[part][0]
                gone = tuple(axis for axis, each in enumerate(scope) if each not in kept)
                order = np.argsort([each for each in scope if each in kept])
                outside[part] = total.min(axis=gone).transpose(order) - lowest[part]
        return found

    def _totals(
        self, losses: Sequence[_Floats], charge: float
    ) -> Iterator[tuple[tuple[int, ...], _Floats, list[int]]]:
        """Let the groups leave one by one.

        Yields
        ------
        others : tuple of int
            The groups, ascending, that share a table with the one that leaves.
        total : ndarray of float64
            The least Lagrangian of what has left, for all options of the others (in their order)
            and of the one that leaves (the last dimension).
        parts : list of int
            Which tables before it are added up in it.
        """
        live = [(scope, charge * table, -1) for scope, table in self.tables if scope]
        live += [((group,), loss, -1) for group, loss in enumerate(losses)]
        for place, group in enumerate(self.order):
            touched = [each for each in live if group in each[0]]
            live = [each for each in live if group not in each[0]]
            others = tuple(sorted({g for scope, _, _ in touched for g in scope} - {group}))
            scope = (*others, group)
            total = np.zeros((1,) * len(scope))
            for each, table, _ in touched:
                total = total + _spread(each, table, scope)
            yield others, total, [part for _, _, part in touched if part >= 0]
            live.append((others, total.min(axis=-1), place))


def _order(scopes: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the groups, the one of the least table next, and the entries of their tables."""
    near: dict[int, set[int]] = {group: set() for group in range(len(sizes))}
    for scope in scopes:
        for group in scope:
            near[group].update(scope)
    for group in near:
        near[group].discard(group)

    def entries(group: int) -> int:
        return sizes[group] * math.prod(sizes[other] for other in near[group])

    order: list[int] = []
    entered: list[int] = []
    weight = {group: entries(group) for group in near}
    while weight:
        group = min(weight, key=lambda each: (weight[each], each))
        entered.append(weight.pop(group))
        order.append(group)
        others = near.pop(group)
        for other in others:
            near[other] |= others
            near[other] -= {group, other}
        for other in others:
            weight[other] = entries(other)
    return order, entered


def _along(n_axes: int, axis: int) -> tuple[int, ...]:
    """Return the shape that lays a vector along one axis."""
    return tuple(-1 if each == axis else 1 for each in range(n_axes))


def _spread(scope: tuple[int, ...], table: _Floats, wide: tuple[int, ...]) -> _Floats:
    """Return a table with an axis for each group of a wider scope."""
    present = [group for group in wide if group in scope]
    table = table.transpose([scope.index(group) for group in present])
    sizes = iter(table.shape)
    return table.reshape([next(sizes) if group in scope else 1 for group in wide])
