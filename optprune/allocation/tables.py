r"""Integer widths of the least tabulated loss under budgets, with a certified gap.

Each group has a table: an allowed width, and the loss that it is predicted or measured to have. The
sum over the groups is minimized, for any costs and budgets. First the lower convex hull of each
table in log width takes its place, which makes the program convex: the *envelope*. Its multipliers
bound all choices from below, and `allocate_values` finds one near its optimum: by elimination,
where one budget counts and the costs tie the groups loosely enough, and by exchanges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from optprune.allocation.arguments import (
    check_budgets,
    check_costs,
    check_count,
    check_options,
    check_solver,
    check_tables,
)
from optprune.allocation.elimination import LARGEST_TABLE
from optprune.allocation.geometric import GeometricProgram
from optprune.allocation.hulls import lower_hull
from optprune.allocation.integer import ENOUGH, Allocation, allocate_values, check_reachable
from optprune.errors import ArgumentError

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = ["TableProgram"]

_Floats = npt.NDArray[np.float64]

_CERTAIN = 1e-9
"""A gap below this, as a fraction of the largest difference in a table, is rounding."""


class TableProgram:
    """Which allowed width each group should have, so that the sum of tabulated losses is least.

    Parameters
    ----------
    costs, solver
        As for `Program`.
    options : sequence of array_like of int
        Allowed widths of every group, ascending.
    losses : sequence of array_like of float
        The loss of every option, finite; any shape: noise and bumps are allowed.
    method : {"auto", "envelope"}
        Whether elimination follows the envelope where one budget binds and its tables are small
        enough, or the envelope stands alone.
    largest : int
        Entries of the largest table of the elimination.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an argument cannot be used.

    Examples
    --------
    >>> import optprune as op
    >>> from optprune.allocation import TableProgram
    >>> graph = op.problems.digits.problem().graph
    >>> options = [range(1, width + 1) for width in graph.widths]
    >>> losses = [[1 - kept / max(kept_of) for kept in kept_of] for kept_of in options]
    >>> program = TableProgram({"macs": graph.costs.macs}, options, losses)
    >>> half = program.solve({"macs": 0.5 * graph.costs.macs.dense})
    >>> half.costs["macs"] <= 0.5 * graph.costs.macs.dense, half.gap < 0.05
    (True, True)
    """

    def __init__(
        self,
        costs: Mapping[str, CostPolynomial],
        options: Sequence[npt.ArrayLike],
        losses: Sequence[npt.ArrayLike],
        *,
        method: Literal["auto", "envelope"] = "auto",
        largest: int = LARGEST_TABLE,
        solver: str = "CLARABEL",
    ) -> None:
        owner = "TableProgram"
        self.dense = check_costs(owner, costs)
        self.costs = dict(costs)
        self.options = check_options(owner, options, self.dense)
        self.losses = check_tables(owner, "losses", losses, self.options)
        if method not in ("auto", "envelope"):
            raise ArgumentError(f"{owner}: `method` must be 'auto' or 'envelope', not {method!r}.")
        self.method, self.solver = method, check_solver(owner, solver)
        self.largest = check_count(owner, "largest", largest, 0)
        # The same program in losses of the order of one, the least of each group zero.
        self._scale = max(float(np.ptp(table)) for table in self.losses) or 1.0
        self._scaled = [(table - table.min()) / self._scale for table in self.losses]
        self._geometric = GeometricProgram(
            costs,
            np.array([widths[0] for widths in self.options]),
            np.array([widths[-1] for widths in self.options]),
            self._envelopes,
            solver,
        )

    def solve(self, budgets: Mapping[str, float]) -> Allocation:
        """Choose the widths of the least loss under budgets.

        Parameters
        ----------
        budgets : mapping of str to float
            As for `Program.solve`.

        Returns
        -------
        Allocation
            To be minimized. Its status tells the method, and why the elimination was left out.

        Raises
        ------
        ArgumentError, ArgumentTypeError, InfeasibleError, SolverError
            As `Program.solve`, with the narrowest options in place of the lower widths.
        """
        start = perf_counter()
        limits = check_budgets("TableProgram", budgets, self.costs)
        check_reachable(self.costs, limits, self.options)
        pairs = zip(self.options, self.losses, strict=True)
        best = np.array([widths[table.argmin()] for widths, table in pairs])
        fits = all(float(self.costs[name](best)[0]) <= b for name, b in limits.items())
        if fits:
            relaxed, status = best.astype(np.float64), "every group has its least loss"
        else:
            point = self._geometric.point(limits)
            relaxed, status = point.widths, f"envelope ({point.status})"
        exact = self.method == "auto"
        found = allocate_values(
            self.costs,
            limits,
            self.options,
            [-table for table in self._scaled],
            relaxed,
            enough=_CERTAIN if exact else ENOUGH,
            largest=self.largest if exact else 0,
        )
        if not fits:
            status = f"{status}; {found.status}"
        if found.gap <= _CERTAIN:
            status += ": optimal"
        least = sum(float(table.min()) for table in self.losses)
        return replace(
            found,
            objective=least - self._scale * found.objective,
            bound=least - self._scale * found.bound,
            sense="minimize",
            multipliers={name: self._scale * rate for name, rate in found.multipliers.items()},
            unlimited=least,
            status=status,
            seconds=perf_counter() - start,
        )

    def _envelopes(self, y: Any) -> tuple[Any, list[Any]]:
        """Return the negative sum of the hulls, as cvxpy sees it, and what defines it."""
        import cvxpy as cp

        groups, slopes, intercepts = [], [], []
        constant = 0.0
        for group, (widths, table) in enumerate(zip(self.options, self._scaled, strict=True)):
            x = np.log(widths / self.dense[group])
            hull = lower_hull(x, table)
            if len(hull) == 1:
                constant += float(table[hull[0]])
                continue
            slope = np.diff(table[hull]) / np.diff(x[hull])
            groups += [group] * len(slope)
            slopes.append(slope)
            intercepts.append(table[hull[:-1]] - slope * x[hull[:-1]])
        if not groups:
            return cp.Constant(-constant), []
        present, position = np.unique(groups, return_inverse=True)
        loss = cp.Variable(len(present))
        lines = cp.multiply(np.concatenate(slopes), y[np.array(groups)])
        return -cp.sum(loss) - constant, [loss[position] >= lines + np.concatenate(intercepts)]
