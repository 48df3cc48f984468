"""Global selection: all groups compete for what a budget leaves, by the score alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, InfeasibleError
from optprune.optimizers.loss_tables import ScoreLosses
from optprune.optimizers.parameters import check_targets

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session
    from optprune.surgery import CostPolynomial, Structure

__all__ = ["GlobalSelection"]

_Floats = npt.NDArray[np.float64]
_Widths = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GlobalSelection:
    r"""Remove where the score says that it costs least, until the network is small enough.

    Widths and units follow from the score: nothing is evaluated to find them. With
    `optprune.scores.Compensation` the score is what least squares cannot make up for, and the
    structure that of the least predicted error.

    Parameters
    ----------
    targets : tuple of float, default (0.7, 0.5, 0.3)
        Fractions of the dense network's cost to reach, in (0, 1); each gives one structure.
    cost : {"macs", "parameters"}
        What the targets are fractions of.
    per_cost : bool, default True
        Whether a unit's loss is set against what it saves. False compares the losses alone, as
        global magnitude pruning does.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter cannot be used.
    InfeasibleError
        In a search, if no structure of the space is that small.

    Notes
    -----
    Let :math:`E_g(k)` be the loss predicted when group g keeps its k best units: the score of the
    best unit that leaves where the score says so (``additive = False``, as `Compensation` does),
    else the sum of the scores of all that leave. From the widest structure of the space on, one
    unit after another leaves, from the group g of the least

    .. math:: \min_{j < k_g} \frac{E_g(j) - E_g(k_g)}{(k_g - j) \, \Delta_g} ,

    where :math:`\Delta_g` is the cost that one unit of the group saves in the present structure:
    a greedy descent on the lower convex hulls of the curves. The least widths of the space are
    kept; widths that it does not have are rounded, and more leaves until the rounded structure
    meets the target. Scores of different groups must mean the same: they do for `Compensation`
    (shares of the variance of the outputs), `Taylor` and `Oracle` (the loss); `L1` and `L2` are
    relative to each layer's mean. No seed has any influence.
    """

    targets: tuple[float, ...] = (0.7, 0.5, 0.3)
    cost: Literal["macs", "parameters"] = "macs"
    per_cost: bool = True
    name: str = "GlobalSelection"

    def __post_init__(self) -> None:
        owner = "GlobalSelection"
        check_targets(owner, self.targets)
        if self.cost not in ("macs", "parameters"):
            raise ArgumentError(
                f"{owner}: `cost` must be 'macs' or 'parameters', not {self.cost!r}."
            )

    def search(self, problem: Problem, session: Session) -> None:
        """Evaluate the structure of every target."""
        found = self.select(problem)
        session.evaluate([found[target] for target in self.targets])

    def select(self, problem: Problem) -> dict[float, Structure]:
        """Choose the structure of every target; evaluate nothing.

        Parameters
        ----------
        problem : Problem
            Its space, with the score.

        Returns
        -------
        dict of float to Structure
            By the targets.
        """
        graph, space = problem.graph, problem.bound_space
        polynomial: CostPolynomial = getattr(graph.costs, self.cost)

        def rounded(widths: _Widths) -> Structure:
            return space.decode(space.keeping(widths[None]))[0]

        def share(widths: _Widths) -> float:
            return float(polynomial(widths)[0]) / polynomial.dense

        rises = _rises(problem)
        widths, least = space.widest.copy(), space.narrowest
        found: dict[float, Structure] = {}
        for target in sorted(set(self.targets), reverse=True):
            while True:
                structure = rounded(widths) if share(widths) <= target else None
                if structure is not None and share(structure.widths) <= target:
                    found[target] = structure
                    break
                free = np.flatnonzero(widths > least)
                if not len(free):
                    raise InfeasibleError(
                        f"GlobalSelection: no structure of the space has {target:g} of the dense "
                        f"network's {self.cost}; the narrowest has {share(least):.4g}. Ask for no "
                        "less, or give the space other bounds or a smaller step."
                    )
                price = np.array([rises[group][widths[group]] for group in free])
                if self.per_cost:
                    price = price / self._saved(polynomial, widths, free)
                widths[free[price.argmin()]] -= 1
        return found

    @staticmethod
    def _saved(polynomial: CostPolynomial, widths: _Widths, groups: _Widths) -> _Floats:
        """Return what one unit of each group saves, as a fraction of the dense cost."""
        narrower = np.tile(widths, (len(groups), 1))
        narrower[np.arange(len(groups)), groups] -= 1
        saved = (polynomial(widths) - polynomial(narrower)) / polynomial.dense
        return np.maximum(saved, np.finfo(np.float64).tiny)


def _rises(problem: Problem) -> list[_Floats]:
    """Return, for each group and width, how steeply the predicted loss rises when units leave.

    Returns
    -------
    list of ndarray of float64, shape (width + 1,)
        Per unit, towards the lower convex hull of the narrower widths; infinite at the least one.
    """
    found = []
    for group, loss in zip(problem.graph.groups, ScoreLosses()(problem), strict=True):
        least = int(problem.bound_space.narrowest[group.index])
        rise = np.full(group.width + 1, np.inf)
        for width in range(least + 1, group.width + 1):
            narrower = np.arange(least, width)
            rise[width] = ((loss[narrower] - loss[width]) / (width - narrower)).min()
        found.append(rise)
    return found
