"""Convex allocation: how wide each group should be, as a geometric program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from optprune.allocation import Log, Program, Utility, allocate
from optprune.dependence import Dependence
from optprune.optimizers.allocating import Allocating, Solve
from optprune.optimizers.group_importance import Equal, GroupImportance, Independence

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.surgery import CostPolynomial

__all__ = ["ConvexAllocation", "HSICAllocation"]


@dataclass(frozen=True)
class ConvexAllocation(Allocating):
    r"""Give width where it counts most under a budget: one convex program for all groups.

    Parameters
    ----------
    targets : tuple of float, default (0.7, 0.5, 0.3)
        Fractions of the dense network's cost to reach, in (0, 1); each gives one structure.
    cost : {"macs", "parameters", "activation_bytes", "latency"}
        What the targets are fractions of.
    floor : float, default 0.7
        The least keep-ratio of a group, as a fraction of the one that all groups would have in
        common under the same budgets, in [0, 1].
    importance : GroupImportance or sequence of float, default Equal()
        How much each group counts: one of `Equal`, `ScoreSum`, `Independence`,
        `RandomImportance`; a function of the problem; or numbers, a non-negative one for each
        group. Its scale has no influence.
    utility : Utility or callable, default Log()
        What a keep-ratio is worth, see `optprune.allocation`.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter cannot be used; in a search, if the importance cannot, or the utility is not
        concave in the logarithm of the ratio.
    InfeasibleError
        In a search, if no structure of the space is that small; it says how small the narrowest is.
    SolverError
        In a search, if the solver finds no optimum.

    Notes
    -----
    With the keep-ratios :math:`x_g` and their logarithms y, the importance I and the utility u,

    .. math:: \max_y \sum_g I_g u(y_g) \quad \text{subject to} \quad
              \log F_c(y) \le \log B_c ,

    for the budgeted costs :math:`F_c`, which are posynomials of the traced network and so convex in
    y: groups that are tied, residual streams and branches included. With the default utility,
    :math:`\log x`, a group's share of the cost is proportional to its importance. Widths are then
    rounded to those of the space within the budget, and improved by exchanges; the certificate of
    `allocate` bounds what any other widths could reach. The space's score decides which units stay.

    At small budgets the logarithm alone leaves one unit to a group that costs much for each (often
    the first); the floor keeps that from happening. It differs from budget to budget, and each is
    compiled for itself; with ``floor=0`` all budgets share one compilation.

    The linear objective of [1]_ has its optimum at the bounds, where groups vanish; see
    `optprune.allocation.SignomialProgram`.

    References
    ----------
    .. [1] X. Zheng, Y. Ma, T. Xi, G. Zhang, E. Ding, Y. Li, J. Chen, Y. Tian and R. Ji, An
       information theory-inspired strategy for automatic network pruning, arXiv:2108.08532, 2021.
    .. [2] S. Boyd, S.-J. Kim, L. Vandenberghe and A. Hassibi, A tutorial on geometric programming,
       Optimization and Engineering 8, 2007, doi:10.1007/s11081-007-9001-7.
    """

    floor: float = 0.7
    importance: GroupImportance | Sequence[float] = field(default_factory=Equal)
    utility: Utility | Callable[[Any], Any] = field(default_factory=Log)
    name: str = "ConvexAllocation"

    def program(self, problem: Problem, costs: Mapping[str, CostPolynomial]) -> Solve:
        """Make the program of a problem; see `Allocating.program`."""
        given = self.importance
        importance = given(problem) if callable(given) else given
        options = problem.bound_space.options
        made = Program(
            costs,
            importance,
            lower=np.array([widths[0] for widths in options]),
            upper=np.array([widths[-1] for widths in options]),
            utility=self.utility,
        )
        return lambda budgets: allocate(made, budgets, self._options(problem, costs, budgets))


@dataclass(frozen=True)
class HSICAllocation(Allocating):
    """Give width to the groups that say what no other group says.

    `ConvexAllocation` with the importance of Zheng et al., made well posed: see
    `optprune.dependence.DependenceMap.importance`. One forward pass over a few hundred samples, and
    one program.

    Parameters
    ----------
    targets : tuple of float, default (0.7, 0.5, 0.3)
        Fractions of the dense network's cost to reach, in (0, 1); each gives one structure.
    cost : {"macs", "parameters", "activation_bytes", "latency"}
        What the targets are fractions of.
    floor : float, default 0.7
        The least keep-ratio of a group, see `ConvexAllocation`.
    dependence : Dependence
        How dependence is measured.
    beta : float, default 1.0
        How strongly dependence counts; 0 gives `ConvexAllocation` with equal importance.
    utility : Utility or callable, default Log()
        What a keep-ratio is worth.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError, InfeasibleError, SolverError
        As `ConvexAllocation`.
    TaskError
        In a search, if there are too few samples.

    References
    ----------
    .. [1] X. Zheng, Y. Ma, T. Xi, G. Zhang, E. Ding, Y. Li, J. Chen, Y. Tian and R. Ji, An
       information theory-inspired strategy for automatic network pruning, arXiv:2108.08532, 2021.
    """

    floor: float = 0.7
    dependence: Dependence = field(default_factory=Dependence)
    beta: float = 1.0
    utility: Utility | Callable[[Any], Any] = field(default_factory=Log)
    name: str = "HSICAllocation"

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self._importance

    @property
    def _importance(self) -> Independence:
        return Independence(self.dependence, self.beta)

    def program(self, problem: Problem, costs: Mapping[str, CostPolynomial]) -> Solve:
        """Make the program of a problem; see `Allocating.program`."""
        convex = ConvexAllocation(
            self.targets,
            self.cost,
            self.floor,
            importance=self._importance,
            utility=self.utility,
        )
        return convex.program(problem, costs)
