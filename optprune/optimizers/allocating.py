"""Optimizers that solve a program for the widths: budgets in, structures out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from optprune.allocation import Allocation
from optprune.errors import ArgumentError
from optprune.formulation import metrics
from optprune.formulation.metrics import Cost, Stopwatch
from optprune.optimizers.latency_model import fit_latency
from optprune.optimizers.parameters import check_number, check_targets
from optprune.surgery import CostPolynomial

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session
    from optprune.surgery import Structure

__all__ = ["Allocating", "CostName", "Solve"]

CostName: TypeAlias = Literal["macs", "parameters", "activation_bytes", "latency"]

Solve: TypeAlias = Callable[[Mapping[str, float]], Allocation]
"""Turns budgets, by the names of the costs and in their units, into widths."""

_COSTS = ("macs", "parameters", "activation_bytes")

_RATIOS = 1001
"""Keep-ratios among which the common one is looked for: to a thousandth."""


@dataclass(frozen=True)
class Allocating(ABC):
    """Widths for a list of budgets, from one program; nothing is evaluated to find them.

    Parameters
    ----------
    targets : tuple of float
        Fractions of the dense network's cost to reach, in (0, 1); each gives one structure.
    cost : {"macs", "parameters", "activation_bytes", "latency"}
        What the targets are fractions of. A latency is measured on some structures first, see
        `optprune.optimizers.latency_model.fit_latency`.
    floor : float
        The least keep-ratio of a group, as a fraction of the one that all groups would have in
        common under the same budgets, in [0, 1]: 0 leaves the space's own bounds alone, 1 is near
        uniform widths.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter cannot be used.
    InfeasibleError
        In a search, if no structure of the space is that small.

    Notes
    -----
    The upper bounds of the problem on costs and latencies hold for every structure, beside the
    target. Lower bounds, which no convex program can have, and constraints on anything else are
    judged when the structures are evaluated.

    The floor of a group is rounded down to a width that the space has, and lies below widths that
    meet the budgets: it makes no budget infeasible.
    """

    targets: tuple[float, ...] = (0.7, 0.5, 0.3)
    cost: CostName = "macs"
    floor: float = 0.0

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_targets(owner, self.targets)
        if self.cost not in (*_COSTS, "latency"):
            raise ArgumentError(
                f"{owner}: `cost` must be one of {', '.join(map(repr, _COSTS))} and 'latency', not "
                f"{self.cost!r}."
            )
        if not 0 <= check_number(owner, "floor", self.floor) <= 1:
            raise ArgumentError(
                f"{owner}: `floor` is a fraction of the keep-ratio of uniform widths, from 0 to 1; "
                f"got {self.floor!r}."
            )

    @abstractmethod
    def program(self, problem: Problem, costs: Mapping[str, CostPolynomial]) -> Solve:
        """Make the program of a problem, to be solved for several budgets.

        Parameters
        ----------
        problem : Problem
            Its space says which widths there are.
        costs : mapping of str to CostPolynomial
            What is budgeted.

        Returns
        -------
        callable
            Takes budgets and returns an `optprune.allocation.Allocation`.
        """

    def allocate(self, problem: Problem) -> dict[float, Allocation]:
        """Solve the program for every target.

        Parameters
        ----------
        problem : Problem
            Its network, space and constraints.

        Returns
        -------
        dict of float to Allocation
            By the targets: widths with their certificate, prices and true costs.
        """
        costs, fixed = self._limits(problem)
        solve = self.program(problem, costs)
        dense = costs[self.cost].dense
        return {
            target: solve(fixed | {self.cost: min(target * dense, fixed.get(self.cost, dense))})
            for target in sorted(set(self.targets), reverse=True)
        }

    def select(self, problem: Problem) -> dict[float, Structure]:
        """Choose the structure of every target; evaluate nothing.

        Parameters
        ----------
        problem : Problem
            Its network, space and constraints; the space's score decides which units stay.

        Returns
        -------
        dict of float to Structure
            By the targets.
        """
        space = problem.bound_space
        return {
            target: space.decode(space.keeping(allocation.widths[None]))[0]
            for target, allocation in self.allocate(problem).items()
        }

    def search(self, problem: Problem, session: Session) -> None:
        """Evaluate the structure of every target."""
        found = self.select(problem)
        session.evaluate([found[target] for target in self.targets])

    def _options(
        self, problem: Problem, costs: Mapping[str, CostPolynomial], budgets: Mapping[str, float]
    ) -> list[npt.NDArray[np.int64]]:
        """Return the widths that each group may have under budgets, ascending: at least one."""
        space, dense = problem.bound_space, problem.graph.widths
        ratios = np.linspace(0.0, 1.0, _RATIOS) if self.floor else np.zeros(1)
        widths = np.clip(ratios[:, None] * dense, space.narrowest, space.widest)
        met = np.all([costs[name](widths) <= limit for name, limit in budgets.items()], axis=0)
        common = ratios[met].max(initial=0.0)
        return [
            allowed[max(int(np.searchsorted(allowed, least, side="right")) - 1, 0) :]
            for allowed, least in zip(space.options, self.floor * common * dense, strict=True)
        ]

    def _limits(self, problem: Problem) -> tuple[dict[str, CostPolynomial], dict[str, float]]:
        """Return the costs that are budgeted, and the problem's own bounds on them."""
        costs: dict[str, CostPolynomial] = {}
        fixed: dict[str, float] = {}
        for constraint in problem.constraints:
            function = constraint.metric.function
            if not isinstance(function, (Cost, Stopwatch)) or constraint.sense != "<=":
                continue
            bound = constraint.bound
            name: str = "latency"
            if isinstance(function, Cost):
                name = function.kind
                costs[name] = function.polynomial(problem.graph)
                bound *= 1.0 if function.absolute else costs[name].dense
            else:
                model = fit_latency(problem, constraint.metric, meter=problem.setup_meter)
                costs[name] = model.polynomial
            fixed[name] = min(bound, fixed.get(name, bound))
        if self.cost not in costs:
            costs[self.cost] = (
                fit_latency(problem, metrics.latency, meter=problem.setup_meter).polynomial
                if self.cost == "latency"
                else getattr(problem.graph.costs, self.cost)
            )
        return costs, fixed
