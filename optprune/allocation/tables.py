r"""Integer widths of the least tabulated loss under budgets, with a certified gap.

Each group has a table: an allowed width, and the loss that it is predicted or measured to have. The
sum over the groups is minimized. Two ways, of which the second follows the first where it can:

- *envelope*, for any costs and budgets: the lower convex hull of each table in log width takes its
  place, which makes the program convex. Its multipliers bound all choices from below (`certify`),
  and a local search from its optimum finds one.
- *elimination*, for one binding budget: exact minimization of losses plus charged cost over the
  interaction graph of the groups. Options that the first bound rules out are left away before: an
  option whose regret is more than the gap is in no choice better than the one that was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from optprune.allocation.arguments import check_budgets, check_costs, check_options, check_tables
from optprune.allocation.certificate import certify
from optprune.allocation.elimination import LARGEST_TABLE, Elimination, lagrangian
from optprune.allocation.geometric import GeometricProgram
from optprune.allocation.hulls import lower_hull
from optprune.allocation.integer import Allocation, allocate_values, check_reachable
from optprune.allocation.moves import Moves
from optprune.errors import ArgumentError

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = ["TableProgram"]

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

_CERTAIN = 1e-9
"""A gap below this, as a fraction of the largest difference in a table, is rounding."""


class TableProgram:
    """Which allowed width each group should have, so that the sum of tabulated losses is least.

    Parameters
    ----------
    costs : mapping of str to CostPolynomial
        What budgets may be set on, by name, of one network.
    options : sequence of array_like of int
        Allowed widths of every group, ascending.
    losses : sequence of array_like of float
        The loss of every option, finite; any shape: noise and bumps are allowed.
    method : {"auto", "envelope"}
        Whether elimination follows the envelope where one budget binds and its tables are small
        enough, or the envelope stands alone.
    largest : int
        Entries of the largest table of the elimination.
    solver : str, default "CLARABEL"
        A solver of exponential cones, by the name that cvxpy has for it.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an argument cannot be used.

    Examples
    --------
    >>> program = TableProgram({"macs": graph.costs.macs}, options, losses)  # doctest: +SKIP
    >>> half = program.solve({"macs": 0.5 * graph.costs.macs.dense})  # doctest: +SKIP
    >>> half.widths, half.gap, half.status  # doctest: +SKIP
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
        self.method, self.largest, self.solver = method, largest, solver
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
            Budgets in the units of the costs (MACs, parameters, bytes), by name; costs that are
            not named are not limited.

        Returns
        -------
        Allocation
            To be minimized. Its status tells the method, and why the elimination was left out.

        Raises
        ------
        ArgumentError, ArgumentTypeError
            If a name is not that of a cost, or a budget is no finite number.
        InfeasibleError
            If the narrowest options are over a budget.
        SolverError
            If the solver is not installed or finds no optimum.
        """
        start = perf_counter()
        limits = check_budgets("TableProgram", budgets, self.costs)
        check_reachable(self.costs, limits, self.options)
        best = [int(table.argmin()) for table in self.losses]
        widths = self._widths(np.array(best))
        if all(float(self.costs[name](widths)[0]) <= b for name, b in limits.items()):
            relaxed, status = widths.astype(np.float64), "every group has its least loss"
        else:
            point = self._geometric.point(limits)
            relaxed, status = point.widths, f"envelope ({point.status}), then exchanges"
        found = allocate_values(
            self.costs, limits, self.options, [-table for table in self._scaled], relaxed
        )
        chosen = self._indices(found.widths)
        loss, bound = -found.objective, -found.bound
        if self.method == "auto" and loss - bound > _CERTAIN:
            chosen, loss, bound, how = self._eliminated(limits, found, chosen, bound)
            status = f"{status}; {how}"
        offset = sum(float(table.min()) for table in self.losses)
        widths = self._widths(chosen)
        return replace(
            found,
            widths=widths,
            objective=offset + self._scale * loss,
            bound=offset + self._scale * min(bound, loss),
            sense="minimize",
            costs={name: float(cost(widths)[0]) for name, cost in self.costs.items()},
            multipliers={name: self._scale * rate for name, rate in found.multipliers.items()},
            status=status + (": optimal" if loss - bound <= _CERTAIN else ""),
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

    def _eliminated(
        self, limits: Mapping[str, float], found: Allocation, chosen: _Ints, bound: float
    ) -> tuple[_Ints, float, float, str]:
        """Return options, their loss and its bound, better than those found or the same."""
        loss = self._loss(chosen)
        binding = {
            name: b
            for name, b in limits.items()
            if float(self.costs[name](self._widths(np.array([-1] * len(self.options))))[0]) > b
        }
        # A bound without the budgets that are charged nothing is one with them.
        charged = [name for name in binding if found.multipliers[name] > 0] or list(binding)
        if len(charged) != 1:
            return chosen, loss, bound, f"no elimination: {len(charged)} budgets bind"
        (name,) = charged
        kept = self._surviving(binding, found.relaxed, loss)
        options = [widths[index] for widths, index in zip(self.options, kept, strict=True)]
        losses = [table[index] for table, index in zip(self._scaled, kept, strict=True)]
        plan = Elimination.plan(self.costs[name], options, self.largest)
        if isinstance(plan, str):
            return chosen, loss, bound, f"no elimination: {plan}"
        optimum = lagrangian(plan, self.costs[name], limits[name], options, losses)
        # A choice with an option that was left away is no better than the one that was found.
        bound = max(bound, min(optimum.bound, loss))
        charges = np.array([optimum.charge * limits[each] * (each == name) for each in limits])
        moves = Moves(self.costs, limits, options, [-table for table in losses], charges)
        for first in (optimum.within, optimum.over):
            if first is None:
                continue
            moves.start(first)
            moves.shrink()
            moves.exchange()
            if -moves.value < loss:
                picked = zip(kept, moves.chosen, strict=True)
                chosen = np.array([index[at] for index, at in picked])
                loss = self._loss(chosen)
        return chosen, loss, bound, f"elimination (largest table {plan.largest} entries)"

    def _surviving(
        self, binding: Mapping[str, float], relaxed: _Floats, loss: float
    ) -> list[_Ints]:
        """Return the options that may be in a choice of less loss, at least the narrowest."""
        groups = np.repeat(np.arange(len(self.options)), [len(widths) for widths in self.options])
        logs = np.log(np.concatenate(self.options) / relaxed[groups])
        known = certify(self.costs, binding, relaxed, groups, logs, -np.concatenate(self._scaled))
        open_ = known.regrets <= loss + known.bound + _CERTAIN
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        # The narrowest stay, so that there always is a choice within the budget.
        open_[starts] = True
        return [np.flatnonzero(part) for part in np.split(open_, starts[1:])]

    def _loss(self, chosen: _Ints) -> float:
        """Return the scaled loss of a choice."""
        return float(sum(t[index] for t, index in zip(self._scaled, chosen, strict=True)))

    def _widths(self, chosen: _Ints) -> _Ints:
        """Return the widths of a choice."""
        return np.array([w[index] for w, index in zip(self.options, chosen, strict=True)])

    def _indices(self, widths: _Ints) -> _Ints:
        """Return the options that have the widths."""
        return np.array(
            [int(np.searchsorted(w, width)) for w, width in zip(self.options, widths, strict=True)]
        )
