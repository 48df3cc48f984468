"""What the methods of pymoo share that move points by real distances.

Differential evolution, particle swarms and evolution strategies add vectors to points, and must be
told of exactly the points that they asked for. Whole numbers are moved as real ones and rounded
where they are evaluated; what rounds to a structure that is known costs nothing, and a search in
which nothing new comes for a while is ended by the session.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from optprune.optimizers.first_population import spread
from optprune.optimizers.parameters import check_at_least
from optprune.optimizers.pymoo_algorithm import AskAndTell, Minimized
from optprune.optimizers.pymoo_evolution import check_start
from optprune.optimizers.suitability import check_no_bits, check_one_objective
from optprune.optimizers.warm_start import WarmStart, as_warm_start, warm_points

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["PymooMoves"]


@dataclass(frozen=True)
class PymooMoves(ABC):
    """A method of pymoo that minimizes one objective by real moves.

    Parameters
    ----------
    population : int
        Points of a generation.
    start, seeded_by, name
        See `NSGA2`.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range.
    """

    population: int = 32
    start: Literal["spread", "random"] = "spread"
    seeded_by: WarmStart | None = None
    name: str = ""

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_at_least(owner, "population", self.population, 4)
        check_start(owner, self.start)
        if self.seeded_by is not None:
            object.__setattr__(self, "seeded_by", as_warm_start(owner, self.seeded_by))

    def search(self, problem: Problem, session: Session) -> None:
        """Move until the session ends the search."""
        self._check(problem)
        algorithm = self._algorithm(problem, self._first_points(problem, session.generator))
        method = AskAndTell(algorithm, problem, Minimized(problem), session.generator, relaxed=True)
        while True:
            method.step(session)

    @abstractmethod
    def _algorithm(self, problem: Problem, points: npt.NDArray[np.float64]) -> Any:
        """Return pymoo's algorithm around its first points, not yet set up."""

    def _check(self, problem: Problem) -> None:
        """Raise if the problem is none for the method."""
        owner = type(self).__name__
        check_one_objective(owner, problem)
        check_no_bits(owner, problem)

    def _first_points(
        self, problem: Problem, generator: np.random.Generator
    ) -> npt.NDArray[np.float64]:
        """Return the warm start and the first points, shape (population, n_variables)."""
        space = problem.bound_space
        warm = warm_points(problem, as_warm_start(type(self).__name__, self.seeded_by))
        missing = max(self.population - len(warm), 0)
        draw = spread if self.start == "spread" else type(space).sample
        return np.concatenate([warm[: self.population], draw(space, generator, missing)])
