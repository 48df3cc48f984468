"""SciPy's differential evolution, restarted while there is budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.optimizers.evaluated import Evaluated
from optprune.optimizers.parameters import check_at_least, check_number, check_probability
from optprune.optimizers.scipy_calls import call, randomness
from optprune.optimizers.starting_points import starting_points
from optprune.optimizers.suitability import check_no_bits, check_one_objective
from optprune.optimizers.unit_box import UnitBox
from optprune.optimizers.warm_start import WarmStart, as_warm_start

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["ScipyDE"]

Strategy = Literal[
    "best1bin",
    "best1exp",
    "best2bin",
    "best2exp",
    "currenttobest1bin",
    "currenttobest1exp",
    "rand1bin",
    "rand1exp",
    "rand2bin",
    "rand2exp",
    "randtobest1bin",
    "randtobest1exp",
]

# Generations without a new structure after which the population counts as converged.
BARREN = 5
# Generations after which SciPy would end by itself; the session ends the search long before.
FOREVER = 10**9


class _Converged(Exception):
    """Nothing new has come for a while."""


@dataclass(frozen=True)
class ScipyDE:
    """Move a population by differences of its members, with SciPy's differential evolution.

    For one objective, with constraints, on integer and continuous spaces, where groups matter
    together: a difference of two members moves all groups at once, in the direction and at the
    scale of the population itself.

    Parameters
    ----------
    population : int
        Members, at least 5; a generation is evaluated as one batch.
    strategy : str
        How a trial is made, in SciPy's words; ``"rand1bin"`` explores more than ``"best1bin"``.
    differential : float or (float, float)
        Weight of the difference, in [0, 2]; with two, it is drawn between them for each generation.
    crossover : float
        The probability that a variable comes from the moved member.
    seeded_by : WarmStart, optional
        A structure, a result (its front), an optimizer with a method ``select``, such as
        ``HSICAllocation(targets=(0.7, 0.5, 0.3))``, or several of these: their structures come
        first in the first population, and take the place of as many others.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has several objectives or a
        space of bits.

    Notes
    -----
    SciPy's function calls the objective itself, a whole generation at once (``vectorized``); the
    exception that ends a search passes through it. Its convergence test, polishing and workers are
    off. Every variable runs from 0 to 1, whole numbers in cells of equal width.

    Feasibility first: infeasible members are worse than feasible ones, by the sum of their
    violations, and those that failed are the worst. Only comparisons count, so that the size of
    these numbers does not matter.

    Members that round to a structure known before cost nothing. After five generations without a
    new one the population has converged: another starts from structures not evaluated yet, and
    the search ends by itself when there are none.

    References
    ----------
    R. Storn, K. Price. Differential evolution – a simple and efficient heuristic for global
    optimization over continuous spaces. Journal of Global Optimization 11, 1997.
    doi:10.1023/A:1008202821328.
    """

    population: int = 24
    strategy: Strategy = "best1bin"
    differential: float | tuple[float, float] = (0.5, 1.0)
    crossover: float = 0.7
    seeded_by: WarmStart | None = None
    name: str = "ScipyDE"

    def __post_init__(self) -> None:
        owner = "ScipyDE"
        check_at_least(owner, "population", self.population, 5)
        if self.strategy not in get_args(Strategy):
            raise ArgumentError(
                f"{owner}: `strategy` must be one of {', '.join(map(repr, get_args(Strategy)))}, "
                f"not {self.strategy!r}."
            )
        given = self.differential
        weights = given if isinstance(given, tuple) else (given,)
        for weight in weights:
            if not 0 <= check_number(owner, "differential", weight) <= 2:
                raise ArgumentError(
                    f"{owner}: `differential` must lie between 0 and 2, not {weight!r}."
                )
        if isinstance(given, tuple) and (len(given) != 2 or given[0] >= given[1]):
            raise ArgumentError(
                f"{owner}: `differential` must be a number or (least, most), not {given!r}."
            )
        check_probability(owner, "crossover", self.crossover)
        if self.seeded_by is not None:
            object.__setattr__(self, "seeded_by", as_warm_start(owner, self.seeded_by))

    def search(self, problem: Problem, session: Session) -> None:
        """Evolve one population after another until the session ends the search."""
        check_one_objective("ScipyDE", problem)
        check_no_bits("ScipyDE", problem)
        generator = session.generator
        evaluated, box = Evaluated(problem, session), UnitBox(problem.bound_space)
        points = starting_points(
            "ScipyDE", problem, generator, evaluated.proposed, self.population, self.seeded_by
        )
        while len(points):
            missing = self.population - len(points)
            points = np.concatenate([points, problem.bound_space.sample(generator, missing)])
            self._evolve(box.units(points), evaluated, box, generator)
            points = evaluated.proposed.draw(generator, self.population)

    def _evolve(
        self,
        first: npt.NDArray[np.float64],
        evaluated: Evaluated,
        box: UnitBox,
        generator: np.random.Generator,
    ) -> None:
        """Evolve a population until nothing new comes of it."""
        from scipy.optimize import differential_evolution

        def values(units: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            if evaluated.idle >= BARREN * self.population:
                evaluated.idle = 0
                raise _Converged
            return evaluated.scalars(box.points(units.T))

        try:
            call(
                differential_evolution,
                values,
                bounds=[(0.0, 1.0)] * box.n,
                strategy=self.strategy,
                init=first,
                mutation=self.differential,
                recombination=self.crossover,
                tol=0.0,
                atol=-1.0,
                maxiter=FOREVER,
                polish=False,
                updating="deferred",
                vectorized=True,
                **randomness(differential_evolution, generator),
            )
        except _Converged:
            return
