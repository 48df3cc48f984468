"""The hypervolume after every row of a run.

References
----------
K. Bringmann, T. Friedrich, 2012, "Approximating the least hypervolume contributor", Theor. Comput.
Sci. 425:104-116, DOI 10.1016/j.tcs.2010.09.026 (a contribution as a difference of two volumes).
"""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
import numpy.typing as npt

__all__ = ["volumes"]


def volumes(
    values: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the hypervolume after every row.

    Parameters
    ----------
    values : ndarray of float64, shape (n_rows, n_objectives)
        To be minimized, in the order of the run; NaN in rows that are not feasible.
    reference : ndarray of float64, shape (n_objectives,)
        The reference point.

    Returns
    -------
    ndarray of float64, shape (n_rows,)
    """
    import moocore

    found = np.zeros(len(values))
    # NaN is not less than anything.
    inside = np.flatnonzero((values < reference).all(axis=1))
    if not len(inside):
        return found
    timed = np.column_stack([values[inside], inside])
    new = inside[np.asarray(moocore.is_nondominated(timed), dtype=np.bool_)]
    gains = _plane_gains if values.shape[1] == 2 else _gains
    found[new] = gains(values[new], reference)
    return np.cumsum(found)


def _plane_gains(
    points: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]
) -> list[float]:
    """Return the area that each point adds; none is dominated by an earlier one."""
    right, top = reference.tolist()
    # The front from left to right, and so from top to bottom, between its two ends.
    xs, ys = [-math.inf, right], [top, -math.inf]
    gains = []
    for x, y in points.tolist():
        start = stop = bisect_left(xs, x)
        gain, ceiling, left = 0.0, ys[start - 1], x
        while ys[stop] >= y:
            gain += (xs[stop] - left) * (ceiling - y)
            ceiling, left = ys[stop], xs[stop]
            stop += 1
        gains.append(gain + (xs[stop] - left) * (ceiling - y))
        xs[start:stop], ys[start:stop] = [x], [y]
    return gains


def _gains(points: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> list[float]:
    """Return the volume that each point adds; none is dominated by an earlier one."""
    import moocore

    gains = []
    front = np.empty((0, points.shape[1]))
    for point in points:
        gain = float(np.prod(reference - point))
        if len(front):
            gain -= moocore.hypervolume(np.maximum(front, point), ref=reference)
            front = front[(front < point).any(axis=1)]
        front = np.vstack([front, point])
        gains.append(max(gain, 0.0))
    return gains
