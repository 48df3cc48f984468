"""NSGA-II of pymoo, asked for points and told what they are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from optprune.optimizers.pymoo_evolution import PymooEvolution

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["NSGA2"]


@dataclass(frozen=True)
class NSGA2(PymooEvolution):
    """Evolve a population towards the front by non-dominated sorting and crowding distance.

    Works for one objective or several, with constraints (feasible before infeasible, less
    violation before more), on integer, binary and continuous spaces.

    Parameters
    ----------
    population : int
        Members of the population, and offspring of a generation.
    crossover : float
        The probability that two parents are crossed rather than copied.
    crossover_eta : float
        Distribution index of simulated binary crossover: the larger, the nearer the children are
        to their parents. Not used for bits, which are crossed uniformly.
    mutation : float, optional
        The probability that a variable of a child is mutated; 1 / n_variables by default.
    mutation_eta : float
        Distribution index of polynomial mutation: the larger, the smaller the steps. Not used for
        bits, which are flipped.
    start : {"spread", "random"}
        The first population: drawn around keep-ratios spread evenly from small to large, with the
        full structure among them (`first_population.spread`), or uniformly from the space.
    seeded_by : WarmStart, optional
        A structure, a result (its front), an optimizer with a method ``select``, such as
        ``HSICAllocation(targets=(0.7, 0.5, 0.3))``, or several of these: their structures come
        first in the first population, and take the place of as many others.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range.

    Notes
    -----
    Operators work on real numbers; whole numbers are rounded after each. No structure is proposed
    twice: children that were proposed before are dropped and mating goes on; what is still missing
    after ten rounds is drawn at random. The search ends by itself when the space is used up.

    References
    ----------
    K. Deb, A. Pratap, S. Agarwal, T. Meyarivan. A fast and elitist multiobjective genetic
    algorithm: NSGA-II. IEEE Transactions on Evolutionary Computation 6(2), 2002.
    doi:10.1109/4235.996017.
    """

    objectives: ClassVar[Literal["one", "several", "any"]] = "any"
    # Distances are told within a front only, and a failed candidate is dominated by all others.
    failures: ClassVar[bool] = False

    name: str = "NSGA2"

    def _algorithm(
        self,
        problem: Problem,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        common: dict[str, Any],
    ) -> Any:
        from pymoo.algorithms.moo.nsga2 import NSGA2 as PymooNSGA2

        return PymooNSGA2(**common)
