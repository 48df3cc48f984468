"""Non-dominated rows and the hypervolume that they dominate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.search.row import Row

__all__ = ["hypervolume", "nondominated", "objective_values", "reference_point"]


def objective_values(
    rows: Sequence[Row], names: Sequence[str], signs: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Gather the objectives of feasible rows.

    Parameters
    ----------
    rows : sequence of Row
        The rows.
    names : sequence of str
        Names of the objectives.
    signs : array_like, shape (n_objectives,)
        1 for objectives to minimize, -1 for those to maximize.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_objectives)
        To be minimized; NaN in rows that are not feasible.
    """
    table = np.array(
        [[row.metrics[name] if row.feasible else math.nan for name in names] for row in rows],
        dtype=np.float64,
    ).reshape(len(rows), len(names))
    minimized: npt.NDArray[np.float64] = table * np.asarray(signs)
    return minimized


def nondominated(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return which points no other point dominates.

    Parameters
    ----------
    values : ndarray of float64, shape (n, n_objectives)
        To be minimized; points with a value that is not finite never count.

    Returns
    -------
    ndarray of int64, shape (n_nondominated,)
        Positions, sorted by the first objective (then by the others); of equal points the first.
    """
    import moocore

    finite = np.flatnonzero(np.isfinite(values).all(axis=1))
    if not len(finite):
        return finite.astype(np.int64)
    points = values[finite]
    # Of equal points the first stays, whatever the library keeps.
    _, first = np.unique(points, axis=0, return_index=True)
    first.sort()
    finite, points = finite[first], points[first]
    kept = finite[np.asarray(moocore.is_nondominated(points, keep_weakly=True), dtype=np.bool_)]
    order = np.lexsort(values[kept].T[::-1])
    return kept[order].astype(np.int64)


def reference_point(
    wanted: npt.ArrayLike, values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Fill the gaps of a reference point with the worst values seen.

    Parameters
    ----------
    wanted : array_like, shape (n_objectives,)
        Coordinates to be minimized; NaN where there is none.
    values : ndarray of float64, shape (n, n_objectives)
        To be minimized; values that are not finite are left out.

    Returns
    -------
    ndarray of float64, shape (n_objectives,)

    Raises
    ------
    ArgumentError
        If `wanted` has another length.
    """
    point = np.array(wanted, dtype=np.float64)
    if point.shape != (values.shape[1],):
        raise ArgumentError(
            f"reference must have {values.shape[1]} coordinates, one for each objective; "
            f"got {point.tolist()}."
        )
    for column in np.flatnonzero(np.isnan(point)):
        seen = values[:, column]
        seen = seen[np.isfinite(seen)]
        point[column] = seen.max() if len(seen) else 0.0
    return point


def hypervolume(values: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> float:
    """Return the volume between points and a reference point that the points dominate.

    Parameters
    ----------
    values : ndarray of float64, shape (n, n_objectives)
        To be minimized; points with a value that is not finite never count.
    reference : ndarray of float64, shape (n_objectives,)
        Points that are not better than it in every objective add nothing.

    Returns
    -------
    float
        In the product of the objectives' units; 0 without points.
    """
    import moocore

    points = values[np.isfinite(values).all(axis=1)]
    points = points[(points < reference).all(axis=1)]
    return float(moocore.hypervolume(points, ref=reference)) if len(points) else 0.0
