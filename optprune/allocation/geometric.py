"""A concave function of the logarithms of the widths, maximized under budgets by a convex solver.

One cvxpy problem serves all budgets: the logarithms of the budgets are parameters, so that it is
compiled once. The point that a solver returns is never trusted: its costs are recomputed from the
polynomials, and where one is over its budget the point is pulled back.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optprune.allocation.posynomials import log_form
from optprune.errors import InfeasibleError, SolverError

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = ["GeometricProgram", "Point", "pulled_back"]

_Floats = npt.NDArray[np.float64]

_PINNED = 1e-6
"""A budget this near (relative) to the least cost leaves no interior: its groups are pinned."""

_TIGHT = {
    "tol_gap_abs": 1e-11,
    "tol_gap_rel": 1e-11,
    "tol_feas": 1e-10,
    "reduced_tol_gap_abs": 1e-8,
    "reduced_tol_gap_rel": 1e-8,
    "reduced_tol_feas": 1e-8,
    "max_step_fraction": 0.9,
}
_ATTEMPTS: dict[str, tuple[dict[str, Any], ...]] = {
    "CLARABEL": (
        _TIGHT,
        {**_TIGHT, "max_step_fraction": 0.8, "equilibrate_enable": False},
        {"max_step_fraction": 0.9},
    )
}
"""Settings of solvers, each tried where those before it fail or are inaccurate.

With CLARABEL's own tolerances, groups of little importance are 1e-4 off the optimum; with its own
step length, one problem in fifty fails.
"""

_REMEDY = (
    "Use one that is installed and knows exponential cones: CLARABEL comes with cvxpy. Where "
    "CLARABEL itself fails, numbers that differ by fewer orders of magnitude help."
)


@dataclass(frozen=True, eq=False)
class Point:
    """Widths within the bounds that meet all budgets.

    Parameters
    ----------
    widths : ndarray of float64, shape (n_groups,)
        The widths.
    status : str
        What the solver said, or why none was needed.
    overshoot : float
        By how much the solver's own point was over a budget, as a fraction of it; 0 if it was not.
    """

    widths: _Floats
    status: str
    overshoot: float


class GeometricProgram:
    """Maximize a concave function of log widths under posynomial budgets.

    Parameters
    ----------
    costs : mapping of str to CostPolynomial
        The costs by name.
    lower, upper : ndarray, shape (n_groups,)
        The least and the greatest widths. Groups where they are equal are no variables.
    objective : callable
        Takes y = log(w / W) as a cvxpy expression, shape (n_groups,), and returns a concave cvxpy
        expression to maximize and a list of further constraints.
    solver : str
        The name that cvxpy has for a solver of exponential cones.
    """

    def __init__(
        self,
        costs: Mapping[str, CostPolynomial],
        lower: npt.NDArray[Any],
        upper: npt.NDArray[Any],
        objective: Callable[[Any], tuple[Any, list[Any]]],
        solver: str,
    ) -> None:
        self.costs = dict(costs)
        self.lower, self.upper = lower.astype(np.float64), upper.astype(np.float64)
        self.objective, self.solver = objective, solver
        self.dense = next(iter(self.costs.values())).dense_widths.astype(np.float64)
        self.least = {name: float(cost(self.lower)[0]) for name, cost in self.costs.items()}
        self.most = {name: float(cost(self.upper)[0]) for name, cost in self.costs.items()}

    def binding(self, budgets: Mapping[str, float]) -> dict[str, float]:
        """Return the budgets that the upper widths break.

        Raises
        ------
        InfeasibleError
            If the lower widths break one.
        """
        for name, budget in budgets.items():
            if budget < self.least[name]:
                unit = self.costs[name].unit
                raise InfeasibleError(
                    f"The budget of {budget:g} {unit} for {name!r} cannot be met: the narrowest "
                    f"widths that are allowed have {self.least[name]:.10g}. Ask for no less, or "
                    "allow narrower widths."
                )
        return {name: budget for name, budget in budgets.items() if budget < self.most[name]}

    def point(self, budgets: Mapping[str, float]) -> Point:
        """Solve for one set of budgets.

        Parameters
        ----------
        budgets : mapping of str to float
            Budgets by the names of the costs; the others are not limited.

        Returns
        -------
        Point

        Raises
        ------
        InfeasibleError
            If the lower widths break a budget.
        SolverError
            If the solver is not installed or finds no optimum.
        """
        binding = self.binding(budgets)
        pinned = np.zeros(len(self.lower), dtype=bool)
        for name, budget in binding.items():
            if budget <= self.least[name] * (1 + _PINNED):
                pinned |= self.costs[name].shares(self.lower) > 0
        if (pinned & (self.lower < self.upper)).any():
            upper = np.where(pinned, self.lower, self.upper)
            narrower = GeometricProgram(self.costs, self.lower, upper, self.objective, self.solver)
            return narrower.point(budgets)
        if not len(self._free):
            return Point(self.lower.copy(), "no group is free", 0.0)
        limits = [min(budgets.get(name, np.inf), np.e * self.most[name]) for name in self._limited]
        status, y = self._optimum(np.log(limits))
        widths = self.lower.copy()
        widths[self._free] = self.dense[self._free] * np.exp(y)
        widths = np.clip(widths, self.lower, self.upper)
        widths, overshoot = pulled_back(self.costs, binding, self.lower, widths)
        return Point(widths, status, overshoot)

    @cached_property
    def _free(self) -> npt.NDArray[np.int64]:
        """The groups whose widths are variables."""
        return np.flatnonzero(self.lower < self.upper)

    @cached_property
    def _limited(self) -> list[str]:
        """The costs that depend on a free group."""
        return [name for name in self.costs if self.least[name] < self.most[name]]

    @cached_property
    def _problem(self) -> tuple[Any, Any, Any]:
        """The cvxpy problem, its variable and its parameter (None where no cost varies)."""
        import cvxpy as cp

        free, n_groups = self._free, len(self.lower)
        y = cp.Variable(len(free))
        every: Any = y
        if len(free) < n_groups:
            fixed = np.log(self.lower / self.dense)
            fixed[free] = 0
            every = np.eye(n_groups)[:, free] @ y + fixed
        gain, constraints = self.objective(every)
        low, high = (np.log((side / self.dense)[free]) for side in (self.lower, self.upper))
        constraints = [*constraints, y >= low, y <= high]
        log_budgets = None
        if self._limited:
            log_budgets = cp.Parameter(len(self._limited))
            form = log_form([self.costs[name] for name in self._limited], free, self.lower)
            constraints.append(form.constraint(y, log_budgets))
        return cp.Problem(cp.Maximize(gain), constraints), y, log_budgets

    def _optimum(self, log_budgets: _Floats) -> tuple[str, _Floats]:
        """Return the solver's status and point."""
        import cvxpy as cp

        problem, y, parameter = self._problem
        if parameter is not None:
            parameter.value = log_budgets
        found: list[tuple[str, _Floats]] = []
        why, cause = "", None
        for settings in _ATTEMPTS.get(self.solver.upper(), ({},)):
            if found and "tol_gap_abs" not in settings:
                break  # an inaccurate point of tight settings is better than one of loose ones
            try:
                with warnings.catch_warnings():
                    # An inaccurate point is no harm: its costs and its gap are computed anew.
                    warnings.filterwarnings("ignore", "Solution may be inaccurate", UserWarning)
                    problem.solve(solver=self.solver, warm_start=False, **settings)
            except cp.error.SolverError as error:
                why, cause = f"did not run (status: failed): {error}", error
                continue
            if problem.status in ("optimal", "optimal_inaccurate") and y.value is not None:
                found.append((str(problem.status), np.asarray(y.value, dtype=np.float64)))
                if problem.status == "optimal":
                    break
            else:
                why = f"found no optimum (status: {problem.status})."
        if not found:
            raise SolverError(f"The solver {self.solver!r} {why} {_REMEDY}") from cause
        # "optimal" comes last and is the better one; of inaccurate ones the first is taken.
        return found[-1] if found[-1][0] == "optimal" else found[0]


def pulled_back(
    costs: Mapping[str, CostPolynomial],
    budgets: Mapping[str, float],
    lower: _Floats,
    widths: _Floats,
) -> tuple[_Floats, float]:
    """Move widths towards the lower ones, as far as the budgets need it and no further.

    Parameters
    ----------
    costs : mapping of str to CostPolynomial
        The costs by name.
    budgets : mapping of str to float
        Budgets that the lower widths meet.
    lower, widths : ndarray of float64, shape (n_groups,)
        The least widths, and where to start.

    Returns
    -------
    widths : ndarray of float64, shape (n_groups,)
        ``lower * (widths / lower) ** t`` with the greatest t that meets the budgets, by bisection:
        costs grow with t.
    overshoot : float
        How far `widths` was over a budget, as a fraction of it; 0 if it was not.
    """

    def met(at: _Floats) -> bool:
        return all(float(costs[name](at)[0]) <= budget for name, budget in budgets.items())

    if met(widths):
        return widths, 0.0
    logs = np.log(widths / lower)

    def nearer(t: float) -> _Floats:
        return np.minimum(lower * np.exp(t * logs), widths)

    good, bad = 0.0, 1.0
    while bad - good > 1e-15:
        middle = (good + bad) / 2
        good, bad = (middle, bad) if met(nearer(middle)) else (good, middle)
    over = max(float(costs[name](widths)[0]) / budget - 1 for name, budget in budgets.items())
    return (nearer(good) if good else lower.copy()), over
