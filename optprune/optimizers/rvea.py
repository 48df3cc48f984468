"""RVEA of pymoo: reference vectors whose pull grows with the generations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.optimizers.parameters import check_at_least, check_number
from optprune.optimizers.pymoo_evolution import PymooEvolution
from optprune.optimizers.reference_directions import reference_directions

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["RVEA"]

# Unit vectors a hair too short: the cosine of no angle exceeds 1 by rounding, which is no angle.
SHRUNK = 1 - 1e-12


@dataclass(frozen=True)
class RVEA(PymooEvolution):
    """Evolve towards the front along reference vectors, first for progress, later for spread.

    With constraints, on integer, binary and continuous spaces. At most one member survives for
    each reference vector: the one of the smallest angle-penalized distance from the ideal point.
    The penalty on the angle grows with the generations, and the vectors are scaled to the ranges
    of the objectives from time to time, so it suits objectives of different units. For three
    objectives and more.

    Parameters
    ----------
    population, crossover, crossover_eta, mutation, mutation_eta, start, seeded_by, name
        See `NSGA2`. `population` is the number of offspring of a generation, and the most that
        survive.
    partitions : int, optional
        Parts p into which each objective's axis is divided: M objectives give
        ``binomial(p + M - 1, p)`` reference directions. By default as many as the population
        allows; see `reference_directions`.
    generations : int, optional
        Generations over which the penalty grows, after the first population. By default as many as
        the budget of evaluations allows; a search without such a budget must be told.
    alpha : float
        Exponent of the growth: the larger, the longer progress counts before spread.
    adaptation : float
        Fraction of the generations after which the vectors are scaled, in (0, 1].

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has one objective only,
        there are more reference vectors than members, or the number of generations is unknown.

    Notes
    -----
    With ``generations=None`` a run depends on its budget from the first generation on: continued
    with a larger budget, it proposes other things. Once all generations are over, the penalty stays
    where it is and the search goes on. Vectors keep their scale where the members agree in an
    objective.

    References
    ----------
    R. Cheng, Y. Jin, M. Olhofer, B. Sendhoff. A reference vector guided evolutionary algorithm for
    many-objective optimization. IEEE Transactions on Evolutionary Computation 20(5), 2016.
    doi:10.1109/TEVC.2016.2519378.
    """

    name: str = "RVEA"
    partitions: int | None = None
    generations: int | None = None
    alpha: float = 2.0
    adaptation: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.partitions is not None:
            check_at_least("RVEA", "partitions", self.partitions, 1)
        if self.generations is not None:
            check_at_least("RVEA", "generations", self.generations, 1)
        if not check_number("RVEA", "alpha", self.alpha) > 0:
            raise ArgumentError(f"RVEA: `alpha` must be greater than 0, not {self.alpha!r}.")
        if not 0 < check_number("RVEA", "adaptation", self.adaptation) <= 1:
            raise ArgumentError(
                f"RVEA: `adaptation` is a fraction of the generations, in (0, 1]; got "
                f"{self.adaptation!r}."
            )

    def _algorithm(self, problem: Problem, session: Session, common: dict[str, Any]) -> Any:
        from pymoo.algorithms.moo.rvea import RVEA as PymooRVEA
        from pymoo.termination.max_gen import MaximumGenerationTermination

        directions = reference_directions(
            "RVEA", problem.n_objectives, self.population, self.partitions
        )
        generations = self._generations(session)
        return PymooRVEA(
            directions,
            adapt_freq=self.adaptation,
            survival=_survival(directions, self.alpha, generations),
            termination=MaximumGenerationTermination(generations),
            **common,
        )

    def _generations(self, session: Session) -> int:
        """Return the number of generations after the first population."""
        if self.generations is not None:
            return self.generations
        if not math.isfinite(session.remaining):
            raise ArgumentError(
                "RVEA: its penalty grows with the generations, and without a budget of evaluations "
                "their number is unknown; give RVEA(generations=...) or evaluations=."
            )
        return max(math.ceil(session.remaining / self.population) - 1, 1)


def _survival(directions: npt.NDArray[np.float64], alpha: float, generations: int) -> Any:
    """Return pymoo's survival, guarded where it would divide by zero."""
    from pymoo.algorithms.moo.rvea import APDSurvival

    class Guarded(APDSurvival):  # type: ignore[misc]
        """Survival whose vectors stay vectors, and whose penalty stays where it ends."""

        def adapt(self) -> None:
            """Scale the vectors, unless the members agree in an objective."""
            if self.nadir is not None and (self.nadir > self.ideal).all():
                super().adapt()
                shrink(self)

        def _do(self, *arguments: Any, algorithm: Any, **options: Any) -> Any:
            reached = min(algorithm.n_gen - 1, generations)
            return super()._do(
                *arguments, algorithm=algorithm, n_gen=reached, n_max_gen=generations, **options
            )

    def shrink(survival: Any) -> Any:
        survival.V = survival.V * SHRUNK
        return survival

    return shrink(Guarded(directions, alpha=alpha))
