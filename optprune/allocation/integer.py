"""Integer widths from allowed lists, near a relaxed optimum, with a certified gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from optprune.allocation.arguments import check_budgets, check_costs, check_options, check_tables
from optprune.allocation.certificate import active_costs, certify
from optprune.allocation.moves import Moves
from optprune.allocation.program import Program
from optprune.errors import ArgumentError, InfeasibleError

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = ["Allocation", "allocate", "allocate_values"]

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

_ENOUGH = 1e-4
"""A certified gap that needs no exchanges, as a fraction of the largest difference in a table."""


@dataclass(frozen=True, eq=False)
class Allocation:
    """Integer widths under budgets, with a certificate of how good they are.

    Parameters
    ----------
    widths : ndarray of int64, shape (n_groups,)
        Units of every group, from its options.
    objective : float
        The sum over the groups.
    bound : float
        No choice among the options within the budgets is better than this.
    sense : {"maximize", "minimize"}
        What is better.
    costs : dict of str to float
        The true costs of `widths`, of all polynomials, in their units.
    budgets : dict of str to float
        The budgets that were given.
    active : tuple of str
        The costs whose budgets bind in the relaxation.
    multipliers : dict of str to float
        What the objective improves per relative budget in the relaxation.
    relaxed : ndarray of float64, shape (n_groups,)
        The widths of the relaxation.
    status : str
        How it was found, in words.
    seconds : float
        Wall time.
    """

    widths: _Ints
    objective: float
    bound: float
    sense: Literal["maximize", "minimize"]
    costs: dict[str, float]
    budgets: dict[str, float]
    active: tuple[str, ...]
    multipliers: dict[str, float]
    relaxed: _Floats
    status: str
    seconds: float

    @property
    def gap(self) -> float:
        """How far the objective may be from the best; zero certifies the optimum."""
        return abs(self.bound - self.objective)

    @property
    def prices(self) -> dict[str, float]:
        """What one more unit of each budget would improve (per MAC, parameter or byte)."""
        return {
            name: rate / self.budgets[name] if rate else 0.0
            for name, rate in self.multipliers.items()
        }


def allocate(
    program: Program, budgets: Mapping[str, float], options: Sequence[npt.ArrayLike]
) -> Allocation:
    """Choose the integer widths of the most utility under budgets.

    Parameters
    ----------
    program : Program
        The convex program; its bounds do not limit the options. Where they are the least and the
        greatest of each group's options, several budgets need one compilation.
    budgets : mapping of str to float
        Budgets in the units of the costs, by name.
    options : sequence of array_like of int
        Allowed widths of every group, ascending.

    Returns
    -------
    Allocation
        To be maximized: the utility, in the scale of the importances.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If the options or budgets cannot be used.
    InfeasibleError
        If the narrowest options are over a budget.
    SolverError
        If the solver is not installed or finds no optimum.
    """
    start = perf_counter()
    allowed = check_options("allocate", options, program.dense)
    limits = check_budgets("allocate", budgets, program.costs)
    check_reachable(program.costs, limits, allowed)
    lower = np.array([widths[0] for widths in allowed])
    upper = np.array([widths[-1] for widths in allowed])
    bounded = program
    if not (np.array_equal(lower, program.lower) and np.array_equal(upper, program.upper)):
        bounded = Program(
            program.costs,
            program.importance,
            lower=lower,
            upper=upper,
            utility=program.utility,
            solver=program.solver,
        )
    relaxed = bounded.solve(limits)
    found = allocate_values(program.costs, limits, allowed, program.values(allowed), relaxed.widths)
    bound = max(found.objective, min(found.bound, relaxed.bound))
    return replace(found, bound=bound, seconds=perf_counter() - start)


def allocate_values(
    costs: Mapping[str, CostPolynomial],
    budgets: Mapping[str, float],
    options: Sequence[npt.ArrayLike],
    values: Sequence[npt.ArrayLike],
    relaxed: npt.ArrayLike,
) -> Allocation:
    """Choose an option for each group: the greatest sum of tabulated values under budgets.

    Parameters
    ----------
    costs : mapping of str to CostPolynomial
        The costs by name.
    budgets : mapping of str to float
        Budgets in the units of the costs, by name.
    options : sequence of array_like of int
        Allowed widths of every group, ascending.
    values : sequence of array_like of float
        The value of every option; any shape.
    relaxed : array_like of float, shape (n_groups,)
        Where to start, and where the bound is taken: the optimum of a relaxation. Any widths give
        a bound that holds; good ones a tight one.

    Returns
    -------
    Allocation
        To be maximized.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an argument cannot be used.
    InfeasibleError
        If the narrowest options are over a budget.

    Notes
    -----
    Widths are rounded down; then the change of the most value per relative cost is taken as long as
    one fits. Unless the certified gap is then below 1e-4 of the largest difference in a table, one
    group at a time is narrowed by 1, 2, 4, … options, and what that frees is given to others if the
    sum grows; or widened, and others make up for it.
    """
    start, owner = perf_counter(), "allocate_values"
    dense = check_costs(owner, costs)
    limits = check_budgets(owner, budgets, costs)
    allowed = check_options(owner, options, dense)
    worth = check_tables(owner, "values", values, allowed)
    near = np.asarray(relaxed, dtype=np.float64)
    if near.shape != dense.shape or not (np.isfinite(near) & (near > 0)).all():
        raise ArgumentError(
            f"{owner}: `relaxed` must be {len(dense)} positive widths; got {near.tolist()}."
        )
    check_reachable(costs, limits, allowed)
    # Losses are set against the largest difference, so that tolerances mean something.
    scale = max(float(np.ptp(table)) for table in worth) or 1.0
    best = float(sum(table.max() for table in worth))
    binding = {name: b for name, b in limits.items() if float(costs[name](near)[0]) > 0}
    groups = np.repeat(np.arange(len(dense)), [len(widths) for widths in allowed])
    logs = np.log(np.concatenate(allowed) / near[groups])
    gains = np.concatenate([(table - table.max()) / scale for table in worth])
    certificate = certify(costs, binding, near, groups, logs, gains)
    moves = Moves(costs, limits, allowed, worth, _charges(limits, binding, certificate.multipliers))
    # Rounding down a width that is whole but for rounding keeps it.
    down = [
        max(int(np.searchsorted(widths, width * (1 + 1e-9), side="right")) - 1, 0)
        for widths, width in zip(allowed, near, strict=True)
    ]
    moves.start(np.array(down, dtype=np.int64))
    moves.shrink()
    moves.fill()
    bound = best + scale * certificate.bound
    if bound - moves.value > _ENOUGH * scale:
        moves.exchange()
    widths = np.array([w[index] for w, index in zip(allowed, moves.chosen, strict=True)])
    multipliers = dict.fromkeys(limits, 0.0)
    multipliers.update(zip(binding, (scale * certificate.multipliers).tolist(), strict=True))
    bound = max(moves.value, bound)
    return Allocation(
        widths=widths,
        objective=moves.value,
        bound=bound,
        sense="maximize",
        costs={name: float(cost(widths)[0]) for name, cost in costs.items()},
        budgets=limits,
        active=active_costs({n: float(costs[n](near)[0]) for n in limits}, limits),
        multipliers=multipliers,
        relaxed=near,
        status="rounded down, filled and exchanged",
        seconds=perf_counter() - start,
    )


def check_reachable(
    costs: Mapping[str, CostPolynomial], budgets: Mapping[str, float], options: Sequence[_Ints]
) -> None:
    """Raise unless the narrowest options meet every budget.

    Raises
    ------
    InfeasibleError
        If they do not; it names the least cost.
    """
    narrowest = np.array([widths[0] for widths in options])
    for name, budget in budgets.items():
        least = float(costs[name](narrowest)[0])
        if budget < least:
            raise InfeasibleError(
                f"The budget of {budget:g} {costs[name].unit} for {name!r} cannot be met: the "
                f"narrowest options have {least:.10g}. Ask for no less, or allow narrower widths."
            )


def _charges(
    limits: Mapping[str, float], binding: Mapping[str, float], multipliers: _Floats
) -> _Floats:
    """Return the multipliers of all budgets, zero where none was counted."""
    known = dict(zip(binding, multipliers.tolist(), strict=True))
    return np.array([known.get(name, 0.0) for name in limits])
