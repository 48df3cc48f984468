"""Greedy backward elimination: narrow the group that loses least for what it saves, repeatedly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.optimizers.parameters import check_at_least, check_targets
from optprune.optimizers.warm_start import WarmStart, as_warm_start, warm_points

if TYPE_CHECKING:
    from optprune.formulation import BoundSpace, Problem
    from optprune.search import Evaluations, Session
    from optprune.surgery import CostPolynomial, Structure

__all__ = ["GreedyElimination"]

_Floats = npt.NDArray[np.float64]

CostName = Literal["macs", "parameters", "activation_bytes"]


@dataclass(frozen=True)
class GreedyElimination:
    """Try each group one step narrower, keep the step that loses least for what it saves, repeat.

    For one objective (of several the first decides) on integer, binary and continuous spaces. It
    measures every step and assumes nothing about how groups matter together, other than that small
    steps add up; the price is an evaluation for each group at each step. All structures on the way
    are evaluated, so that one search gives the whole curve from the full network to the target.

    Parameters
    ----------
    targets : tuple of float
        Fractions of the dense network's cost to reach, in (0, 1). The search passes the larger ones
        on its way and ends when the smallest is met.
    cost : {"macs", "parameters", "activation_bytes"}
        What the targets are fractions of, and what a step saves.
    step : int
        Widths by which a group is narrowed at once, counted among those that the space allows: at
        ``Widths(step=8)`` a step of 2 removes 16 units. For bits and ratios, units.
    per_cost : bool
        Whether the loss is divided by the cost that the step saves. Otherwise the smallest loss
        decides, and small groups shrink first.
    seeded_by : WarmStart, optional
        Where it begins, in place of the full structure: a structure, a result (its front), an
        optimizer with a method ``select``, such as ``HSICAllocation(targets=(0.7,))``, or several
        of these, one after the other.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter cannot be used; in a search, if the structure where it begins cannot be
        measured, because it breaks a constraint or fails.

    Notes
    -----
    From the value :math:`p` and the cost :math:`c` of a structure, the group is narrowed at which
    :math:`(p_g - p) / (c - c_g)` is smallest; where some :math:`p_g < p`, the smallest
    :math:`p_g`. In a group the units leave in the order of the space's score, of a mask that was
    given the least important of its kept ones. Structures that break a constraint or fail are not
    gone on from; where all do, the search ends.

    One step evaluates at most as many structures as there are groups, as one batch. From the full
    network to the smallest there are ``sum_g (n_g - 1) / step`` steps for groups of n_g widths. If
    the objective is a sum over the groups, convex in each width, and ``per_cost=False``, then every
    structure on the way is the best one of its number of removed widths [2]_. No seed has any
    influence.

    References
    ----------
    .. [1] T.-J. Yang, A. Howard, B. Chen, X. Zhang, A. Go, M. Sandler, V. Sze, H. Adam. NetAdapt:
       platform-aware neural network adaptation for mobile applications. European Conference on
       Computer Vision, 2018. doi:10.1007/978-3-030-01249-6_18.
    .. [2] B. Fox. Discrete optimization via marginal analysis. Management Science 13(3), 1966.
       doi:10.1287/mnsc.13.3.210.
    """

    targets: tuple[float, ...] = (0.7, 0.5, 0.3)
    cost: CostName = "macs"
    step: int = 1
    per_cost: bool = True
    seeded_by: WarmStart | None = None
    name: str = "GreedyElimination"

    def __post_init__(self) -> None:
        owner = "GreedyElimination"
        check_targets(owner, self.targets)
        check_at_least(owner, "step", self.step, 1)
        if self.cost not in get_args(CostName):
            raise ArgumentError(
                f"{owner}: `cost` must be one of {', '.join(map(repr, get_args(CostName)))}, not "
                f"{self.cost!r}."
            )
        if not isinstance(self.per_cost, bool):
            raise ArgumentTypeError(
                f"{owner}: `per_cost` must be True or False, not {self.per_cost!r}."
            )
        if self.seeded_by is not None:
            object.__setattr__(self, "seeded_by", as_warm_start(owner, self.seeded_by))

    def search(self, problem: Problem, session: Session) -> None:
        """Narrow until the smallest target is met or nothing can be narrowed."""
        space = problem.bound_space
        points = warm_points(problem, as_warm_start("GreedyElimination", self.seeded_by))
        if not len(points):
            points = np.reshape(space.full(), (1, -1))
        narrowing = _Narrowing(problem, self.step)
        passed: set[Structure] = set()
        for structure in space.decode(points):
            self._eliminate(structure, passed, narrowing, problem, session)

    def _eliminate(
        self,
        structure: Structure,
        passed: set[Structure],
        narrowing: _Narrowing,
        problem: Problem,
        session: Session,
    ) -> None:
        """Go on from a structure until the target, or a structure that was passed before."""
        polynomial: CostPolynomial = getattr(problem.graph.costs, self.cost)
        target = min(self.targets) * polynomial.dense
        evaluations = session.evaluate([structure])
        value = float(_losses(problem, evaluations)[0])
        if not math.isfinite(value):
            raise ArgumentError(
                f"GreedyElimination begins at {structure!r}, which cannot be measured: "
                f"{evaluations.reasons[0]}. Leave constraints on costs out and give `targets=` in "
                "their place, or begin at a smaller structure, seeded_by=."
            )
        while structure not in passed and float(polynomial(structure.widths)[0]) > target:
            passed.add(structure)
            narrower = narrowing(structure)
            if not narrower:
                return
            values = _losses(problem, session.evaluate(narrower))
            saved = polynomial(structure.widths) - polynomial([s.widths for s in narrower])
            best = self._choose(values - value, saved)
            if best is None:
                return
            structure, value = narrower[best], float(values[best])

    def _choose(self, losses: _Floats, saved: _Floats) -> int | None:
        """Return the best of some steps; None if all losses are infinite."""
        if not np.isfinite(losses).any():
            return None
        if self.per_cost and not (losses < 0).any():
            # Of steps that save nothing, the free ones come first and the others last.
            worth = np.where(saved > 0, saved, np.finfo(np.float64).tiny)
            with np.errstate(over="ignore"):
                rates = losses / worth
            rates = np.where(np.isfinite(losses) & np.isinf(rates), np.finfo(np.float64).max, rates)
            return int(rates.argmin())
        return int(losses.argmin())


class _Narrowing:
    """Makes the structures in which one group is narrower.

    Parameters
    ----------
    problem : Problem
        Its space says which widths there are and which units leave.
    step : int
        Widths to go down at once.
    """

    def __init__(self, problem: Problem, step: int) -> None:
        self._graph = problem.graph
        self._options = problem.bound_space.options
        self._step = step
        self._turn = _turns(problem.bound_space, self._graph.widths)

    def __call__(self, structure: Structure) -> list[Structure]:
        """Return one structure for each group that can be narrowed."""
        found = []
        for group in self._graph.groups:
            options, width = self._options[group.index], int(structure.widths[group.index])
            smaller = options[options < width]
            if not len(smaller):
                continue
            wanted = int(smaller[max(len(smaller) - self._step, 0)])
            kept = structure.kept.copy()
            units = group.start + np.flatnonzero(kept[group.slice])
            order = units[np.argsort(self._turn[units], kind="stable")]
            kept[order[: width - wanted]] = False
            found.append(self._graph.structure(kept))
        return found


def _turns(space: BoundSpace, dense: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return when each unit leaves its group as that is narrowed: the smaller, the earlier."""
    widths = np.minimum(np.arange(1, dense.max() + 1)[:, None], dense)
    kept = np.stack([structure.kept for structure in space.decode(space.keeping(widths))])
    return np.asarray(kept.sum(axis=0), dtype=np.int64)


def _losses(problem: Problem, evaluations: Evaluations) -> _Floats:
    """Return the first objective, to minimize; infinite for what is not accepted."""
    values = evaluations.objectives[:, 0] * problem.objectives[0].sign
    accepted = evaluations.feasible & np.isfinite(values)
    return np.where(accepted, values, np.inf)
