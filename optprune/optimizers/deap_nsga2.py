"""NSGA-II of DEAP's operators, with Deb's feasibility rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from optprune.optimizers.deap_evolution import (
    Selection,
    check_evolving,
    check_fours,
    crowded_parents,
    crowded_survivors,
    evolve,
)
from optprune.optimizers.warm_start import WarmStart

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["DeapNSGA2"]


@dataclass(frozen=True)
class DeapNSGA2:
    """Evolve a population towards the front by non-dominated sorting and crowding distance.

    NSGA-II as DEAP has it: the same selection as `NSGA2`, with uniform crossover in place of
    simulated binary crossover, which suits networks whose groups matter independently. For two
    objectives, with constraints, on integer, binary and continuous spaces; `DeapNSGA3` is for more.

    Parameters
    ----------
    population : int
        Members that survive a generation; a multiple of 4.
    crossover : float
        The probability that two parents are crossed rather than copied. Variables are exchanged
        with a probability of one half each.
    mutation : float, optional
        The probability that a variable of a child is mutated; 1 / n_variables by default.
    mutation_eta : float
        Distribution index of polynomial mutation: the larger, the smaller the steps. Not used for
        bits, which are flipped.
    offspring : int, optional
        Children of a generation; as many as `population` by default.
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
    A feasible member dominates an infeasible one; of two infeasible ones the smaller sum of
    violations dominates. No structure is proposed twice, and the search ends by itself when the
    space is used up. DEAP's global randomness is lent and put back, see `DeapGA`. One objective is
    possible; `DeapGA` selects harder then.

    References
    ----------
    K. Deb, A. Pratap, S. Agarwal, T. Meyarivan. A fast and elitist multiobjective genetic
    algorithm: NSGA-II. IEEE Transactions on Evolutionary Computation 6(2), 2002.
    doi:10.1109/4235.996017.

    F.-A. Fortin, F.-M. De Rainville, M.-A. Gardner, M. Parizeau, C. Gagné. DEAP: Evolutionary
    algorithms made easy. JMLR 13, 2012.
    """

    population: int = 32
    crossover: float = 0.9
    mutation: float | None = None
    mutation_eta: float = 3.0
    offspring: int | None = None
    seeded_by: WarmStart | None = None
    name: str = "DeapNSGA2"

    def __post_init__(self) -> None:
        check_evolving("DeapNSGA2", self)
        check_fours("DeapNSGA2", self.population)

    def search(self, problem: Problem, session: Session) -> None:
        """Evolve until the session ends the search or the space is used up."""
        evolve(problem, session, self, Selection(crowded_survivors, crowded_parents))
