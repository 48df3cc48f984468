"""PBIL: a distribution for each variable alone, moved towards the best of what it draws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.optimizers.evaluated import in_one_number
from optprune.optimizers.parameters import check_at_least, check_number
from optprune.optimizers.proposed import Proposed
from optprune.optimizers.starting_points import starting_points
from optprune.optimizers.suitability import check_one_objective
from optprune.optimizers.warm_start import WarmStart, as_warm_start
from optprune.search import to_minimization

if TYPE_CHECKING:
    from optprune.formulation import BoundSpace, Problem
    from optprune.search import Session

__all__ = ["PBIL"]

_Floats = npt.NDArray[np.float64]

# Draws of a whole population that may give nothing new before random points fill the gap.
ATTEMPTS = 10


@dataclass(frozen=True)
class PBIL:
    r"""Learn for each variable alone which values the best structures have, and draw from that.

    Population-based incremental learning, a univariate estimation of distribution: for one
    objective, with constraints, on integer, binary and continuous spaces. It has no crossover and
    hardly any parameter, and its cost does not grow with the number of members it has seen, which
    suits spaces of thousands of bits. Where groups matter together, `DeapGA` and `ScipyDE` do
    better.

    Parameters
    ----------
    population : int
        Structures drawn from one distribution, evaluated as one batch.
    elite : int
        The best of them, towards which the distribution is moved; at most `population`.
    rate : float
        How far it is moved, in (0, 1]; 1 forgets everything else.
    margin : float
        How much of every distribution stays uniform, in (0, 1): it is shared among the values that
        a variable may have, so that none is ever given up.
    seeded_by : WarmStart, optional
        A structure, a result (its front), an optimizer with a method ``select``, such as
        ``HSICAllocation(targets=(0.7, 0.5, 0.3))``, or several of these: their structures come
        first in the first population, and take the place of as many others.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has several objectives: one
        distribution without dependences cannot describe a front.

    Notes
    -----
    Bits have the probability of a one, :math:`p \leftarrow (1 - r) p + r \bar b`, with the rate
    :math:`r` and the mean :math:`\bar b` of the best. Whole numbers have a probability for each
    value, moved alike; a value that was good lends a part to its neighbors, falling with a
    standard deviation of 1/20 of the range (ours: widths are ordered). Real numbers have a mean
    and a standard deviation, both moved alike. The first population is spread from small to large
    networks; the distributions begin uniform.

    Best are feasible structures by their objective, then infeasible ones by the sum of their
    violations, then those that failed. No structure is proposed twice: known ones are drawn again,
    and after ten rounds random ones take their places. The search ends by itself when the space is
    used up.

    References
    ----------
    S. Baluja. Population-based incremental learning: a method for integrating genetic search based
    function optimization and competitive learning. Technical report CMU-CS-94-163, Carnegie Mellon
    University, 1994.

    M. Sebag, A. Ducoulombier. Extending population-based incremental learning to continuous search
    spaces. Parallel Problem Solving from Nature V, 1998. doi:10.1007/BFb0056884.
    """

    population: int = 24
    elite: int = 2
    rate: float = 0.3
    margin: float = 0.05
    seeded_by: WarmStart | None = None
    name: str = "PBIL"

    def __post_init__(self) -> None:
        check_at_least("PBIL", "population", self.population, 2)
        check_at_least("PBIL", "elite", self.elite, 1)
        if self.elite > self.population:
            raise ArgumentError(
                f"PBIL: `elite` must be at most `population`, {self.population}, not {self.elite}."
            )
        if not 0 < check_number("PBIL", "rate", self.rate) <= 1:
            raise ArgumentError(f"PBIL: `rate` must be above 0 and at most 1, not {self.rate!r}.")
        if not 0 < check_number("PBIL", "margin", self.margin) < 1:
            raise ArgumentError(f"PBIL: `margin` must lie between 0 and 1, not {self.margin!r}.")
        if self.seeded_by is not None:
            object.__setattr__(self, "seeded_by", as_warm_start("PBIL", self.seeded_by))

    def search(self, problem: Problem, session: Session) -> None:
        """Draw and learn until the session ends the search or the space is used up."""
        check_one_objective("PBIL", problem)
        space, generator = problem.bound_space, session.generator
        proposed, model = Proposed(space), _model(space, self.margin)
        points = starting_points(
            "PBIL", problem, generator, proposed, self.population, self.seeded_by
        )
        while len(points):
            evaluations = session.evaluate(points)
            objectives, violations = to_minimization(problem, evaluations)
            values = in_one_number(objectives, violations.sum(axis=1), evaluations.failed)
            best = points[np.argsort(values, kind="stable")[: self.elite]]
            model.move(best, self.rate)
            points = self._draw(model, proposed, generator)

    def _draw(self, model: _Model, proposed: Proposed, generator: np.random.Generator) -> _Floats:
        """Return new points; fewer than the population only if the space holds no more."""
        points = proposed.take(model.draw(generator, self.population))
        for _ in range(ATTEMPTS - 1):
            missing = self.population - len(points)
            if not missing:
                return points
            fresh = proposed.take(model.draw(generator, self.population), missing)
            points = np.concatenate([points, fresh])
        return np.concatenate([points, proposed.draw(generator, self.population - len(points))])


class _Model(ABC):
    """One distribution for each variable."""

    @abstractmethod
    def draw(self, generator: np.random.Generator, n: int) -> _Floats:
        """Draw points, shape (n, n_variables)."""

    @abstractmethod
    def move(self, best: _Floats, rate: float) -> None:
        """Move the distributions towards points, shape (n, n_variables)."""


class _Bits(_Model):
    """The probability of a one for each bit."""

    def __init__(self, space: BoundSpace, margin: float) -> None:
        self._low, self._range = space.lower, space.upper - space.lower
        self._margin = margin
        self._ones = np.full(space.n_variables, 0.5)

    def draw(self, generator: np.random.Generator, n: int) -> _Floats:
        ones = (1 - self._margin) * self._ones + self._margin / 2
        bits = generator.random((n, len(ones))) < ones
        return np.asarray(self._low + self._range * bits)

    def move(self, best: _Floats, rate: float) -> None:
        share = np.mean(best > self._low, axis=0)
        self._ones = (1 - rate) * self._ones + rate * share


class _Choices(_Model):
    """The probability of every value for each whole number."""

    def __init__(self, space: BoundSpace, margin: float) -> None:
        self._low = space.lower
        counts = (space.upper - space.lower + 1).astype(np.int64)
        values = np.arange(counts.max())
        self._values = values
        self._allowed = values < counts[:, None]
        self._uniform = self._allowed / counts[:, None]
        self._deviation = np.maximum(counts / 20, 1e-3)[:, None]
        self._margin = margin
        self._shares = self._uniform.copy()

    def draw(self, generator: np.random.Generator, n: int) -> _Floats:
        shares = (1 - self._margin) * self._shares + self._margin * self._uniform
        below = np.cumsum(shares, axis=1)
        below /= below[:, -1:]
        keys = generator.random((n, len(below), 1))
        return np.asarray(self._low + (keys >= below).sum(axis=2), dtype=np.float64)

    def move(self, best: _Floats, rate: float) -> None:
        target = np.zeros_like(self._shares)
        for point in best:
            distance = (self._values - (point - self._low)[:, None]) / self._deviation
            near = np.where(self._allowed, np.exp(-0.5 * np.square(distance)), 0.0)
            target += near / near.sum(axis=1, keepdims=True)
        self._shares = (1 - rate) * self._shares + rate * target / len(best)


class _Normals(_Model):
    """A mean and a standard deviation for each real number, both as fractions of the range."""

    def __init__(self, space: BoundSpace, margin: float) -> None:
        self._low, self._range = space.lower, space.upper - space.lower
        self._margin = margin
        self._mean = np.full(space.n_variables, 0.5)
        self._deviation = np.full(space.n_variables, np.sqrt(1 / 12))

    def draw(self, generator: np.random.Generator, n: int) -> _Floats:
        shape = (n, len(self._mean))
        drawn = self._mean + self._deviation * generator.standard_normal(shape)
        anywhere = generator.random(shape) < self._margin
        drawn = np.where(anywhere, generator.random(shape), np.clip(drawn, 0.0, 1.0))
        return np.asarray(self._low + self._range * drawn)

    def move(self, best: _Floats, rate: float) -> None:
        wide = np.where(self._range > 0, self._range, 1.0)
        shares = (best - self._low) / wide
        self._mean = (1 - rate) * self._mean + rate * shares.mean(axis=0)
        off = np.sqrt(np.square(shares - self._mean).mean(axis=0))
        self._deviation = (1 - rate) * self._deviation + rate * off


def _model(space: BoundSpace, margin: float) -> _Model:
    """Return the distributions that suit a space, uniform."""
    if space.kind == "binary":
        return _Bits(space, margin)
    return _Choices(space, margin) if space.kind == "integer" else _Normals(space, margin)
