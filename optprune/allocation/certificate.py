r"""Certificates: multipliers, and bounds on what any widths could reach, without trusting a solver.

For multipliers :math:`\lambda_c \ge 0` and any point :math:`y^0`, all y within the budgets have

.. math::
    U(y) \le U(y) - \sum_c \lambda_c (\log F_c(y) - \log B_c)
    \le \sum_c \lambda_c (\log B_c - \log F_c(y^0))
        + \sum_g \big[ U_g(y_g) - r_g (y_g - y^0_g) \big],
    \qquad r_g = \sum_c \lambda_c \frac{\partial \log F_c}{\partial y_g}(y^0) ,

since log F is convex in y. The right side is a sum over the groups, so that its maximum is one over
each group alone: over the allowed widths, or, with the tangent of a concave :math:`U_g` in place of
:math:`U_g`, over the two bounds. It holds for *any* multipliers; the least bound is a small linear
program in them. Its multipliers are those of the optimum: there the tangents agree
(Karush-Kuhn-Tucker), and the bound meets the utility.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.allocation.hulls import lower_hull

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = ["ACTIVE", "Certificate", "Relaxed", "active_costs", "certify"]

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

ACTIVE = 1e-6
"""A budget binds when its cost is nearer than this, as a fraction of the budget."""

_AT = 1e-4
"""A width is at a bound or a kink when its logarithm is nearer than this."""


@dataclass(frozen=True, eq=False)
class Relaxed:
    """Real widths under budgets, with what certifies them.

    Parameters
    ----------
    widths : ndarray of float64, shape (n_groups,)
        Units of every group, not rounded.
    utility : float
        The utility of `widths`, in the scale of the importances.
    bound : float
        No widths within the bounds and budgets have more.
    costs : dict of str to float
        The true costs of `widths`, of all polynomials, in their units.
    budgets : dict of str to float
        The budgets that were given.
    active : tuple of str
        The costs whose budgets bind.
    multipliers : dict of str to float
        What the utility gains per relative budget, d utility / d log budget.
    kkt : float
        The largest relative violation of the Karush-Kuhn-Tucker conditions, see `Certificate`.
    status : str
        What the solver said, or why none was needed.
    overshoot : float
        By how much the solver's own point was over a budget, as a fraction of it; 0 if it was not.
        `widths` is never over.
    seconds : float
        Wall time of the solve.
    """

    widths: _Floats
    utility: float
    bound: float
    costs: dict[str, float]
    budgets: dict[str, float]
    active: tuple[str, ...]
    multipliers: dict[str, float]
    kkt: float
    status: str
    overshoot: float
    seconds: float

    @property
    def gap(self) -> float:
        """How far the utility may be from the best, ``bound - utility``."""
        return self.bound - self.utility

    @property
    def repaired(self) -> bool:
        """Whether the solver's point was over a budget and was pulled back."""
        return self.overshoot > 0

    @property
    def prices(self) -> dict[str, float]:
        """What one more unit of each budget would gain in utility (per MAC, parameter or byte)."""
        return {
            name: rate / self.budgets[name] if rate else 0.0
            for name, rate in self.multipliers.items()
        }


@dataclass(frozen=True, eq=False)
class Certificate:
    """Multipliers and the bound that they give.

    Parameters
    ----------
    multipliers : ndarray of float64, shape (n_budgets,)
        One for each budget, not negative.
    bound : float
        No choice among the points has more utility within the budgets.
    rates : ndarray of float64, shape (n_groups,)
        r: what the multipliers charge for each group's logarithm.
    regrets : ndarray of float64, shape (n_points,)
        By how much the bound falls when a group is held at a point; not negative.
    kkt : float
        The largest relative violation of the Karush-Kuhn-Tucker conditions at y0, for the concave
        envelope of each group's points. Stationarity: the rate lies between the slopes on both
        sides of y0, relative to the larger of rate and slope (at an end there is one side only;
        what is under 1e-9 of the largest is rounding). Complementarity: a multiplier times what is
        left of its budget, log B - log F, relative to the largest rate. Feasibility: the excess
        over a budget, relative to it.
    """

    multipliers: _Floats
    bound: float
    rates: _Floats
    regrets: _Floats
    kkt: float


def certify(
    costs: Mapping[str, CostPolynomial],
    budgets: Mapping[str, float],
    widths: _Floats,
    groups: _Ints,
    logs: _Floats,
    gains: _Floats,
) -> Certificate:
    """Find the multipliers of the least bound on a sum of one gain for each group.

    Parameters
    ----------
    costs : mapping of str to CostPolynomial
        The costs by name.
    budgets : mapping of str to float
        The budgets to count, in the order of the multipliers.
    widths : ndarray of float64, shape (n_groups,)
        The point y0, as widths.
    groups : ndarray of int64, shape (n_points,)
        The group of every point, ascending; each group has one.
    logs : ndarray of float64, shape (n_points,)
        y - y0 of every point, ascending in each group.
    gains : ndarray of float64, shape (n_points,)
        The utility of every point.

    Returns
    -------
    Certificate

    Notes
    -----
    The bound is computed from the multipliers by the formula; the linear program only suggests
    them, and where it finds none they are zero. Gains should be of the order of one.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, hstack

    n_groups, n_budgets = len(widths), len(budgets)
    shares = np.array([costs[name].shares(widths) for name in budgets])
    shares = shares.reshape(n_budgets, n_groups)
    slack = np.array([np.log(b / float(costs[name](widths)[0])) for name, b in budgets.items()])
    kept = _on_hulls(groups, logs, gains)
    multipliers = np.zeros(n_budgets)
    if n_budgets:
        charges = shares[:, groups[kept]] * logs[kept]
        ones = csr_array((np.ones(len(kept)), (np.arange(len(kept)), groups[kept])))
        solved = linprog(
            np.concatenate([np.maximum(slack, 0), np.ones(n_groups)]),
            A_ub=hstack([csr_array(-charges.T), -ones], format="csr"),
            b_ub=-gains[kept],
            bounds=[(0, None)] * n_budgets + [(None, None)] * n_groups,
            method="highs",
        )
        if solved.x is not None:
            multipliers = np.maximum(solved.x[:n_budgets], 0)
    rates = multipliers @ shares
    worth = gains - rates[groups] * logs
    best = np.full(n_groups, -np.inf)
    np.maximum.at(best, groups, worth)
    largest = rates.max(initial=0.0)
    unused = (multipliers * np.maximum(slack, 0)).max(initial=0.0)
    kkt = max(
        _nonstationarity(groups[kept], logs[kept], gains[kept], rates),
        float(unused / largest) if largest > 0 else 0.0,
        float(np.expm1(-slack).max(initial=0.0)),
    )
    bound = float(multipliers @ slack + best.sum())
    return Certificate(multipliers, bound, rates, best[groups] - worth, kkt)


def _on_hulls(groups: _Ints, logs: _Floats, gains: _Floats) -> _Ints:
    """Return the points that can be the best of their groups for some multipliers."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    ends = np.append(starts[1:], len(groups))
    found = [a + lower_hull(logs[a:b], -gains[a:b]) for a, b in zip(starts, ends, strict=True)]
    return np.concatenate(found)


def active_costs(values: Mapping[str, float], budgets: Mapping[str, float]) -> tuple[str, ...]:
    """Return the names of the costs that are at their budgets."""
    return tuple(name for name, b in budgets.items() if values[name] >= b * (1 - ACTIVE))


def _nonstationarity(groups: _Ints, logs: _Floats, gains: _Floats, rates: _Floats) -> float:
    """Return how far rates are from between the slopes of concave envelopes on both sides of 0.

    Parameters
    ----------
    groups, logs, gains : ndarray, shape (n_points,)
        The points of the envelopes; slopes fall in each group.
    rates : ndarray of float64, shape (n_groups,)
        What should be a slope.
    """
    step = np.flatnonzero(groups[1:] == groups[:-1])
    slopes = (gains[step + 1] - gains[step]) / (logs[step + 1] - logs[step])
    left, right = np.full(len(rates), np.inf), np.full(len(rates), -np.inf)
    begins, ends = logs[step] < -_AT, logs[step + 1] > _AT
    np.minimum.at(left, groups[step[begins]], slopes[begins])
    np.maximum.at(right, groups[step[ends]], slopes[ends])
    floor = 1e-9 * max(np.abs(slopes).max(initial=0.0), rates.max(initial=0.0))
    worst = 0.0
    for side, excess in ((left, rates - left), (right, right - rates)):
        counted = excess > floor
        size = np.maximum(np.abs(side), rates)[counted]
        worst = max(worst, float((excess[counted] / size).max(initial=0.0)))
    return worst
