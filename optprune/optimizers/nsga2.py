"""NSGA-II of pymoo, asked for points and told what they are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.optimizers.first_population import spread
from optprune.optimizers.parameters import check_at_least, check_index, check_probability
from optprune.optimizers.proposed import Proposed
from optprune.optimizers.warm_start import WarmStart, as_warm_start, warm_points
from optprune.search import to_minimization

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["NSGA2"]

# Matings of the whole population that may give nothing new before random points fill the gap.
ATTEMPTS = 10


@dataclass(frozen=True)
class NSGA2:
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

    population: int = 32
    crossover: float = 0.9
    crossover_eta: float = 3.0
    mutation: float | None = None
    mutation_eta: float = 3.0
    start: Literal["spread", "random"] = "spread"
    seeded_by: WarmStart | None = None
    name: str = "NSGA2"

    def __post_init__(self) -> None:
        check_at_least("NSGA2", "population", self.population, 4)
        check_probability("NSGA2", "crossover", self.crossover)
        check_index("NSGA2", "crossover_eta", self.crossover_eta)
        if self.mutation is not None:
            check_probability("NSGA2", "mutation", self.mutation)
        check_index("NSGA2", "mutation_eta", self.mutation_eta)
        if self.start not in ("spread", "random"):
            raise ArgumentError(f"NSGA2: `start` must be 'spread' or 'random', not {self.start!r}.")
        if self.seeded_by is not None:
            object.__setattr__(self, "seeded_by", as_warm_start("NSGA2", self.seeded_by))

    def search(self, problem: Problem, session: Session) -> None:
        """Evolve until the session ends the search or the space is used up."""
        from pymoo.core.population import Population

        space, generator = problem.bound_space, session.generator
        proposed = Proposed(space)
        points = self._first_points(problem, generator, proposed)
        algorithm = self._algorithm(problem, generator, points)
        algorithm.ask()
        while len(points):
            evaluations = session.evaluate(points)
            objectives, violations = to_minimization(problem, evaluations)
            algorithm.tell(infills=Population.new(X=points, F=objectives, G=violations))
            points = self._offspring(algorithm, generator, proposed)

    def _first_points(
        self, problem: Problem, generator: np.random.Generator, proposed: Proposed
    ) -> npt.NDArray[np.float64]:
        space = problem.bound_space
        warm = as_warm_start("NSGA2", self.seeded_by)
        points = proposed.take(warm_points(problem, warm), self.population)
        missing = self.population - len(points)
        if self.start == "spread":
            spread_out = proposed.take(spread(space, generator, missing))
            points = np.concatenate([points, spread_out])
        missing = self.population - len(points)
        return np.concatenate([points, proposed.draw(generator, missing)])

    def _offspring(
        self, algorithm: Any, generator: np.random.Generator, proposed: Proposed
    ) -> npt.NDArray[np.float64]:
        points = np.empty((0, algorithm.problem.n_var))
        for _ in range(ATTEMPTS):
            asked = np.asarray(algorithm.ask().get("X"), dtype=np.float64)
            asked = np.clip(asked, algorithm.problem.xl, algorithm.problem.xu)
            fresh = proposed.take(asked, self.population - len(points))
            points = np.concatenate([points, fresh])
            if len(points) == self.population:
                return points
        missing = self.population - len(points)
        return np.concatenate([points, proposed.draw(generator, missing)])

    def _algorithm(
        self,
        problem: Problem,
        generator: np.random.Generator,
        first: npt.NDArray[np.float64],
    ) -> Any:
        """Set up pymoo's algorithm around a bare description of the space."""
        from pymoo.algorithms.moo.nsga2 import NSGA2 as PymooNSGA2
        from pymoo.config import Config
        from pymoo.core.problem import Problem as PymooProblem
        from pymoo.core.termination import NoTermination
        from pymoo.operators.crossover.sbx import SBX
        from pymoo.operators.crossover.ux import UX
        from pymoo.operators.mutation.bitflip import BitflipMutation
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair

        # Where pymoo is installed without its compiled parts it would print an advertisement.
        Config.warnings["not_compiled"] = False
        space = problem.bound_space
        repair = None if space.kind == "continuous" else RoundingRepair()
        if space.kind == "binary":
            crossover = UX(prob=self.crossover, vtype=bool)
            mutation = BitflipMutation(prob_var=self.mutation)
        else:
            crossover = SBX(prob=self.crossover, eta=self.crossover_eta, repair=repair)
            mutation = PM(prob=1.0, prob_var=self.mutation, eta=self.mutation_eta, repair=repair)
        algorithm = PymooNSGA2(
            pop_size=self.population,
            sampling=first,
            crossover=crossover,
            mutation=mutation,
            eliminate_duplicates=False,
        )
        bare = PymooProblem(
            n_var=space.n_variables,
            n_obj=problem.n_objectives,
            n_ieq_constr=len(problem.constraints),
            xl=space.lower.astype(np.float64),
            xu=space.upper.astype(np.float64),
        )
        # numpy hands a generator given as a seed through: pymoo draws from the session's.
        algorithm.setup(bare, termination=NoTermination(), seed=generator, verbose=False)
        return algorithm
