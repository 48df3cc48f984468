"""Multi-objective CMA-ES of DEAP: every member learns the shape of its own mutations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.optimizers.deap_members import Member, fitness_type
from optprune.optimizers.evaluated import FAILED, INFEASIBLE, Evaluated
from optprune.optimizers.lending import lent_numpy, numpy_source
from optprune.optimizers.parameters import check_at_least, check_number
from optprune.optimizers.starting_points import starting_points
from optprune.optimizers.suitability import check_no_bits, check_several_objectives
from optprune.optimizers.unit_box import UnitBox
from optprune.optimizers.warm_start import WarmStart, as_warm_start
from optprune.search import hypervolume

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["MOCMAES"]

_Floats = npt.NDArray[np.float64]

# Generations without a new structure after which the population counts as converged.
BARREN = 5
# Least standard deviation of a mutation, in cells of the finest variable: with less, children
# round to their parents.
LEAST = 0.4


@dataclass(frozen=True)
class MOCMAES:
    """Evolve members that each learn how far and in which directions to mutate.

    Multi-objective CMA-ES: for two objectives or three, with constraints, on integer and continuous
    spaces of up to about a hundred groups, where groups matter together and in different scales.

    Parameters
    ----------
    population : int
        Members, each with one child a generation; the children are evaluated as one batch.
    sigma : float
        Standard deviation of the first mutations, as a fraction of each variable's range, in
        (0, 1].
    seeded_by : WarmStart, optional
        A structure, a result (its front), an optimizer with a method ``select``, such as
        ``HSICAllocation(targets=(0.7, 0.5, 0.3))``, or several of these: their structures come
        first in the first population, and take the place of as many others.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has one objective only or a
        space of bits.

    Notes
    -----
    Members live in the unit cube, whole numbers in cells of equal width. Children outside of it are
    put onto its surface. Step sizes are not allowed below four tenths of a cell, where children
    would round to their parents. Each member keeps two matrices of n × n numbers for n groups, and
    a generation costs O(population · n²) beside the evaluations.

    Survivors are chosen by non-dominated sorting and then by the hypervolume that each adds, with
    objectives scaled to the range of its front and a reference point one range beyond the worst
    values (DEAP's own adds one in the objectives' units). DEAP's strategy looks at objectives only:
    infeasible members get values in all objectives that every feasible member dominates, the larger
    the more they violate, and those that failed the largest.

    DEAP's strategy draws from numpy's legacy global generator, which is lent a state made from the
    session's generator while it does, and put back.

    Children that round to a structure known before cost nothing. After five generations without a
    new one another population starts from structures not evaluated yet, and the search ends by
    itself when there are none.

    References
    ----------
    C. Igel, N. Hansen, S. Roth. Covariance matrix adaptation for multi-objective optimization.
    Evolutionary Computation 15(1), 2007. doi:10.1162/evco.2007.15.1.1.

    T. Voß, N. Hansen, C. Igel. Improved step size adaptation for the MO-CMA-ES. Genetic and
    Evolutionary Computation Conference, 2010. doi:10.1145/1830483.1830573.
    """

    population: int = 16
    sigma: float = 0.2
    seeded_by: WarmStart | None = None
    name: str = "MOCMAES"

    def __post_init__(self) -> None:
        check_at_least("MOCMAES", "population", self.population, 2)
        if not 0 < check_number("MOCMAES", "sigma", self.sigma) <= 1:
            raise ArgumentError(
                f"MOCMAES: `sigma` must be above 0 and at most 1, not {self.sigma!r}."
            )
        if self.seeded_by is not None:
            object.__setattr__(self, "seeded_by", as_warm_start("MOCMAES", self.seeded_by))

    def search(self, problem: Problem, session: Session) -> None:
        """Evolve one population after another until the session ends the search."""
        check_several_objectives("MOCMAES", problem)
        check_no_bits("MOCMAES", problem)
        generator = session.generator
        legacy = numpy_source(generator)
        evaluated = Evaluated(problem, session)
        points = starting_points(
            "MOCMAES", problem, generator, evaluated.proposed, self.population, self.seeded_by
        )
        while len(points):
            missing = self.population - len(points)
            points = np.concatenate([points, problem.bound_space.sample(generator, missing)])
            self._evolve(points, problem, evaluated, legacy)
            points = evaluated.proposed.draw(generator, self.population)

    def _evolve(
        self,
        first: _Floats,
        problem: Problem,
        evaluated: Evaluated,
        legacy: np.random.RandomState,
    ) -> None:
        """Evolve a population until nothing new comes of it."""
        from deap import cma

        box = UnitBox(problem.bound_space)
        fitness = fitness_type(problem.n_objectives)

        def judge(members: list[Member]) -> list[Member]:
            """Put members into the cube and give them their fitness."""
            places = np.clip(np.array(members), 0.0, 1.0)
            values = _feasibility_first(*evaluated(box.points(places)))
            for member, place, value in zip(members, places.tolist(), values, strict=True):
                member[:] = place
                member.fitness = fitness(value)
            return members

        def unjudged(place: _Floats) -> Member:
            return Member(place.tolist(), None)

        strategy = cma.StrategyMultiObjective(
            judge([unjudged(place) for place in box.units(first)]),
            self.sigma,
            mu=self.population,
            lambda_=self.population,
            indicator=_least_contribution,
        )
        least = min(LEAST * box.finest, self.sigma)
        while evaluated.idle < BARREN * self.population:
            with lent_numpy(legacy):
                children = strategy.generate(unjudged)
            judge(children)
            with lent_numpy(legacy):
                strategy.update(children)
            strategy.sigmas = [min(max(sigma, least), 1.0) for sigma in strategy.sigmas]
        evaluated.idle = 0


def _feasibility_first(
    objectives: _Floats, violations: _Floats, failed: npt.NDArray[np.bool_]
) -> _Floats:
    """Return objectives at which every feasible point dominates every infeasible one.

    Parameters
    ----------
    objectives : ndarray of float64, shape (n, n_objectives)
        To be minimized.
    violations : ndarray of float64, shape (n,)
        Their sum.
    failed : ndarray of bool, shape (n,)
        Which could not be measured.

    Returns
    -------
    ndarray of float64, shape (n, n_objectives)
        Of two infeasible points the one that violates less dominates.
    """
    values = np.clip(objectives, -INFEASIBLE, INFEASIBLE)
    values = np.where(violations[:, None] > 0, INFEASIBLE * (1 + violations[:, None]), values)
    return np.where(failed[:, None], FAILED, values)


def _least_contribution(front: list[Member], ref: object = None) -> int:  # noqa: ARG001
    """Return which member of a front adds least hypervolume.

    Parameters
    ----------
    front : list of Member
        None dominates another.
    ref
        DEAP's reference point, in the objectives' units; not used.
    """
    values = np.array([member.fitness.values for member in front])
    low, high = values.min(axis=0), values.max(axis=0)
    scaled = (values - low) / np.where(high > low, high - low, 1.0)
    reference = np.full(values.shape[1], 2.0)
    without = [hypervolume(np.delete(scaled, i, axis=0), reference) for i in range(len(front))]
    return int(np.argmax(without))
