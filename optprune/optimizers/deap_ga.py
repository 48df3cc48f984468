"""A genetic algorithm of DEAP's operators, with Deb's feasibility rules."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.optimizers.first_population import spread
from optprune.optimizers.parameters import check_at_least, check_index, check_probability
from optprune.optimizers.proposed import Proposed
from optprune.search import to_minimization

if TYPE_CHECKING:
    from optprune.formulation import BoundSpace, Problem
    from optprune.search import Session

__all__ = ["DeapGA"]

# Rounds of variation that may give nothing new before random points fill the gap.
ATTEMPTS = 10


@dataclass(frozen=True)
class DeapGA:
    """Evolve a population by tournaments, uniform crossover and mutation, best of old and new.

    With one objective, parents win tournaments and the best of parents and offspring survive; with
    several, both are decided by non-dominated sorting and crowding distance.

    Parameters
    ----------
    population : int
        Members of the population, and offspring of a generation; a multiple of 4.
    crossover : float
        The probability that two parents are crossed rather than copied. Variables are exchanged
        with a probability of one half each.
    mutation : float, optional
        The probability that a variable of a child is mutated; 1 / n_variables by default.
    mutation_eta : float
        Distribution index of polynomial mutation: the larger, the smaller the steps. Not used for
        bits, which are flipped.
    tournament : int
        Members that meet in a tournament, with one objective.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range.

    Notes
    -----
    Feasibility rules: a feasible member beats an infeasible one; of two infeasible ones the
    smaller sum of violations wins; of two feasible ones the objectives decide. With several
    objectives "beats" reads "dominates".

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
    name: str = "DeapGA"

    def __post_init__(self) -> None:
        check_at_least("DeapGA", "population", self.population, 4)
        if self.population % 4:
            raise ArgumentError(
                f"DeapGA: `population` must be a multiple of 4, not {self.population}: "
                "parents are chosen in tournaments of four."
            )
        check_probability("DeapGA", "crossover", self.crossover)
        if self.mutation is not None:
            check_probability("DeapGA", "mutation", self.mutation)
        check_index("DeapGA", "mutation_eta", self.mutation_eta)
        check_at_least("DeapGA", "tournament", self.tournament, 1)

    def search(self, problem: Problem, session: Session) -> None:
        """Evolve until the session ends the search or the space is used up."""
        space, generator = problem.bound_space, session.generator
        source = random.Random(int(generator.integers(2**63)))
        fitness = fitness_type(problem.n_objectives)
        vary = self._operators(space)
        proposed = Proposed(space)
        points = proposed.take(spread(space, generator, self.population))
        members: list[Member] = []
        while True:
            missing = self.population - len(points)
            points = np.concatenate([points, proposed.draw(generator, missing)])
            if not len(points):
                return
            objectives, violations = to_minimization(problem, session.evaluate(points))
            for point, values, violation in zip(points, objectives, violations, strict=True):
                members.append(Member(point.tolist(), fitness(values, violation.sum())))
            with lent(source):
                members = self._survivors(members)
                points = self._offspring(members, vary, space, proposed)

    def _survivors(self, members: list[Member]) -> list[Member]:
        from deap import tools

        if len(members[0].fitness.weights) == 1:
            best: list[Member] = tools.selBest(members, self.population)
        else:
            best = tools.selNSGA2(members, self.population)
        return best

    def _parents(self, members: list[Member]) -> list[Member]:
        from deap import tools

        if len(members[0].fitness.weights) == 1 or len(members) % 4:
            chosen: list[Member] = tools.selTournament(members, self.population, self.tournament)
        else:
            chosen = tools.selTournamentDCD(members, len(members))
        return chosen

    def _offspring(
        self, members: list[Member], vary: Vary, space: BoundSpace, proposed: Proposed
    ) -> npt.NDArray[np.float64]:
        """Return children that were not proposed before; possibly fewer than the population."""
        points = np.empty((0, space.n_variables))
        for _ in range(ATTEMPTS):
            parents = [list(member) for member in self._parents(members)]
            for first, second in zip(parents[::2], parents[1::2], strict=True):
                vary(first, second)
            children = np.clip(np.array(parents, dtype=np.float64), space.lower, space.upper)
            if space.kind != "continuous":
                children = np.rint(children)
            points = np.concatenate(
                [points, proposed.take(children, self.population - len(points))]
            )
            if len(points) == self.population:
                break
        return points

    def _operators(self, space: BoundSpace) -> Vary:
        """Return a function that crosses and mutates two lists in place, by DEAP's operators."""
        from deap import tools

        free = np.flatnonzero(space.upper > space.lower).tolist()
        rate = self.mutation if self.mutation is not None else 1 / max(len(free), 1)
        mutate = (
            partial(tools.mutFlipBit, indpb=rate)
            if space.kind == "binary"
            else partial(
                tools.mutPolynomialBounded,
                eta=self.mutation_eta,
                low=space.lower[free].tolist(),
                up=space.upper[free].tolist(),
                indpb=rate,
            )
        )

        def vary(first: list[float], second: list[float]) -> None:
            # Fixed variables stay outside: polynomial mutation divides by the range.
            one, other = [first[i] for i in free], [second[i] for i in free]
            if random.random() < self.crossover:
                tools.cxUniform(one, other, indpb=0.5)
            for child, target in ((one, first), (other, second)):
                mutate(child)
                for i, value in zip(free, child, strict=True):
                    target[i] = value

        return vary


Vary = Callable[[list[float], list[float]], None]


class Member(list[float]):
    """A point with its fitness: a list, because slices of arrays are views."""

    def __init__(self, point: Sequence[float], fitness: Any) -> None:
        super().__init__(point)
        self.fitness = fitness


@contextmanager
def lent(source: random.Random) -> Iterator[None]:
    """Let the global ``random`` draw from `source` inside the ``with`` block.

    On leaving, also by an exception, the global state is what it was, and `source` goes on from
    where the block ended.
    """
    outside = random.getstate()
    random.setstate(source.getstate())
    try:
        yield
    finally:
        source.setstate(random.getstate())
        random.setstate(outside)


def fitness_type(n_objectives: int) -> Any:
    """Return a DEAP fitness for minimization under Deb's rules.

    Made here rather than by ``deap.creator``, whose types are global.
    """
    from deap import base

    class DebFitness(base.Fitness):  # type: ignore[misc]
        """Compares by violation first, then by the objectives (by their order, if several)."""

        weights = (-1.0,) * n_objectives

        def __init__(self, values: Sequence[float] = (), violation: float = 0.0) -> None:
            super().__init__(tuple(float(value) for value in values))
            self.violation = float(violation)

        @property
        def _key(self) -> tuple[float, ...]:
            return (-self.violation, *self.wvalues)

        def dominates(self, other: DebFitness, obj: slice = slice(None)) -> bool:
            if self.violation != other.violation:
                return self.violation < other.violation
            return bool(super().dominates(other, obj))

        def __hash__(self) -> int:
            return hash(self._key)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, DebFitness) and self._key == other._key

        def __le__(self, other: DebFitness) -> bool:
            return self._key <= other._key

        def __lt__(self, other: DebFitness) -> bool:
            return self._key < other._key

    return DebFitness
