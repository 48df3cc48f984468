"""NSGA-III of DEAP's operators: survivors spread along uniform reference directions."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optprune.optimizers.deap_evolution import Selection, check_evolving, evolve
from optprune.optimizers.deap_members import Member, fitness_type
from optprune.optimizers.parameters import check_at_least
from optprune.optimizers.suitability import check_several_objectives
from optprune.optimizers.warm_start import WarmStart

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["DeapNSGA3"]


@dataclass(frozen=True)
class DeapNSGA3:
    """Evolve a population towards the front, spread along uniform reference directions.

    For three objectives and more, such as error, MACs and activation memory, where crowding
    distance no longer tells members apart. With two objectives `DeapNSGA2` is as good. With
    constraints, on integer, binary and continuous spaces.

    Parameters
    ----------
    population : int
        Members that survive a generation, at least 4.
    partitions : int, optional
        Parts into which each objective's axis is divided: M objectives and p parts give
        ``binomial(p + M - 1, p)`` directions. By default as many parts as give no more directions
        than members.
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
        If a parameter is outside its range; in a search, if the problem has one objective only.

    Notes
    -----
    Constraints as in part II: while fewer members are feasible than survive, all of them do, and
    those of the smallest sum of violations beside them; reference directions decide among feasible
    members only. Parents are drawn at random, an infeasible one against another: the smaller
    violation mates.

    DEAP's selection takes the intercepts of the hyperplane for absolute values although they are
    distances from the ideal point; it gets objectives from which the ideal point is subtracted,
    where both are the same. The ideal point is the best of all that was evaluated. No structure is
    proposed twice, and the search ends by itself when the space is used up. DEAP draws from the
    global generators of Python and of numpy; both are lent and put back, see `DeapGA`.

    References
    ----------
    K. Deb, H. Jain. An evolutionary many-objective optimization algorithm using
    reference-point-based nondominated sorting approach, part I: solving problems with box
    constraints. IEEE Transactions on Evolutionary Computation 18(4), 2014.
    doi:10.1109/TEVC.2013.2281535.

    H. Jain, K. Deb. Part II: handling constraints and extending to an adaptive approach. Ibid.
    doi:10.1109/TEVC.2013.2281534.
    """

    population: int = 32
    partitions: int | None = None
    crossover: float = 0.9
    mutation: float | None = None
    mutation_eta: float = 3.0
    offspring: int | None = None
    seeded_by: WarmStart | None = None
    name: str = "DeapNSGA3"

    def __post_init__(self) -> None:
        check_evolving("DeapNSGA3", self)
        if self.partitions is not None:
            check_at_least("DeapNSGA3", "partitions", self.partitions, 1)

    def search(self, problem: Problem, session: Session) -> None:
        """Evolve until the session ends the search or the space is used up."""
        check_several_objectives("DeapNSGA3", problem)
        niches = _Niches(self._directions(problem.n_objectives))
        evolve(problem, session, self, Selection(niches.survivors, _parents))

    def _directions(self, n_objectives: int) -> npt.NDArray[np.float64]:
        """Return the reference directions, shape (n_directions, n_objectives)."""
        from deap import tools

        parts = self.partitions
        if parts is None:
            parts = 1
            while math.comb(parts + n_objectives, parts + 1) <= self.population:
                parts += 1
        return np.asarray(tools.uniform_reference_points(n_objectives, parts), dtype=np.float64)


class _Niches:
    """Survival by reference directions.

    Parameters
    ----------
    directions : ndarray of float64, shape (n_directions, n_objectives)
        Points of the unit simplex.
    """

    def __init__(self, directions: npt.NDArray[np.float64]) -> None:
        self._directions = directions
        self._ideal = np.full(directions.shape[1], np.inf)
        self._fitness: Any = fitness_type(directions.shape[1])

    def survivors(self, members: list[Member], n: int) -> list[Member]:
        """Return the n that stay: by violation, and among the feasible by the directions."""
        from deap import tools

        feasible = [member for member in members if not member.fitness.violation]
        values = np.array([member.fitness.values for member in feasible])
        if feasible:
            self._ideal = np.minimum(self._ideal, values.min(axis=0))
        if len(feasible) <= n:
            others = [member for member in members if member.fitness.violation]
            others.sort(key=lambda member: member.fitness.violation)
            return feasible + others[: n - len(feasible)]
        shifted = values - self._ideal
        stand_ins = [
            Member([row], self._fitness(value)) for row, value in enumerate(shifted.tolist())
        ]
        chosen = tools.selNSGA3(
            stand_ins,
            n,
            self._directions,
            nd="standard",
            best_point=np.zeros((1, len(self._ideal))),
            worst_point=shifted.max(axis=0)[None],
        )
        return [feasible[int(stand_in[0])] for stand_in in chosen]


def _parents(members: list[Member], n: int) -> list[Member]:
    """Return n members at random; of two that are drawn the one with the smaller violation."""
    pairs = [(random.choice(members), random.choice(members)) for _ in range(n)]
    return [
        second if second.fitness.violation < first.fitness.violation else first
        for first, second in pairs
    ]
