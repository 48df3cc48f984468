"""What a search has proposed already, so that it proposes nothing twice."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from optprune.formulation import BoundSpace

__all__ = ["Proposed"]

# A space with at most this many vectors is listed when random draws find nothing new in it.
LISTABLE = 100_000
# Batches of random draws without anything new after which a space counts as used up.
PATIENCE = 50


class Proposed:
    """The structures that a search has proposed in a space.

    Different points can mean one structure (keep-ratios that round to the same widths), so it is
    the structures that are compared.

    Parameters
    ----------
    space : BoundSpace
        The space of the points.
    """

    def __init__(self, space: BoundSpace) -> None:
        self._space = space
        # Their bits tell structures of one graph apart.
        self._structures: set[bytes] = set()

    def __len__(self) -> int:
        """Count the structures proposed."""
        return len(self._structures)

    def take(
        self, points: npt.NDArray[np.float64], limit: int | None = None
    ) -> npt.NDArray[np.float64]:
        """Return those points whose structure is new, and remember them.

        Parameters
        ----------
        points : array (n, n_variables)
            Points in the order of preference; of several with one structure the first is taken.
        limit : int, optional
            The most to take; those after are not remembered.

        Returns
        -------
        array (n_new, n_variables)
            The new points, in their order.
        """
        taken: list[int] = []
        for row, structure in enumerate(self._space.decode(points)):
            if limit is not None and len(taken) >= limit:
                break
            if structure.packed not in self._structures:
                self._structures.add(structure.packed)
                taken.append(row)
        return points[taken]

    def draw(self, generator: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
        """Draw random points of structures not proposed before, and remember them.

        Parameters
        ----------
        generator : numpy.random.Generator
            The source of randomness.
        n : int
            How many.

        Returns
        -------
        array (n or fewer, n_variables)
            The points; fewer than `n` only if the space holds no more. A space of more than
            100,000 vectors counts as used up when 50 batches of draws in a row are all known.
        """
        found = np.empty((0, self._space.n_variables))
        barren = 0
        while len(found) < n and barren < PATIENCE:
            fresh = self.take(self._space.sample(generator, n), n - len(found))
            barren = 0 if len(fresh) else barren + 1
            found = np.concatenate([found, fresh])
        if len(found) < n and count_points(self._space) <= LISTABLE:
            rest = generator.permutation(list_points(self._space))
            found = np.concatenate([found, self.take(rest, n - len(found))])
        return found


def count_points(space: BoundSpace) -> float:
    """Count the vectors of a space; infinite for a continuous one."""
    if space.kind == "continuous":
        return float("inf")
    with np.errstate(over="ignore"):
        return float(np.prod(space.upper - space.lower + 1))


def list_points(space: BoundSpace) -> npt.NDArray[np.float64]:
    """List all vectors of a small integer or binary space, shape (n, n_variables)."""
    ranges = [np.arange(low, high + 1) for low, high in zip(space.lower, space.upper, strict=True)]
    return np.array(list(itertools.product(*ranges)), dtype=np.float64)
