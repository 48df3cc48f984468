"""An algorithm of pymoo, asked for points and told what they are worth."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optprune.search import to_minimization
from optprune.search.minimization import WORST

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Evaluations, Session

__all__ = ["AskAndTell", "Minimized", "variation"]

# Real moves on whole numbers may go so far beyond the bounds: the outermost values get as much room
# as those between.
ROOM = 0.499


class Minimized:
    """Evaluations as pymoo takes them: finite objectives to minimize, and violations.

    Parameters
    ----------
    problem : Problem
        Gives the directions of the objectives and the constraints.
    failures : bool
        Whether a failed candidate breaks a constraint also where the problem has none, so that
        methods that measure distances in the space of objectives never see its stand-in values.
    scaled : bool
        Whether objectives are scaled by their ranges in the first batch.
    """

    def __init__(self, problem: Problem, *, failures: bool = True, scaled: bool = False) -> None:
        self._problem = problem
        self._failures = failures and not problem.constraints
        self._scaled = scaled
        self._scale: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None

    @property
    def n_constraints(self) -> int:
        """Number of columns of violations."""
        return self._problem.n_constraints + self._failures

    def __call__(
        self, evaluations: Evaluations
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return objectives, shape (n, n_objectives), and violations, shape (n, n_constraints)."""
        objectives, violations = to_minimization(self._problem, evaluations)
        if self._failures:
            violations = evaluations.failed[:, None].astype(np.float64)
        if self._scaled:
            if self._scale is None:
                self._scale = _scale(objectives)
            low, span = self._scale
            objectives = np.where(objectives < WORST, (objectives - low) / span, WORST)
        return objectives, violations


def _scale(
    objectives: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the lowest value and the range of each objective; 0 and 1 where nothing is known."""
    measured = np.where(objectives < WORST, objectives, np.nan)
    known = np.isfinite(measured).any(axis=0)
    measured[:, ~known] = 0.0
    low, high = np.nanmin(measured, axis=0), np.nanmax(measured, axis=0)
    return low, np.where(high > low, high - low, 1.0)


class AskAndTell:
    """An algorithm of pymoo around a bare description of a problem.

    Parameters
    ----------
    algorithm : pymoo.core.algorithm.Algorithm
        Not yet set up.
    problem : Problem
        Its space gives the bounds.
    minimized : Minimized
        Turns evaluations into what the algorithm is told.
    seed : numpy.random.Generator or int
        The source of the algorithm's randomness.
    relaxed : bool
        Whether whole numbers are moved as real ones. They are rounded where they are evaluated
        only; the algorithm goes on from where it was.

    Notes
    -----
    pymoo counts no evaluation and ends nothing here: the session does. Its warnings are kept to
    itself, and the filters of warnings are put back: its estimate of a nadir point sets them for
    the whole process.
    """

    def __init__(
        self,
        algorithm: Any,
        problem: Problem,
        minimized: Minimized,
        seed: np.random.Generator | int,
        *,
        relaxed: bool = False,
    ) -> None:
        from pymoo.config import Config
        from pymoo.core.problem import Problem as PymooProblem
        from pymoo.core.termination import NoTermination
        from pymoo.termination.max_gen import MaximumGenerationTermination

        # Where pymoo is installed without its compiled parts it would print an advertisement.
        Config.warnings["not_compiled"] = False
        space = problem.bound_space
        room = ROOM if relaxed and space.kind != "continuous" else 0.0
        bare = PymooProblem(
            n_var=space.n_variables,
            n_obj=problem.n_objectives,
            n_ieq_constr=minimized.n_constraints,
            xl=space.lower.astype(np.float64) - room,
            xu=space.upper.astype(np.float64) + room,
        )
        self.algorithm = algorithm
        self._space = space
        self._minimized = minimized
        termination = algorithm.termination
        if not isinstance(termination, MaximumGenerationTermination):
            termination = NoTermination()
        # numpy hands a generator given as a seed through: pymoo draws from the session's.
        with _quiet():
            algorithm.setup(bare, termination=termination, seed=seed, verbose=False)

    def ask(self) -> Any:
        """Return the population that the algorithm wants evaluated."""
        with _quiet():
            return self.algorithm.ask()

    def inside(self, population: Any) -> npt.NDArray[np.float64]:
        """Return the points of a population as the space has them, shape (n, n_variables)."""
        points = np.asarray(population.get("X"), dtype=np.float64)
        if self._space.kind != "continuous":
            points = np.rint(points)
        return np.clip(points, self._space.lower, self._space.upper)

    def tell(self, points: npt.NDArray[np.float64], evaluations: Evaluations) -> None:
        """Tell the algorithm of points, which need not be those that it asked for."""
        from pymoo.core.population import Population

        objectives, violations = self._minimized(evaluations)
        with _quiet():
            self.algorithm.tell(infills=Population.new(X=points, F=objectives, G=violations))

    def step(self, session: Session) -> None:
        """Evaluate exactly what the algorithm asks for; what is known already is free."""
        asked = self.ask()
        self.answer(asked, session.evaluate(self.inside(asked)))

    def answer(self, asked: Any, evaluations: Evaluations) -> None:
        """Tell the algorithm of exactly the population that it asked for."""
        objectives, violations = self._minimized(evaluations)
        asked.set("F", objectives, "G", violations)
        with _quiet():
            self.algorithm.tell(infills=asked)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pymoo's warnings to itself, and what it does to their filters."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def variation(
    problem: Problem,
    *,
    crossover: float,
    crossover_eta: float,
    mutation: float | None,
    mutation_eta: float,
) -> tuple[Any, Any]:
    """Return pymoo's crossover and mutation for the kind of a problem's space.

    Bits are crossed uniformly and flipped; numbers are crossed by simulated binary crossover and
    mutated polynomially, and whole numbers rounded after each.
    """
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.crossover.ux import UX
    from pymoo.operators.mutation.bitflip import BitflipMutation
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair

    kind = problem.bound_space.kind
    if kind == "binary":
        return UX(prob=crossover, vtype=bool), BitflipMutation(prob_var=mutation)
    repair = None if kind == "continuous" else RoundingRepair()
    return (
        SBX(prob=crossover, eta=crossover_eta, repair=repair),
        PM(prob=1.0, prob_var=mutation, eta=mutation_eta, repair=repair),
    )
