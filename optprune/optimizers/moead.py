"""MOEA/D of pymoo: as many weighted problems as members, solved side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.optimizers.parameters import check_at_least, check_probability
from optprune.optimizers.proposed import Proposed
from optprune.optimizers.pymoo_evolution import PymooEvolution
from optprune.optimizers.reference_directions import reference_directions
from optprune.optimizers.suitability import check_no_constraints

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["MOEAD"]


@dataclass(frozen=True)
class MOEAD(PymooEvolution):
    """Evolve a member for each weighting of the objectives, with mates among its neighbors.

    On integer, binary and continuous spaces, without constraints. The front is decomposed into
    single values, one for each reference direction; neighboring directions have similar solutions,
    so members mate with their neighbors and a child replaces those that it beats.

    Parameters
    ----------
    population, crossover, crossover_eta, mutation, mutation_eta, start, seeded_by, name
        See `NSGA2`. `population` is the most members there may be: there are as many as reference
        directions.
    partitions : int, optional
        Parts p into which each objective's axis is divided: M objectives give
        ``binomial(p + M - 1, p)`` reference directions. By default as many as the population
        allows; see `reference_directions`.
    neighbors : int
        Directions with which a member mates and competes, itself among them; at most all.
    locality : float
        The probability that mates are neighbors rather than anyone.
    decomposition : {"tchebycheff", "pbi"}, optional
        The value of a member for a direction: the largest weighted distance from the ideal point in
        an objective, or the distance along the direction plus five times the distance from it. The
        first by default with two objectives, the second with more.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has one objective only, it
        has constraints, or there are more reference directions than `population`.

    Notes
    -----
    A generation is made and evaluated at once, in place of child by child. Objectives are scaled by
    their ranges in the first population. A child of a structure that was proposed before costs
    nothing; the session ends a search that proposes nothing new for a while. The first child of a
    mating counts: pymoo's choice between both would mix the children of different directions.

    References
    ----------
    Q. Zhang, H. Li. MOEA/D: a multiobjective evolutionary algorithm based on decomposition. IEEE
    Transactions on Evolutionary Computation 11(6), 2007. doi:10.1109/TEVC.2007.892759.
    """

    failures: ClassVar[bool] = False
    scaled: ClassVar[bool] = True

    name: str = "MOEAD"
    partitions: int | None = None
    neighbors: int = 10
    locality: float = 0.9
    decomposition: Literal["tchebycheff", "pbi"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.partitions is not None:
            check_at_least("MOEAD", "partitions", self.partitions, 1)
        check_at_least("MOEAD", "neighbors", self.neighbors, 2)
        check_probability("MOEAD", "locality", self.locality)
        if self.decomposition not in (None, "tchebycheff", "pbi"):
            raise ArgumentError(
                "MOEAD: `decomposition` must be 'tchebycheff' or 'pbi', not "
                f"{self.decomposition!r}."
            )

    def search(self, problem: Problem, session: Session) -> None:
        """Evolve until the session ends the search."""
        self._check(problem)
        n = self._members(problem)
        points = self._first_points(problem, session.generator, Proposed(problem.bound_space), n)
        # A space of fewer structures than directions: some stand for several directions.
        method = self._asked(problem, session, np.resize(points, (n, points.shape[1])))
        while True:
            method.step(session)

    def _check(self, problem: Problem) -> None:
        super()._check(problem)
        check_no_constraints("MOEAD", problem)

    def _members(self, problem: Problem) -> int:
        return len(self._directions(problem))

    def _directions(self, problem: Problem) -> npt.NDArray[np.float64]:
        return reference_directions("MOEAD", problem.n_objectives, self.population, self.partitions)

    def _algorithm(
        self,
        problem: Problem,
        session: Session,  # noqa: ARG002
        common: dict[str, Any],
    ) -> Any:
        from pymoo.algorithms.moo.moead import ParallelMOEAD
        from pymoo.decomposition.pbi import PBI
        from pymoo.decomposition.tchebicheff import Tchebicheff

        directions = self._directions(problem)
        kind = self.decomposition or ("tchebycheff" if problem.n_objectives == 2 else "pbi")
        return ParallelMOEAD(
            directions,
            n_neighbors=min(self.neighbors, len(directions)),
            prob_neighbor_mating=self.locality,
            decomposition=Tchebicheff() if kind == "tchebycheff" else PBI(),
            sampling=common["sampling"],
            crossover=_first_child(common["crossover"]),
            mutation=common["mutation"],
        )


def _first_child(crossover: Any) -> Any:
    """Return a crossover of pymoo that gives one child for each mating.

    Children come as all first ones, then all second ones; ParallelMOEAD takes them for pairs.
    """
    do = crossover.do

    def first(problem: Any, population: Any, *arguments: Any, **options: Any) -> Any:
        children = do(problem, population, *arguments, **options)
        return children[: len(children) // crossover.n_offsprings]

    crossover.do = first
    return crossover
