"""How much each group counts in an allocation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from optprune.dependence import Dependence
from optprune.errors import ArgumentError
from optprune.optimizers.parameters import check_at_least, check_number
from optprune.scores import L1, Score

if TYPE_CHECKING:
    from optprune.formulation import Problem

__all__ = ["Equal", "GroupImportance", "Independence", "RandomImportance", "ScoreSum"]

_Floats = npt.NDArray[np.float64]


class GroupImportance(Protocol):
    """Tells how much each group of a problem's network counts."""

    def __call__(self, problem: Problem) -> npt.ArrayLike:
        """Return a number that is not negative for each group, shape (n_groups,)."""
        ...


@dataclass(frozen=True)
class Equal:
    """All groups count the same: what is left is the budget's own doing."""

    def __call__(self, problem: Problem) -> _Floats:
        """Return ones."""
        return np.ones(problem.graph.n_groups)


@dataclass(frozen=True)
class RandomImportance:
    """Groups count at random: what any importance has to beat.

    Parameters
    ----------
    spread : float
        The logarithms are drawn uniformly between those of 1 / `spread` and `spread`.
    seed : int
        Draws them.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If `spread` is below 1, or the seed is no whole number of at least 0.
    """

    spread: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least("RandomImportance", "seed", self.seed, 0)
        if check_number("RandomImportance", "spread", self.spread) < 1:
            raise ArgumentError(
                f"RandomImportance: `spread` must be at least 1, not {self.spread!r}."
            )

    def __call__(self, problem: Problem) -> _Floats:
        """Return random numbers."""
        generator = np.random.default_rng(self.seed)
        powers = generator.uniform(-1.0, 1.0, problem.graph.n_groups)
        return np.asarray(self.spread**powers, dtype=np.float64)


@dataclass(frozen=True)
class ScoreSum:
    """A group counts what its units score together.

    Parameters
    ----------
    score : Score
        Of which the values of different groups mean the same, such as `optprune.scores.Taylor`. Of
        one that tells of a unit what is lost when all up to it leave
        (`optprune.scores.Compensation`), the largest value counts. Negative values count as 0.
    """

    score: Score = field(default_factory=L1)

    def __call__(self, problem: Problem) -> _Floats:
        """Score the network and add up."""
        values = np.maximum(problem.scored(self.score), 0.0)
        add = np.add if getattr(self.score, "additive", True) else np.maximum
        return np.asarray(add.reduceat(values, problem.graph.offsets[:-1]), dtype=np.float64)


@dataclass(frozen=True)
class Independence:
    """A group counts what it says that no other group says, by HSIC.

    Parameters
    ----------
    dependence : Dependence
        How dependence is measured.
    beta : float
        How strongly it counts, see `optprune.dependence.DependenceMap.importance`.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If `beta` is negative or no number.
    """

    dependence: Dependence = field(default_factory=Dependence)
    beta: float = 1.0

    def __post_init__(self) -> None:
        if check_number("Independence", "beta", self.beta) < 0:
            raise ArgumentError(f"Independence: `beta` must be at least 0, not {self.beta!r}.")

    def __call__(self, problem: Problem) -> _Floats:
        """Measure the dependence between all groups."""
        found = self.dependence.measure(problem.task, problem.graph, meter=problem.setup_meter)
        return found.importance(self.beta)
