"""What an optimizer may hand in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation import Problem, Proposal
from optprune.surgery.structure import Structure

__all__ = ["Points", "decode"]

Points: TypeAlias = npt.ArrayLike | Sequence[Structure] | Sequence[Proposal]
"""Vectors of shape (n, n_variables), or structures, or proposals."""


def decode(
    problem: Problem, points: Points
) -> tuple[npt.NDArray[np.float64] | None, list[Proposal]]:
    """Turn what was handed in into proposals.

    Parameters
    ----------
    problem : Problem
        Gives the space and the graph.
    points : Points
        Vectors, which the space rounds and clips; or structures; or proposals.

    Returns
    -------
    points : ndarray of float64, shape (n, n_variables), or None
        The vectors, if that is what was handed in.
    proposals : list of Proposal
        Of length n.

    Raises
    ------
    ArgumentError
        If vectors have another shape, or are not finite.
    ArgumentTypeError
        If it is something else.
    GraphMismatchError
        If a structure belongs to another graph.
    """
    graph, space = problem.graph, problem.bound_space
    if isinstance(points, Structure | Proposal):
        raise ArgumentTypeError(
            f"points must be a sequence; wrap the one {type(points).__name__} into a list."
        )
    items = list(points) if isinstance(points, list | tuple) else []
    if items and all(isinstance(item, Structure | Proposal) for item in items):
        proposals = [item if isinstance(item, Proposal) else Proposal(item) for item in items]
        for proposal in proposals:
            graph.check(proposal.structure)
        return None, proposals
    try:
        array = np.array(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            "points must be numbers of shape (n, n_variables), or a list of Structure or of "
            f"Proposal; got {type(points).__name__}: {error}."
        ) from error
    if array.size == 0:
        array = array.reshape(0, space.n_variables)
    if array.ndim != 2 or array.shape[1] != space.n_variables:
        raise ArgumentError(
            f"points must have the shape (n, {space.n_variables}), one column for each "
            f"variable of the space; got {array.shape}."
        )
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ArgumentError(
            f"points must be finite; points[{row}, {column}] is {array[row, column]}."
        )
    return array, [Proposal(structure) for structure in space.decode(array)]
