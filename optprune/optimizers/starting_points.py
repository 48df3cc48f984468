"""What a search begins with: its warm start, then points spread over the space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.optimizers.first_population import spread
from optprune.optimizers.warm_start import WarmStart, as_warm_start, warm_points

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.optimizers.proposed import Proposed

__all__ = ["starting_points"]


def starting_points(
    owner: str,
    problem: Problem,
    generator: np.random.Generator,
    proposed: Proposed,
    n: int,
    seeded_by: WarmStart | None,
) -> npt.NDArray[np.float64]:
    """Return the first points of a search, and remember them.

    Parameters
    ----------
    owner : str
        The optimizer, for messages.
    problem : Problem
        Its space.
    generator : numpy.random.Generator
        The source of randomness.
    proposed : Proposed
        What was proposed before; it remembers these points.
    n : int
        How many.
    seeded_by : WarmStart or None
        Their structures come first, and take the place of as many others.

    Returns
    -------
    ndarray of float64, shape (n, n_variables)
        Warm start, points spread from small to large (the full structure among them), random
        points; no structure twice. Fewer only if the space holds no more.
    """
    warm = warm_points(problem, as_warm_start(owner, seeded_by))
    points = proposed.take(warm, n)
    spread_out = proposed.take(spread(problem.bound_space, generator, n - len(points)))
    points = np.concatenate([points, spread_out])
    return np.concatenate([points, proposed.draw(generator, n - len(points))])
