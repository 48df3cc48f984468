"""Warm starts: what a search begins with that was found before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation.arguments import plug_in
from optprune.search.result import Result
from optprune.surgery.structure import Structure

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.optimizers.selector import Selector

__all__ = ["WarmStart", "as_warm_start", "warm_points"]

WarmStart: TypeAlias = "Structure | Selector | Result | Sequence[Structure | Selector | Result]"
"""A structure; an optimizer with a method ``select``, such as an allocation; a result, of which the
front counts; or several of these."""


def as_warm_start(owner: str, given: WarmStart | None) -> tuple[Structure | Selector, ...]:
    """Check a warm start, and return it as something that compares and is written out whole.

    Parameters
    ----------
    owner : str
        Whose argument ``seeded_by`` it is, for messages.
    given : WarmStart or None
        What the user wrote.

    Returns
    -------
    tuple of Structure or Selector
        A result gives the structures of its front, by its first objective. Empty for None.

    Raises
    ------
    ArgumentTypeError
        If it is something else.
    ArgumentError
        If a result has no feasible row, or was loaded without its problem.
    """
    if given is None:
        return ()
    items: Iterable[object] = given if isinstance(given, list | tuple) else (given,)
    found: list[Structure | Selector] = []
    for item in items:
        if isinstance(item, Result):
            graph = item.attached().graph
            structures = [
                Structure.from_json(item.row(index).structure, graph)
                for index in item.front_indices
            ]
            if not structures:
                raise ArgumentError(
                    f"{owner}: `seeded_by` is a result without a feasible row: {item!r:.80}."
                )
            found.extend(structures)
        elif isinstance(item, Structure):
            found.append(item)
        elif isinstance(item, type) or callable(getattr(item, "select", None)):
            found.append(plug_in(item, f"{owner}: `seeded_by`", "select"))
        else:
            raise ArgumentTypeError(
                f"{owner}: `seeded_by` must be a structure, a result, an optimizer with a method "
                f"select(), or a list of these; got {type(item).__name__} {item!r:.80}."
            )
    return tuple(found)


def warm_points(problem: Problem, start: Sequence[Structure | Selector]) -> npt.NDArray[np.float64]:
    """Return the points of a warm start, in their order.

    Parameters
    ----------
    problem : Problem
        Its space; selectors choose from it.
    start : sequence of Structure or Selector
        As `as_warm_start` returns it.

    Returns
    -------
    ndarray of float64, shape (n, n_variables)
        The points of the space that decode nearest to the structures; they may repeat.

    Raises
    ------
    GraphMismatchError
        If a structure belongs to another network.
    """
    structures: list[Structure] = []
    for item in start:
        chosen = [item] if isinstance(item, Structure) else [*item.select(problem).values()]
        structures.extend(chosen)
    for structure in structures:
        problem.graph.check(structure)
    space = problem.bound_space
    points = [space.encode(structure) for structure in structures]
    return np.reshape(np.array(points, dtype=np.float64), (-1, space.n_variables))
