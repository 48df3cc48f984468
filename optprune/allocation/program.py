r"""Real widths of the most utility under budgets, as a convex program.

.. math::
    \max_y \sum_g I_g \, u(y_g) \quad \text{subject to} \quad \log F_c(y) \le \log B_c, \quad
    \log \frac{l_g}{W_g} \le y_g \le \log \frac{u_g}{W_g}, \qquad y_g = \log \frac{w_g}{W_g} .

Costs are posynomials in the widths, so that every log F is convex in y, and the optimum is global
wherever u is concave in y. With the default utility, log x, the optimum reads: a group's importance
is the multiplier times its share of the cost.

References
----------
S. Boyd, S.-J. Kim, L. Vandenberghe, A. Hassibi: A tutorial on geometric programming, Optimization
and Engineering 8, 2007, doi:10.1007/s11081-007-9001-7 (posynomials in logarithms; the utilities and
the certificate are ours).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optprune.allocation.arguments import (
    check_bounds,
    check_budgets,
    check_costs,
    check_importance,
    check_solver,
)
from optprune.allocation.certificate import Relaxed, active_costs, certify
from optprune.allocation.geometric import GeometricProgram, Point
from optprune.allocation.utilities import Log, Utility, as_concave

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = ["Program"]

_Floats = npt.NDArray[np.float64]


class Program:
    """How wide each group should be, for any budgets.

    Parameters
    ----------
    costs : mapping of str to CostPolynomial
        What budgets may be set on, by name, of one network.
    importance : array_like, shape (n_groups,)
        What the utility of each group counts, not negative. Its scale has no influence on the
        widths.
    lower, upper : array_like of int, shape (n_groups,), optional
        The least and the greatest widths; 1 and the dense widths by default.
    utility : Utility or callable, default Log()
        What a keep-ratio is worth: one of `optprune.allocation.utilities`, or a function that takes
        y = log x as a cvxpy expression, shape (n_groups,), and returns a concave one of that shape.
    solver : str, default "CLARABEL"
        A solver of exponential cones, by the name that cvxpy has for it.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If the importance is not finite, negative, all zero or of a wrong length; bounds contradict
        each other; or the utility is not concave in log x.

    Notes
    -----
    The problem is compiled at the first solve that needs a solver, and budgets are its parameters:
    a sweep of budgets takes milliseconds each.

    Examples
    --------
    >>> import optprune as op
    >>> from optprune.allocation import Program
    >>> graph = op.problems.digits.problem().graph
    >>> program = Program({"macs": graph.costs.macs}, [1.0] * graph.n_groups)
    >>> half = program.solve({"macs": 0.5 * graph.costs.macs.dense})
    >>> half.widths.shape, half.prices["macs"] > 0  # another MAC would buy something
    ((6,), True)
    """

    def __init__(
        self,
        costs: Mapping[str, CostPolynomial],
        importance: npt.ArrayLike,
        *,
        lower: npt.ArrayLike | None = None,
        upper: npt.ArrayLike | None = None,
        utility: Utility | Callable[[Any], Any] = Log(),  # noqa: B008
        solver: str = "CLARABEL",
    ) -> None:
        owner = "Program"
        self.dense = check_costs(owner, costs)
        self.importance = check_importance(owner, importance, len(self.dense))
        self.lower, self.upper = check_bounds(owner, lower, upper, self.dense)
        self.utility = as_concave(owner, utility, len(self.dense))
        self.costs, self.solver = dict(costs), check_solver(owner, solver)
        free = self.lower < self.upper
        self._scale = float(self.importance[free].mean()) if self.importance[free].any() else 1.0
        weights = _rounded(self.importance / self._scale)

        def objective(y: Any) -> tuple[Any, list[Any]]:
            return weights @ self.utility.expression(y), []

        self._geometric = GeometricProgram(costs, self.lower, self.upper, objective, solver)

    def solve(self, budgets: Mapping[str, float]) -> Relaxed:
        """Find the widths of the most utility under budgets.

        Parameters
        ----------
        budgets : mapping of str to float
            Budgets in the units of the costs (MACs, parameters, bytes), by name; costs that are
            not named are not limited.

        Returns
        -------
        Relaxed
            It meets the budgets exactly. A budget that the upper widths meet gives those, without
            a solver.

        Raises
        ------
        ArgumentError, ArgumentTypeError
            If a name is not that of a cost, or a budget is no finite number.
        InfeasibleError
            If the lower widths are over a budget.
        SolverError
            If the solver is not installed or finds no optimum.
        """
        start = perf_counter()
        limits = check_budgets("Program", budgets, self.costs)
        binding = self._geometric.binding(limits)
        point = self._point(binding)
        widths = point.widths
        logs = np.log(widths / self.dense)
        slopes = self.importance / self._scale * self.utility.slope(logs)
        ends = np.log(np.stack([self.lower, self.upper], axis=1) / widths[:, None])
        groups = np.repeat(np.arange(len(widths)), 2)
        found = certify(
            self.costs, binding, widths, groups, ends.ravel(), (slopes[:, None] * ends).ravel()
        )
        utility = float(self.importance @ self.utility.value(logs))
        multipliers = dict.fromkeys(limits, 0.0)
        multipliers.update(zip(binding, (self._scale * found.multipliers).tolist(), strict=True))
        values = {name: float(cost(widths)[0]) for name, cost in self.costs.items()}
        return Relaxed(
            widths=widths,
            utility=utility,
            # A feasible point is a bound on the bound; below it is only rounding.
            bound=utility + self._scale * max(found.bound, 0.0),
            costs=values,
            budgets=limits,
            active=active_costs(values, limits),
            multipliers=multipliers,
            kkt=found.kkt,
            status=point.status,
            overshoot=point.overshoot,
            seconds=perf_counter() - start,
        )

    def values(self, options: list[npt.NDArray[np.int64]]) -> list[_Floats]:
        """Return the utility of single widths, for choices among them.

        Parameters
        ----------
        options : list of ndarray of int64
            Widths of every group.

        Returns
        -------
        list of ndarray of float64
            ``I[g] * u(log(w / W[g]))`` for every width of every group.
        """
        depth = max(len(widths) for widths in options)
        table = np.stack([np.resize(widths, depth) for widths in options], axis=1)
        found = np.stack([self.utility.value(row) for row in np.log(table / self.dense)])
        return [
            self.importance[group] * found[: len(widths), group]
            for group, widths in enumerate(options)
        ]

    def _point(self, binding: dict[str, float]) -> Point:
        """Return the widths; the upper ones where they are the best and meet the budgets."""
        upper = self.upper.astype(np.float64)
        rising = self.utility.slope(np.log(upper / self.dense)) >= 0
        if not binding and rising.all():
            return Point(upper, "every budget is met by the upper widths", 0.0)
        point = self._geometric.point(binding)
        paid = np.zeros(len(upper), dtype=bool)
        for name in binding:
            paid |= self.costs[name].shares(point.widths) > 0
        # What no budget charges for is kept, even where its importance is zero.
        return Point(np.where(rising & ~paid, upper, point.widths), point.status, point.overshoot)


def _rounded(weights: _Floats) -> _Floats:
    """Return weights to 40 bits: those of a scaled importance are the same to the last bit."""
    mantissa, exponent = np.frexp(weights)
    return np.ldexp(np.round(mantissa * 2.0**40) / 2.0**40, exponent)
