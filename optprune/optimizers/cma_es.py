"""CMA-ES of pymoo and the package cma, with restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.optimizers.lending import lent_numpy, numpy_source
from optprune.optimizers.parameters import check_at_least, check_number
from optprune.optimizers.pymoo_algorithm import AskAndTell, Minimized
from optprune.optimizers.pymoo_moves import PymooMoves

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Evaluations, Session

__all__ = ["CMAES"]

# A run starts again after so many generations without a new structure: fewer than the session's
# patience has.
IDLE = 5


@dataclass(frozen=True)
class CMAES(PymooMoves):
    """Draw points from a Gaussian distribution that learns its shape from the better half.

    For one objective of two variables or more, with constraints, on integer and continuous spaces.
    The covariance learns which groups must change together, so it needs the fewest evaluations on
    smooth objectives of up to some hundred groups. A run that has converged starts again from a
    random place, with a larger population if it found anything new.

    Parameters
    ----------
    population : int
        Points of a generation, and first points; the best of these is the first mean.
    start, seeded_by, name
        See `NSGA2`.
    step : float
        Standard deviation of the first generation, as a fraction of each variable's range.
    growth : int
        By how much the population is multiplied at a restart.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has several objectives, its
        space consists of bits, or it has one variable only.

    Notes
    -----
    The method looks at the order of the objectives only. Constraints enter as a penalty without a
    weight to choose (Deb 2000): an infeasible or failed point is worth the worst feasible value
    seen so far, plus one, plus ``v / (1 + v)`` of its violation v, so that all feasible points come
    first. Where the feasible region is so small that no point of a generation meets it, the
    violations alone lead the way.

    Whole numbers are rounded, their deviation is kept from falling below what reaches the next
    number, and the mean is centered (as cma does for ``integer_variables``). Points whose structure
    is known cost nothing; a run that proposes nothing new in five generations starts again.

    cma draws from numpy's global generator, which is lent a state of the session's and put back.

    References
    ----------
    N. Hansen, A. Ostermeier. Completely derandomized self-adaptation in evolution strategies.
    Evolutionary Computation 9(2), 2001. doi:10.1162/106365601750190398.

    A. Auger, N. Hansen. A restart CMA evolution strategy with increasing population size. IEEE
    Congress on Evolutionary Computation, 2005. doi:10.1109/CEC.2005.1554902.

    K. Deb. An efficient constraint handling method for genetic algorithms. Computer Methods in
    Applied Mechanics and Engineering 186(2-4), 2000. doi:10.1016/S0045-7825(99)00389-8.
    """

    population: int = 16
    name: str = "CMAES"
    step: float = 0.3
    growth: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < check_number("CMAES", "step", self.step) <= 1:
            raise ArgumentError(
                f"CMAES: `step` is a fraction of each variable's range, in (0, 1]; got "
                f"{self.step!r}."
            )
        check_at_least("CMAES", "growth", self.growth, 1)

    def search(self, problem: Problem, session: Session) -> None:
        """Run, and start again, until the session ends the search."""
        self._check(problem)
        generator, space = session.generator, problem.bound_space
        penalized = Penalized(problem)
        points = self._first_points(problem, generator)
        while True:
            before = session.evaluations
            self._run(problem, session, penalized, points)
            # Where there is little left to find, growth would outrun the session's patience.
            growth = self.growth if session.evaluations > before else 1
            points = space.sample(generator, len(points) * growth)

    def _run(
        self,
        problem: Problem,
        session: Session,
        penalized: Penalized,
        points: npt.NDArray[np.float64],
    ) -> None:
        """Go on from the best of some points until nothing new comes."""
        source = numpy_source(session.generator)
        seed = int(session.generator.integers(1, 2**31))
        algorithm = self._algorithm(problem, points)
        method = AskAndTell(algorithm, problem, penalized, seed, relaxed=True)
        idle = 0
        while idle < IDLE and not (algorithm.es is not None and algorithm.es.stop()):
            before = session.evaluations
            with lent_numpy(source):
                asked = method.ask()
            evaluations = session.evaluate(method.inside(asked))
            with lent_numpy(source):
                method.answer(asked, evaluations)
            idle = 0 if session.evaluations > before else idle + 1

    def _check(self, problem: Problem) -> None:
        super()._check(problem)
        if problem.bound_space.n_variables < 2:
            raise ArgumentError(
                "CMAES needs two variables or more, this problem has one "
                f"({problem.bound_space.names[0]}); use UniformWidths or GA."
            )

    def _algorithm(self, problem: Problem, points: npt.NDArray[np.float64]) -> Any:
        """Return pymoo's strategy for one run."""
        from pymoo.algorithms.soo.nonconvex.cmaes import SimpleCMAES

        space = problem.bound_space
        whole = range(space.n_variables) if space.kind == "integer" else ()
        options = {
            "popsize": len(points),
            "CMA_stds": space.upper - space.lower,
            "integer_variables": list(whole),
            "verbose": -9,
            "verb_log": 0,
            "signals_filename": None,
        }
        return SimpleCMAES(sigma=self.step, opts=options, normalize=False, sampling=points)


class Penalized(Minimized):
    """Evaluations as one number each, of which every feasible one is the smaller.

    Parameters
    ----------
    problem : Problem
        Of one objective.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._worst = 0.0

    @property
    def n_constraints(self) -> int:
        """None: violations are part of the number."""
        return 0

    def __call__(
        self, evaluations: Evaluations
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the numbers, shape (n, 1), and violations of shape (n, 0)."""
        objectives, violations = super().__call__(evaluations)
        total = violations.sum(axis=1, keepdims=True)
        feasible = total == 0
        if feasible.any():
            self._worst = max(self._worst, float(objectives[feasible].max()))
        penalty = self._worst + 1.0 + total / (1.0 + total)
        return np.where(feasible, objectives, penalty), np.empty((len(total), 0))
