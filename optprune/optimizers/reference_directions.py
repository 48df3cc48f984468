"""Reference directions: which trade-offs between the objectives a search looks for."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError

__all__ = ["reference_directions"]

# The inner layer lies half-way between the simplex' boundary and its middle.
INNER = 0.5


def reference_directions(
    owner: str, n_objectives: int, population: int, partitions: int | None = None
) -> npt.NDArray[np.float64]:
    """Return points spread evenly over the unit simplex.

    Parameters
    ----------
    owner : str
        The optimizer, for messages.
    n_objectives : int
        Number of objectives, M.
    population : int
        The most directions that there may be.
    partitions : int, optional
        Parts p into which each objective's axis is divided: ``binomial(p + M - 1, p)`` directions.
        By default as many as the population allows.

    Returns
    -------
    ndarray of float64, shape (n_directions, n_objectives)
        Each sums to 1.

    Raises
    ------
    ArgumentError
        If there are more directions than members of the population.

    Notes
    -----
    The design of Das and Dennis. Where the population allows fewer parts than there are objectives
    all its directions have a zero; then a second layer, shrunk by a half towards the middle, is
    added as far as the population allows (Deb and Jain 2014, section V). Nothing is drawn.

    References
    ----------
    I. Das, J. E. Dennis. Normal-boundary intersection: a new method for generating the Pareto
    surface in nonlinear multicriteria optimization problems. SIAM Journal on Optimization 8(3),
    1998. doi:10.1137/S1052623496307510.

    K. Deb, H. Jain. An evolutionary many-objective optimization algorithm using
    reference-point-based nondominated sorting approach, part I. IEEE Transactions on Evolutionary
    Computation 18(4), 2014. doi:10.1109/TEVC.2013.2281535.
    """
    from pymoo.util.ref_dirs import get_reference_directions

    if n_objectives == 1:
        return np.ones((1, 1))
    outer = most_partitions(n_objectives, population) if partitions is None else partitions
    n_outer = n_directions(n_objectives, max(outer, 1))
    if n_outer > population:
        raise ArgumentError(
            f"{owner}: {n_outer} reference directions ({n_objectives} objectives, "
            f"partitions={max(outer, 1)}) need a population of at least {n_outer}; it is "
            f"{population}. Give a larger `population`"
            + ("." if partitions is None else " or fewer `partitions`.")
        )
    directions: Any = get_reference_directions("das-dennis", n_objectives, n_partitions=outer)
    if partitions is None and outer < n_objectives:
        inner = most_partitions(n_objectives, population - n_outer)
        if inner:
            layer = get_reference_directions(
                "das-dennis", n_objectives, n_partitions=inner, scaling=INNER
            )
            directions = np.concatenate([directions, layer])
    return np.asarray(directions, dtype=np.float64)


def n_directions(n_objectives: int, partitions: int) -> int:
    """Count the directions of a design."""
    return comb(partitions + n_objectives - 1, partitions)


def most_partitions(n_objectives: int, limit: int) -> int:
    """Return the most partitions that give no more than so many directions; 0 if none do."""
    partitions = 0
    while n_directions(n_objectives, partitions + 1) <= limit:
        partitions += 1
    return partitions
