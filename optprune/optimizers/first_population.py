"""The first population of the evolutionary optimizers: spread from small to large networks.

Independent random widths make networks of about half the size: by the law of large numbers their
costs crowd around one value, the more the more groups there are, and both ends of the front start
empty. Here every member is drawn around a keep-ratio of its own, and the ratios are spread evenly
over the whole range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from optprune.formulation import BoundSpace

__all__ = ["spread"]

# How far a variable strays from its member's ratio: the standard deviation as a fraction of the
# variable's range, and the chance that a bit is flipped.
DEVIATION = 0.2
FLIP = 0.1


def spread(space: BoundSpace, generator: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    """Draw points whose sizes are spread evenly over the space.

    Parameters
    ----------
    space : BoundSpace
        The space of the points.
    generator : numpy.random.Generator
        The source of randomness.
    n : int
        How many points.

    Returns
    -------
    array (n, n_variables)
        The first is the full structure. Every other one is the uniform structure of a ratio drawn
        from a stratum of its own (of n - 1 equal strata of (0, 1]), with Gaussian noise of 20 % of
        each variable's range (whole numbers are rounded), or with 10 % of its bits flipped.
        Structures may repeat.

    Notes
    -----
    Nothing is evaluated here and nothing is known of the objectives: the draw uses only the
    space's bounds and, for bits, the order that the space's score gives the units.
    """
    if n == 0:
        return np.empty((0, space.n_variables))
    ratios = (np.arange(n - 1) + 1.0 - generator.random(n - 1)) / max(n - 1, 1)
    points = np.asarray(space.uniform(generator.permutation(ratios)), dtype=np.float64)
    points = points.reshape(n - 1, space.n_variables)
    if space.kind == "binary":
        flipped = generator.random(points.shape) < FLIP
        points = np.where(flipped, space.lower + space.upper - points, points)
    else:
        noise = generator.standard_normal(points.shape)
        points = points + DEVIATION * (space.upper - space.lower) * noise
        points = np.clip(points, space.lower, space.upper)
        if space.kind == "integer":
            points = np.rint(points)
    return np.concatenate([np.reshape(space.full(), (1, -1)), points])
