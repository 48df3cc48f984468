"""Tournaments of pymoo whose ties are drawn from the session's generator.

Where violations tie, the comparisons of pymoo's NSGA-III and U-NSGA-III ask `compare` for a random
winner and hand it no generator; it then makes one of its own, seeded by the operating system, and
two runs with one seed go different ways. These make the same comparisons, and draw ties from the
generator that the algorithm was set up with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["better_in_niche", "less_violation", "tournaments"]

Beats: TypeAlias = Callable[[Any, npt.NDArray[np.int64], npt.NDArray[np.int64]], Any]
"""Takes a population and indices of members; tells which of the first beat those of the second."""


def tournaments(beats: Beats) -> Any:
    """Return pymoo's selection of parents by tournaments of two.

    Parameters
    ----------
    beats : callable
        Who beats whom. Where neither does, a coin is thrown.
    """
    from pymoo.operators.selection.tournament import TournamentSelection

    def winners(
        population: Any,
        pairs: npt.NDArray[np.int64],
        random_state: np.random.Generator,
        **_: Any,
    ) -> npt.NDArray[np.int64]:
        one, other = pairs.T
        first, second = beats(population, one, other), beats(population, other, one)
        tied = first == second
        coin = random_state.random(len(pairs)) < 0.5
        won: npt.NDArray[np.int64] = np.where(np.where(tied, coin, first), one, other)[:, None]
        return won

    return TournamentSelection(func_comp=winners)


def less_violation(
    population: Any, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Tell where one member violates the constraints less than the other, shape (n,)."""
    violation = population.get("CV")[:, 0]
    less: npt.NDArray[np.bool_] = violation[one] < violation[other]
    return less


def better_in_niche(
    population: Any, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Tell where one violates less, or is better placed along a direction that both have.

    Feasible members of one direction are compared by front, then by distance to the direction.
    """
    violation = population.get("CV")[:, 0]
    # Infeasible members have no direction; None becomes NaN, which equals nothing.
    niche, rank, distance = (
        np.array(population.get(name), dtype=np.float64)
        for name in ("niche", "rank", "dist_to_niche")
    )
    feasible = (violation[one] == 0) & (violation[other] == 0)
    closer = (rank[one] == rank[other]) & (distance[one] < distance[other])
    placed = (niche[one] == niche[other]) & ((rank[one] < rank[other]) | closer)
    better: npt.NDArray[np.bool_] = less_violation(population, one, other) | (feasible & placed)
    return better
