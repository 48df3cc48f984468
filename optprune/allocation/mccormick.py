r"""A certified bound on the linear objective: McCormick's relaxation of products of widths.

With :math:`x_g = w_g / W_g` every cost is a sum of products of affine functions of x. A product of
quantities :math:`u \in [\underline u, \bar u]` and :math:`v \in [\underline v, \bar v]` is at
least

.. math::
    \underline u v + \underline v u - \underline u \underline v, \qquad
    \bar u v + \bar v u - \bar u \bar v .

A variable that is at least these stands for the product; longer products are built factor by
factor, each with the one before as u. All factors are positive, so that a lower estimate of u gives
one of the product. No widths within the budgets exceed the optimum of that linear program.

References
----------
G. P. McCormick: Computability of global solutions to factorable nonconvex programs: Part I,
Mathematical Programming 10, 1976, doi:10.1007/BF01580665.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from optprune.errors import SolverError

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = ["linear_bound"]

_Floats = npt.NDArray[np.float64]


def linear_bound(
    weights: _Floats,
    costs: Mapping[str, CostPolynomial],
    budgets: Mapping[str, float],
    lower: _Floats,
    upper: _Floats,
) -> tuple[float, _Floats]:
    """Bound a linear function of the keep-ratios under budgets.

    Parameters
    ----------
    weights : ndarray of float64, shape (n_groups,)
        What a ratio counts; of the order of one.
    costs : mapping of str to CostPolynomial
        The costs by name.
    budgets : mapping of str to float
        The budgets to count, positive.
    lower, upper : ndarray of float64, shape (n_groups,)
        The least and the greatest widths.

    Returns
    -------
    bound : float
        No widths within the bounds and budgets have more.
    ratios : ndarray of float64, shape (n_groups,)
        Where the linear program has its optimum; it may be over the budgets.

    Raises
    ------
    SolverError
        If HiGHS finds no optimum.

    Notes
    -----
    The bound is computed from the multipliers of the linear program by weak duality over the box of
    all variables, so that it holds whatever the tolerance of the solver.
    """
    from scipy.optimize import linprog

    relaxation = _Relaxation(costs, budgets, lower, upper)
    gain = np.zeros(relaxation.n_variables)
    gain[: len(weights)] = weights
    solved: Any = linprog(  # type: ignore[call-overload]  # its stubs know no sparse matrices
        -gain,
        A_ub=relaxation.matrix,
        b_ub=relaxation.right,
        bounds=np.stack([relaxation.low, relaxation.high], axis=1),
        method="highs",
    )
    if solved.x is None:
        raise SolverError(
            f"HiGHS found no optimum of the linear relaxation (status: {solved.message}). Bounds "
            "or budgets that differ by fewer orders of magnitude help."
        )
    prices = np.maximum(-solved.ineqlin.marginals, 0)
    left = gain - relaxation.matrix.T @ prices
    ends = np.maximum(left * relaxation.low, left * relaxation.high)
    bound = float(prices @ relaxation.right + ends.sum())
    return bound, np.asarray(solved.x[: len(weights)], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _Factors:
    """Affine functions ``matrix @ variables + constant``, one for each term, and their ranges."""

    matrix: sparse.csr_array
    constant: _Floats
    low: _Floats
    high: _Floats


class _Relaxation:
    """The rows ``matrix @ variables <= right`` and the box of the variables: ratios, products."""

    def __init__(
        self,
        costs: Mapping[str, CostPolynomial],
        budgets: Mapping[str, float],
        lower: _Floats,
        upper: _Floats,
    ) -> None:
        self._dense = next(iter(costs.values())).dense_widths.astype(np.float64)
        self._lower, self._upper = lower, upper
        depths = [costs[name].constants.shape for name in budgets]
        self.n_variables = len(lower) + sum(max(depth - 1, 0) * n for depth, n in depths)
        self._used = len(lower)
        self._lows, self._highs = [lower / self._dense], [upper / self._dense]
        self._rows: list[sparse.csr_array] = []
        self._rights: list[_Floats] = []
        for name, budget in budgets.items():
            if len(costs[name].constants):
                self._limit(costs[name], budget)
        empty = sparse.csr_array((0, self.n_variables))
        self.matrix = sparse.csr_array(sparse.vstack([empty, *self._rows]))
        self.right = np.concatenate([np.zeros(0), *self._rights])
        self.low, self.high = np.concatenate(self._lows), np.concatenate(self._highs)

    def _limit(self, cost: CostPolynomial, budget: float) -> None:
        """Add the products of a cost, and its budget."""
        product, *others = (self._factors(cost, each) for each in range(len(cost.constants)))
        for factor in others:
            product = self._product(product, factor)
        share = cost.coefficients / budget
        self._rows.append(sparse.csr_array((share @ product.matrix)[None]))
        self._rights.append(np.array([1 - share @ product.constant]))

    def _factors(self, cost: CostPolynomial, number: int) -> _Factors:
        """Return one factor of every term, as functions of the ratios."""
        constant, slopes = cost.constants[number], cost.slopes[number]
        wide = np.zeros((len(slopes), self.n_variables))
        wide[:, : len(self._dense)] = slopes * self._dense
        return _Factors(
            sparse.csr_array(wide),
            constant,
            constant + slopes @ self._lower,
            constant + slopes @ self._upper,
        )

    def _product(self, first: _Factors, second: _Factors) -> _Factors:
        """Add variables that are at least the products, and return them."""
        n = len(first.constant)
        columns = self._used + np.arange(n)
        self._used += n
        own = _Factors(
            sparse.csr_array((np.ones(n), (np.arange(n), columns)), shape=(n, self.n_variables)),
            np.zeros(n),
            first.low * second.low,
            first.high * second.high,
        )
        # In the unit of the largest product, so that rows are of the order of one.
        unit = 1 / own.high
        for u, v in ((first.low, second.low), (first.high, second.high)):
            below = _by(unit * u) @ second.matrix + _by(unit * v) @ first.matrix
            self._rows.append(sparse.csr_array(below - _by(unit) @ own.matrix))
            self._rights.append(unit * (u * v - u * second.constant - v * first.constant))
        self._lows.append(own.low)
        self._highs.append(own.high)
        return own


def _by(values: _Floats) -> sparse.csr_array:
    """Return the matrix that multiplies rows."""
    return sparse.csr_array(sparse.diags_array(values))
