"""C-TAEA of pymoo: an archive for convergence and one for diversity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from optprune.optimizers.parameters import check_at_least
from optprune.optimizers.pymoo_evolution import PymooEvolution
from optprune.optimizers.reference_directions import reference_directions

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["CTAEA"]


@dataclass(frozen=True)
class CTAEA(PymooEvolution):
    """Evolve two archives: one towards the feasible front, one that ignores the constraints.

    On integer, binary and continuous spaces. The convergence archive keeps feasible members near
    the front; the diversity archive keeps what the other lacks, feasible or not, so that the search
    can pass through infeasible regions to feasible ones behind them. For constraints that most of
    the space violates.

    Parameters
    ----------
    population, crossover, crossover_eta, mutation, mutation_eta, start, seeded_by, name
        See `NSGA2`. `population` is the most members that an archive may have: there are as many
        as reference directions.
    partitions : int, optional
        Parts p into which each objective's axis is divided: M objectives give
        ``binomial(p + M - 1, p)`` reference directions. By default as many as the population
        allows; see `reference_directions`.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has one objective only, or
        there are more reference directions than `population`.

    Notes
    -----
    Objectives are scaled by their ranges in the first population. A candidate that a constraint on
    costs stops has no error or loss; the diversity archive then ranks it behind all that were
    measured, and the method has less of an advantage than with constraints on measured values.

    References
    ----------
    K. Li, R. Chen, G. Fu, X. Yao. Two-archive evolutionary algorithm for constrained
    multiobjective optimization. IEEE Transactions on Evolutionary Computation 23(2), 2019.
    doi:10.1109/TEVC.2018.2855411.
    """

    # pymoo's does not scale, and looks for as many members as directions in every batch.
    scaled: ClassVar[bool] = True
    whole_generations: ClassVar[bool] = True

    name: str = "CTAEA"
    partitions: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.partitions is not None:
            check_at_least("CTAEA", "partitions", self.partitions, 1)

    def _members(self, problem: Problem) -> int:
        return len(self._directions(problem))

    def _directions(self, problem: Problem) -> npt.NDArray[np.float64]:
        return reference_directions("CTAEA", problem.n_objectives, self.population, self.partitions)

    def _algorithm(
        self,
        problem: Problem,
        session: Session,  # noqa: ARG002
        common: dict[str, Any],
    ) -> Any:
        from pymoo.algorithms.moo.ctaea import CTAEA as PymooCTAEA

        # It has as many members as directions, and takes no other number.
        common = {name: value for name, value in common.items() if name != "pop_size"}
        return PymooCTAEA(self._directions(problem), **common)
