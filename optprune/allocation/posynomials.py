r"""Costs as posynomials in the logarithms of the widths, for convex programs.

With :math:`y_g = \log(w_g / W_g)`, a cost is a sum of exponentials of affine functions of y, and
"cost <= B" is the convex constraint

.. math:: \sum_m \exp(a_m \cdot y + b_m - \log B) \le 1 .

The form with the fewer exponentials is taken:

- *expanded*: every product of sums is multiplied out (`CostPolynomial.monomials`); best for chains
  and residual streams;
- *factored*: a sum of widths that stands in a product (what a concatenation feeds into a layer)
  gets a variable of its own, :math:`\log \sum_g s_g w_g \le z`, and the monomial uses z. Costs grow
  with every factor, so z comes down to the logarithm where it matters, and nothing is lost.

All sums of all costs are rows of one sparse matrix: one vector of exponentials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = ["LogForm", "log_form"]

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

_MOST_PRODUCTS = 50_000
"""A cost of more products of summands is not multiplied out, even to count its monomials."""


@dataclass(frozen=True, eq=False)
class LogForm:
    """Sums of exponentials that are at most one: ``sums @ exp(matrix @ (y, z) + offsets)``.

    Parameters
    ----------
    matrix : sparse array of float64, shape (n_exponentials, n_free + n_factors)
        Exponents of the ratios of the free groups, then of the factors.
    offsets : ndarray of float64, shape (n_exponentials,)
        Logarithms of the coefficients.
    sums : sparse array of float64, shape (n_costs + n_factors, n_exponentials)
        Ones where an exponential belongs to a sum: first the costs, then the factors.
    n_costs : int
        How many of the sums are costs, to be divided by their budgets.
    n_free : int
        How many groups are free.
    """

    matrix: sparse.csr_array
    offsets: _Floats
    sums: sparse.csr_array
    n_costs: int
    n_free: int

    def constraint(self, y: Any, log_budgets: Any) -> Any:
        """Return the constraint as one of cvxpy.

        Parameters
        ----------
        y : cvxpy expression, shape (n_free,)
            Logarithms of the ratios of the free groups.
        log_budgets : cvxpy expression, shape (n_costs,)
            Logarithms of the budgets.
        """
        import cvxpy as cp

        n_factors = self.sums.shape[0] - self.n_costs
        logs = cp.hstack([y, cp.Variable(n_factors)]) if n_factors else y
        budgets = self.sums[: self.n_costs].T @ log_budgets
        return self.sums @ cp.exp(self.matrix @ logs + self.offsets - budgets) <= 1


def log_form(costs: Sequence[CostPolynomial], free: _Ints, widths: _Floats) -> LogForm:
    """Write costs as sums of exponentials in the logarithms of the free groups' ratios.

    Parameters
    ----------
    costs : sequence of CostPolynomial
        The costs; each depends on a free group.
    free : ndarray of int64, shape (n_free,)
        Indices of the free groups.
    widths : ndarray of float64, shape (n_groups,)
        Widths of the groups that are not free; those are folded into the coefficients.

    Returns
    -------
    LogForm

    Notes
    -----
    A constant is an exponential with exponents zero. Factors that are multiples of each other
    share one variable, also across costs.
    """
    factors: dict[bytes, tuple[int, float, _Floats]] = {}
    parts: list[tuple[_Floats, _Floats]] = []
    for cost in costs:
        folded = _folded(cost, free, widths)
        parts.append(_expanded(folded) or _factored(folded, factors))
    n_free, n_factors = len(free), len(factors)
    dense = costs[0].dense_widths[free].astype(np.float64)
    blocks, offsets = [], []
    for coefficients, exponents in parts:
        wide = np.zeros((len(exponents), n_free + n_factors))
        wide[:, : exponents.shape[1]] = exponents
        blocks.append(sparse.csr_array(wide))
        offsets.append(np.log(coefficients) + wide[:, :n_free] @ np.log(dense))
    for position, constant, slopes in factors.values():
        groups = np.flatnonzero(slopes)
        wide = np.zeros((len(groups) + (constant > 0), n_free + n_factors))
        wide[np.arange(len(groups)), groups] = 1
        wide[:, n_free + position] = -1
        blocks.append(sparse.csr_array(wide))
        offsets.append(
            np.log(np.append(slopes[groups] * dense[groups], [constant][: constant > 0]))
        )
    owner = np.repeat(np.arange(len(blocks)), [block.shape[0] for block in blocks])
    columns = np.arange(len(owner))
    sums = sparse.csr_array((np.ones(len(owner)), (owner, columns)))
    return LogForm(
        sparse.csr_array(sparse.vstack(blocks)), np.concatenate(offsets), sums, len(costs), n_free
    )


def _folded(cost: CostPolynomial, free: _Ints, widths: _Floats) -> CostPolynomial:
    """Return the cost as one of the free groups alone."""
    fixed = np.setdiff1d(np.arange(len(widths)), free)
    return replace(
        cost,
        constants=cost.constants + cost.slopes[:, :, fixed] @ widths[fixed],
        slopes=cost.slopes[:, :, free],
        dense_widths=cost.dense_widths[free],
    )


def _expanded(cost: CostPolynomial) -> tuple[_Floats, _Floats] | None:
    """Return coefficients and exponents, multiplied out; None where the factored form is less."""
    summands = (cost.slopes != 0).sum(axis=2) + (cost.constants != 0)
    if summands.prod(axis=0).sum() > _MOST_PRODUCTS:
        return None
    coefficients, exponents = cost.monomials()
    seen = {
        (float(constant), slopes.tobytes()): int(n)
        for constant, slopes, n in zip(
            cost.constants.ravel(),
            cost.slopes.reshape(-1, cost.slopes.shape[2]),
            summands.ravel(),
            strict=True,
        )
        if n > 1
    }
    if len(coefficients) > len(cost.coefficients) + sum(seen.values()):
        return None
    return coefficients, exponents.astype(np.float64)


def _factored(
    cost: CostPolynomial, factors: dict[bytes, tuple[int, float, _Floats]]
) -> tuple[_Floats, _Floats]:
    """Return coefficients and exponents of groups and factors; new factors are added."""
    n_free = cost.slopes.shape[2]
    table: dict[tuple[int, ...], float] = {}
    for term, coefficient in enumerate(cost.coefficients):
        value, key = float(coefficient), []
        for constant, slopes in zip(cost.constants[:, term], cost.slopes[:, term], strict=True):
            groups = np.flatnonzero(slopes)
            if not len(groups):
                value *= constant
                continue
            scale = float(slopes[groups[0]])
            value *= scale
            if len(groups) == 1 and constant == 0:
                key.append(int(groups[0]))
                continue
            name = np.append(slopes, constant) / scale
            position, _, _ = factors.setdefault(
                name.tobytes(), (len(factors), float(name[-1]), name[:-1])
            )
            key.append(n_free + position)
        if value > 0:
            found = tuple(sorted(key))
            table[found] = table.get(found, 0.0) + value
    exponents = np.zeros((len(table), n_free + len(factors)))
    for row, found in enumerate(table):
        np.add.at(exponents[row], list(found), 1)
    return np.array(list(table.values())), exponents
