"""A genetic algorithm of pymoo for one objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from optprune.optimizers.pymoo_evolution import PymooEvolution

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["GA"]


@dataclass(frozen=True)
class GA(PymooEvolution):
    """Evolve a population towards the best value of one objective.

    With constraints, on integer, binary and continuous spaces. Of two members a feasible one beats
    an infeasible one, a smaller violation a larger, and a better objective a worse: in the
    tournaments of the parents, and in the survival of the best of old and new. A first choice for
    one objective; `CMAES` needs fewer evaluations where the objective is smooth.

    Parameters
    ----------
    population, crossover, crossover_eta, mutation, mutation_eta, start, seeded_by, name
        See `NSGA2`.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has several objectives.

    Notes
    -----
    Variation, and what happens to structures that were proposed before, are as in `NSGA2`.

    References
    ----------
    D. E. Goldberg. Genetic algorithms in search, optimization, and machine learning.
    Addison-Wesley, 1989.

    K. Deb. An efficient constraint handling method for genetic algorithms. Computer Methods in
    Applied Mechanics and Engineering 186(2-4), 2000. doi:10.1016/S0045-7825(99)00389-8.
    """

    objectives: ClassVar[Literal["one", "several", "any"]] = "one"

    name: str = "GA"

    def _algorithm(
        self,
        problem: Problem,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        common: dict[str, Any],
    ) -> Any:
        from pymoo.algorithms.soo.nonconvex.ga import GA as PymooGA

        return PymooGA(**common)
