"""Integer widths from allowed lists, near a relaxed optimum, with a certified gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from optprune.allocation.arguments import (
    check_budgets,
    check_costs,
    check_count,
    check_options,
    check_tables,
    floats,
)
from optprune.allocation.certificate import active_costs, certify
from optprune.allocation.choosing import choose
from optprune.allocation.elimination import LARGEST_TABLE
from optprune.allocation.program import Program
from optprune.errors import ArgumentError, InfeasibleError

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = ["ENOUGH", "Allocation", "allocate", "allocate_values", "check_reachable"]

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

ENOUGH = 1e-4
"""A relative gap that is not worth more time."""


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
    unlimited : float
        The sum of the best option of every group: the objective without budgets.
    relaxed : ndarray of float64, shape (n_groups,)
        The widths of the relaxation.
    kkt : float
        The largest relative violation of the Karush-Kuhn-Tucker conditions at `relaxed`. From a
        `Program`, that of its solution. From tables, that of the program with the concave envelope
        of each table in log width, in which the rate that the multipliers charge has to lie between
        the slopes on both sides; large where `relaxed` is not the optimum of that program.
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
    unlimited: float
    relaxed: _Floats
    kkt: float
    status: str
    seconds: float

    @property
    def gap(self) -> float:
        """How far the objective may be from the best; zero certifies the optimum."""
        return abs(self.bound - self.objective)

    @property
    def relative_gap(self) -> float:
        """The gap as a fraction of what the budgets cost, in [0, 1]; 0 where they cost nothing.

        The budgets cost the difference between `unlimited` and the objective. So neither the scale
        of importances or losses has an influence, nor a constant that is added to a table.
        """
        cost = abs(self.unlimited - self.objective)
        return self.gap / cost if cost else 0.0

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
        As for `Program.solve`.
    options : sequence of array_like of int
        Allowed widths of every group, ascending.

    Returns
    -------
    Allocation
        To be maximized: the utility, in the scale of the importances.

    Raises
    ------
    ArgumentError, ArgumentTypeError, InfeasibleError, SolverError
        As `Program.solve`, with the narrowest options in place of the lower widths, and if the
        options cannot be used.
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
    return replace(found, bound=bound, kkt=relaxed.kkt, seconds=perf_counter() - start)


def allocate_values(
    costs: Mapping[str, CostPolynomial],
    budgets: Mapping[str, float],
    options: Sequence[npt.ArrayLike],
    values: Sequence[npt.ArrayLike],
    relaxed: npt.ArrayLike,
    *,
    largest: int = LARGEST_TABLE,
    enough: float = ENOUGH,
) -> Allocation:
    """Choose an option for each group: the greatest sum of tabulated values under budgets.

    Parameters
    ----------
    costs, budgets
        As for `Program` and `Program.solve`.
    options : sequence of array_like of int
        Allowed widths of every group, ascending.
    values : sequence of array_like of float
        The value of every option; any shape.
    relaxed : array_like of float, shape (n_groups,)
        Where to start, and where the first bound is taken: the optimum of a relaxation. Any widths
        give a bound that holds; good ones a tight one.
    largest : int
        Entries of the largest table of an elimination; 0 for none.
    enough : float
        A relative gap that is not worth more time.

    Returns
    -------
    Allocation
        To be maximized. Its status tells what was done, and why an elimination was left out.

    Raises
    ------
    ArgumentError, ArgumentTypeError, InfeasibleError
        As `allocate`.

    Notes
    -----
    Widths are rounded down; then the change of the most value per relative cost is taken as long as
    one fits. Two steps follow until the gap is small enough, each without the options that no
    better choice can have by the bound so far (variables fixed by reduced costs). Where one budget
    counts and no table is too large, the Lagrangian over the options is minimized exactly, which
    gives a tighter bound and two further choices. And one group at a time is narrowed by 1, 2, 4, …
    options, and what that frees is given to others if the sum grows; or widened, and others make up
    for it.
    """
    start, owner = perf_counter(), "allocate_values"
    dense = check_costs(owner, costs)
    limits = check_budgets(owner, budgets, costs)
    allowed = check_options(owner, options, dense)
    worth = check_tables(owner, "values", values, allowed)
    check_count(owner, "largest", largest, 0)
    near = floats(owner, "relaxed", relaxed)
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
    multipliers = dict.fromkeys(limits, 0.0)
    multipliers.update(zip(binding, certificate.multipliers.tolist(), strict=True))
    found = choose(
        costs,
        limits,
        allowed,
        np.split(gains, np.cumsum([len(widths) for widths in allowed])[:-1]),
        near,
        multipliers,
        certificate,
        enough=enough,
        largest=largest,
    )
    widths = np.array([w[index] for w, index in zip(allowed, found.chosen, strict=True)])
    objective = float(sum(table[index] for table, index in zip(worth, found.chosen, strict=True)))
    return Allocation(
        widths=widths,
        objective=objective,
        bound=max(objective, best + scale * min(found.bound, 0.0)),
        sense="maximize",
        costs={name: float(cost(widths)[0]) for name, cost in costs.items()},
        budgets=limits,
        active=active_costs({n: float(costs[n](near)[0]) for n in limits}, limits),
        multipliers={name: scale * rate for name, rate in multipliers.items()},
        unlimited=best,
        relaxed=near,
        kkt=certificate.kkt,
        status=found.status,
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
