"""A genetic algorithm of DEAP's operators for one objective, with Deb's feasibility rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from optprune.optimizers.deap_evolution import Selection, check_evolving, evolve
from optprune.optimizers.deap_members import Member
from optprune.optimizers.parameters import check_at_least
from optprune.optimizers.suitability import check_one_objective
from optprune.optimizers.warm_start import WarmStart

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["DeapGA"]


@dataclass(frozen=True)
class DeapGA:
    """Evolve a population by tournaments, uniform crossover and mutation, best of old and new.

    A (μ + λ) genetic algorithm: parents win tournaments, and the best of parents and offspring
    survive. For one objective, with constraints, on integer, binary and continuous spaces;
    `DeapNSGA2` is for several.

    Parameters
    ----------
    population : int
        Members that survive a generation, μ, at least 4.
    crossover : float
        The probability that two parents are crossed rather than copied. Variables are exchanged
        with a probability of one half each.
    mutation : float, optional
        The probability that a variable of a child is mutated; 1 / n_variables by default.
    mutation_eta : float
        Distribution index of polynomial mutation: the larger, the smaller the steps. Not used for
        bits, which are flipped.
    tournament : int
        Members that meet in a tournament.
    offspring : int, optional
        Children of a generation, λ; as many as `population` by default. Fewer renew the population
        more gently, more select harder; the children of a generation are evaluated at once.
    seeded_by : WarmStart, optional
        A structure, a result (its front), an optimizer with a method ``select``, such as
        ``HSICAllocation(targets=(0.7, 0.5, 0.3))``, or several of these: their structures come
        first in the first population, and take the place of as many others.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has several objectives.

    Notes
    -----
    Feasibility rules: a feasible member beats an infeasible one; of two infeasible ones the
    smaller sum of violations wins; of two feasible ones the objective decides.

    No structure is proposed twice: children that were proposed before are dropped and mating goes
    on; what is still missing after ten rounds is drawn at random. The search ends by itself when
    the space is used up.

    DEAP draws from Python's global ``random``. It is lent a state made from the session's
    generator for the moments when DEAP's operators run, and put back after each, so that neither
    the caller's draws nor those of a metric mix with the search's.

    References
    ----------
    K. Deb. An efficient constraint handling method for genetic algorithms. Computer Methods in
    Applied Mechanics and Engineering 186, 2000. doi:10.1016/S0045-7825(99)00389-8.

    F.-A. Fortin, F.-M. De Rainville, M.-A. Gardner, M. Parizeau, C. Gagné. DEAP: Evolutionary
    algorithms made easy. JMLR 13, 2012.
    """

    population: int = 32
    crossover: float = 0.9
    mutation: float | None = None
    mutation_eta: float = 3.0
    tournament: int = 2
    offspring: int | None = None
    seeded_by: WarmStart | None = None
    name: str = "DeapGA"

    def __post_init__(self) -> None:
        check_evolving("DeapGA", self)
        check_at_least("DeapGA", "tournament", self.tournament, 1)

    def search(self, problem: Problem, session: Session) -> None:
        """Evolve until the session ends the search or the space is used up."""
        check_one_objective("DeapGA", problem, several="DeapNSGA2")
        evolve(problem, session, self, Selection(_best, self._winners))

    def _winners(self, members: list[Member], n: int) -> list[Member]:
        from deap import tools

        chosen: list[Member] = tools.selTournament(members, n, self.tournament)
        return chosen


def _best(members: list[Member], n: int) -> list[Member]:
    from deap import tools

    best: list[Member] = tools.selBest(members, n)
    return best
