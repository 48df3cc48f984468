"""Lower convex hulls of tables: the greatest convex functions below them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["lower_hull"]

_Floats = npt.NDArray[np.float64]


def lower_hull(x: _Floats, values: _Floats) -> npt.NDArray[np.int64]:
    """Return the points of the lower convex hull, from left to right.

    Parameters
    ----------
    x : ndarray of float64, shape (n_points,)
        Places, ascending (not strictly: of equal ones the least value counts).
    values : ndarray of float64, shape (n_points,)
        Values, of any shape.

    Returns
    -------
    ndarray of int64, shape (n_hull,)
        Indices; the first and the last place are among them. Slopes between them strictly rise.

    Notes
    -----
    Andrew's monotone chain: linear in the number of points.
    """
    kept: list[int] = []
    for index in range(len(x)):
        if kept and x[index] == x[kept[-1]]:
            if values[index] >= values[kept[-1]]:
                continue
            kept.pop()
        while len(kept) > 1:
            a, b = kept[-2:]
            rise = (values[b] - values[a]) * (x[index] - x[b])
            if rise < (values[index] - values[b]) * (x[b] - x[a]):
                break
            kept.pop()
        kept.append(index)
    return np.array(kept, dtype=np.int64)
