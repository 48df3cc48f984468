"""The loop and the parameters that the genetic algorithms of pymoo share.

A method of its own is a small class: which algorithm of pymoo decides who survives and who mates,
what it needs beyond the common parameters, and which problems it is made for. Variation, the first
population and what was proposed before are the same for all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.optimizers.parameters import check_at_least, check_index, check_probability
from optprune.optimizers.proposed import Proposed
from optprune.optimizers.pymoo_algorithm import AskAndTell, Minimized, variation
from optprune.optimizers.starting_points import starting_points
from optprune.optimizers.suitability import check_one_objective, check_several_objectives
from optprune.optimizers.warm_start import WarmStart, as_warm_start, warm_points

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["PymooEvolution", "check_start"]

# Matings of the whole population that may give nothing new before random points fill the gap.
ATTEMPTS = 10


def check_start(owner: str, start: object) -> None:
    """Raise unless `start` is ``"spread"`` or ``"random"``."""
    if start not in ("spread", "random"):
        raise ArgumentError(f"{owner}: `start` must be 'spread' or 'random', not {start!r}.")


@dataclass(frozen=True)
class PymooEvolution(ABC):
    """A genetic algorithm of pymoo that proposes no structure twice.

    Parameters
    ----------
    population, crossover, crossover_eta, mutation, mutation_eta, start, seeded_by, name
        See `NSGA2`.

    Attributes
    ----------
    objectives : {"one", "several", "any"}
        How many objectives the method is made for.
    failures, scaled : bool
        See `Minimized`.
    whole_generations : bool
        Whether the method must be told of as many members as it has. Where fewer new ones are
        left, some are told twice, which costs nothing.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range.
    """

    objectives: ClassVar[Literal["one", "several", "any"]] = "several"
    failures: ClassVar[bool] = True
    scaled: ClassVar[bool] = False
    whole_generations: ClassVar[bool] = False

    population: int = 32
    crossover: float = 0.9
    crossover_eta: float = 3.0
    mutation: float | None = None
    mutation_eta: float = 3.0
    start: Literal["spread", "random"] = "spread"
    seeded_by: WarmStart | None = None
    name: str = ""

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_at_least(owner, "population", self.population, 4)
        check_probability(owner, "crossover", self.crossover)
        check_index(owner, "crossover_eta", self.crossover_eta)
        if self.mutation is not None:
            check_probability(owner, "mutation", self.mutation)
        check_index(owner, "mutation_eta", self.mutation_eta)
        check_start(owner, self.start)
        if self.seeded_by is not None:
            object.__setattr__(self, "seeded_by", as_warm_start(owner, self.seeded_by))

    def search(self, problem: Problem, session: Session) -> None:
        """Evolve until the session ends the search or the space is used up."""
        self._check(problem)
        proposed = Proposed(problem.bound_space)
        n = self._members(problem)
        points = self._first_points(problem, session.generator, proposed, n)
        method = self._asked(problem, session, points)
        method.ask()
        while len(points):
            if self.whole_generations:
                points = np.resize(points, (n, points.shape[1]))
            evaluations = session.evaluate(points)
            method.tell(points, evaluations)
            points = _offspring(method, session.generator, proposed, n)

    @abstractmethod
    def _algorithm(self, problem: Problem, session: Session, common: dict[str, Any]) -> Any:
        """Return pymoo's algorithm, not yet set up.

        Parameters
        ----------
        problem : Problem
            What is searched.
        session : Session
            Knows the budget.
        common : dict
            Arguments that the algorithms have in common: population, first points, variation.
        """

    def _check(self, problem: Problem) -> None:
        """Raise if the problem is none for the method."""
        if self.objectives == "one":
            check_one_objective(type(self).__name__, problem)
        elif self.objectives == "several":
            check_several_objectives(type(self).__name__, problem)

    def _members(self, problem: Problem) -> int:  # noqa: ARG002 - reference directions ask it
        """Return how many members a generation has."""
        return self.population

    def _asked(
        self, problem: Problem, session: Session, points: npt.NDArray[np.float64]
    ) -> AskAndTell:
        """Set the algorithm up around its first points."""
        crossover, mutation = variation(
            problem,
            crossover=self.crossover,
            crossover_eta=self.crossover_eta,
            mutation=self.mutation,
            mutation_eta=self.mutation_eta,
        )
        common = {
            "pop_size": self._members(problem),
            "sampling": points,
            "crossover": crossover,
            "mutation": mutation,
            "eliminate_duplicates": False,
        }
        minimized = Minimized(problem, failures=self.failures, scaled=self.scaled)
        algorithm = self._algorithm(problem, session, common)
        return AskAndTell(algorithm, problem, minimized, session.generator)

    def _first_points(
        self, problem: Problem, generator: np.random.Generator, proposed: Proposed, n: int
    ) -> npt.NDArray[np.float64]:
        owner = type(self).__name__
        if self.start == "spread":
            return starting_points(owner, problem, generator, proposed, n, self.seeded_by)
        points = proposed.take(warm_points(problem, as_warm_start(owner, self.seeded_by)), n)
        return np.concatenate([points, proposed.draw(generator, n - len(points))])


def _offspring(
    method: AskAndTell, generator: np.random.Generator, proposed: Proposed, n: int
) -> npt.NDArray[np.float64]:
    """Return n children that were not proposed before; fewer only if the space holds no more."""
    points: npt.NDArray[np.float64] = np.empty((0, method.algorithm.problem.n_var))
    for _ in range(ATTEMPTS):
        fresh = proposed.take(method.inside(method.ask()), n - len(points))
        points = np.concatenate([points, fresh])
        if len(points) == n:
            return points
    return np.concatenate([points, proposed.draw(generator, n - len(points))])
