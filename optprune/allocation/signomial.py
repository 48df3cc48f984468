r"""The linear objective: local optima by condensation, with a global bound.

To maximize :math:`\sum_g I_g x_g` under budgets on posynomials is a signomial program: in
:math:`y = \log x` the objective is convex, and it is to be *maximized*. By the inequality of
arithmetic and geometric means,

.. math::
    \log \sum_g I_g e^{y_g} \ge \log S + \sum_g \pi_g (y_g - y^0_g), \qquad
    S = \sum_g I_g e^{y^0_g}, \quad \pi_g = I_g e^{y^0_g} / S ,

with equality at :math:`y^0`. So each step solves the program with the utility log x and the weights
:math:`\pi`, and the objective cannot fall. What it climbs to depends on the start. Optima are
nearly bang-bang: almost every width ends at a bound, and layers of little importance are cut to
their least width; that is why a utility that is concave in log x is the better objective.

References
----------
M. Chiang, C. W. Tan, D. P. Palomar, D. O'Neill, D. Julian: Power control by geometric programming,
IEEE Transactions on Wireless Communications 6, 2007, doi:10.1109/TWC.2007.05960 (condensation). The
objective is that of X. Zheng et al.: An information theory-inspired strategy for automatic network
pruning, arXiv:2108.08532; their solver is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optprune.allocation.arguments import (
    check_bounds,
    check_budgets,
    check_costs,
    check_count,
    check_importance,
    check_solver,
)
from optprune.allocation.certificate import Relaxed, active_costs, certify
from optprune.allocation.geometric import GeometricProgram, Point, pulled_back
from optprune.allocation.mccormick import linear_bound

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = ["Condensed", "SignomialProgram"]

_Floats = npt.NDArray[np.float64]

_CONVERGED = 1e-7
"""Relative rise of the objective at which an ascent ends."""


@dataclass(frozen=True, eq=False)
class Condensed(Relaxed):
    """Real widths of a locally greatest sum of ratios, with a bound on the global one.

    Parameters
    ----------
    ascents : tuple of tuple of float
        The utility after every step, for each start.
    """

    ascents: tuple[tuple[float, ...], ...]


class SignomialProgram:
    """How wide each group should be, when the sum of importance times keep-ratio is maximized.

    Parameters
    ----------
    costs, lower, upper, solver
        As for `Program`.
    importance : array_like, shape (n_groups,)
        What the ratio of each group counts, not negative. Its scale has no influence on the widths.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        As `Program`.
    """

    def __init__(
        self,
        costs: Mapping[str, CostPolynomial],
        importance: npt.ArrayLike,
        *,
        lower: npt.ArrayLike | None = None,
        upper: npt.ArrayLike | None = None,
        solver: str = "CLARABEL",
    ) -> None:
        owner = "SignomialProgram"
        dense = check_costs(owner, costs)
        self.importance = check_importance(owner, importance, len(dense))
        low, high = check_bounds(owner, lower, upper, dense)
        self.costs, self.solver = dict(costs), check_solver(owner, solver)
        self.dense, self.lower, self.upper = (v.astype(np.float64) for v in (dense, low, high))
        self._scale = float(self.importance.mean())
        self._geometric = GeometricProgram(costs, low, high, self._objective, solver)

    def solve(
        self, budgets: Mapping[str, float], *, starts: int = 4, steps: int = 60, seed: int = 0
    ) -> Condensed:
        """Climb from several starts and return the best optimum found.

        Parameters
        ----------
        budgets : mapping of str to float
            As for `Program.solve`.
        starts : int
            How many at most: the optimum of the linear relaxation, the upper widths (the first step
            from there is the optimum of log x), then random widths. It ends at a global optimum
            that the bound certifies.
        steps : int
            The most steps of an ascent.
        seed : int
            Of the random widths.

        Returns
        -------
        Condensed
            It meets the budgets exactly. Its bound is McCormick's; its multipliers and its
            Karush-Kuhn-Tucker violation are those of the local optimum.

        Raises
        ------
        ArgumentError, ArgumentTypeError, InfeasibleError, SolverError
            As `Program.solve`, and if `starts`, `steps` or `seed` is no number of its kind.
        """
        begin = perf_counter()
        for name, value, least in (("starts", starts, 1), ("steps", steps, 1), ("seed", seed, 0)):
            check_count("SignomialProgram", name, value, least)
        limits = check_budgets("SignomialProgram", budgets, self.costs)
        binding = self._geometric.binding(limits)
        ascents: list[tuple[float, ...]] = []
        if not binding:
            best = Point(self.upper.copy(), "every budget is met by the upper widths", 0.0)
            bound = self._utility(best.widths)
        else:
            weights = self.importance / self._scale
            bound, ratios = linear_bound(weights, self.costs, binding, self.lower, self.upper)
            bound *= self._scale
            generator = np.random.default_rng(seed)
            best = Point(self.lower.copy(), "", 0.0)
            firsts = [ratios * self.dense, self.upper]
            while len(firsts) < starts:
                firsts.append(
                    self.lower * (self.upper / self.lower) ** generator.random(len(self.dense))
                )
            for first in firsts[:starts]:
                point, ascent = self._ascent(first, binding, steps)
                ascents.append(ascent)
                if not best.status or ascent[-1] > self._utility(best.widths):
                    best = point
                if ascent[-1] >= bound * (1 - _CONVERGED):
                    break
        return self._certified(best, bound, limits, binding, tuple(ascents), begin)

    def _ascent(
        self, first: _Floats, binding: Mapping[str, float], steps: int
    ) -> tuple[Point, tuple[float, ...]]:
        """Climb from one start; return the point and the utility after every step."""
        first = np.clip(first, self.lower, self.upper)
        widths, _ = pulled_back(self.costs, binding, self.lower, first)
        point, found = Point(widths, "start", 0.0), [self._utility(widths)]
        # The weights of the first step are taken at the start itself, also where it is over.
        at = first
        for _ in range(steps):
            shares = self.importance * at / self.dense
            self._weights.value = shares / shares.mean()
            nearer = self._geometric.point(binding)
            value = self._utility(nearer.widths)
            if value <= found[-1] * (1 + _CONVERGED):
                if value > found[-1]:
                    point = nearer
                    found.append(value)
                break
            point, at = nearer, nearer.widths
            found.append(value)
        return point, tuple(found)

    def _certified(
        self,
        point: Point,
        bound: float,
        limits: dict[str, float],
        binding: dict[str, float],
        ascents: tuple[tuple[float, ...], ...],
        begin: float,
    ) -> Condensed:
        """Return the point with its costs, multipliers and bound."""
        widths = point.widths
        slopes = self.importance / self._scale * widths / self.dense
        ends = np.log(np.stack([self.lower, self.upper], axis=1) / widths[:, None])
        groups = np.repeat(np.arange(len(widths)), 2)
        known = certify(
            self.costs, binding, widths, groups, ends.ravel(), (slopes[:, None] * ends).ravel()
        )
        values = {name: float(cost(widths)[0]) for name, cost in self.costs.items()}
        multipliers = dict.fromkeys(limits, 0.0)
        multipliers.update(zip(binding, (self._scale * known.multipliers).tolist(), strict=True))
        utility = self._utility(widths)
        return Condensed(
            widths=widths,
            utility=utility,
            bound=max(bound, utility),
            costs=values,
            budgets=limits,
            active=active_costs(values, limits),
            multipliers=multipliers,
            kkt=known.kkt,
            status=point.status,
            overshoot=point.overshoot,
            seconds=perf_counter() - begin,
            ascents=ascents,
        )

    def _utility(self, widths: _Floats) -> float:
        """Return the sum of importance times ratio."""
        return float(self.importance @ (widths / self.dense))

    @cached_property
    def _weights(self) -> Any:
        """The weights of the condensed objective, a parameter of the program."""
        import cvxpy as cp

        return cp.Parameter(len(self.dense), nonneg=True)

    def _objective(self, y: Any) -> tuple[Any, list[Any]]:
        """Return the condensed objective."""
        return self._weights @ y, []
