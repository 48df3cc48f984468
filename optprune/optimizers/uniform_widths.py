"""The uniform sweep: every group keeps the same share of its units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.formulation.uniform import shortest_span
from optprune.optimizers.parameters import check_at_least
from optprune.optimizers.proposed import Proposed

if TYPE_CHECKING:
    from optprune.formulation import BoundSpace, Problem
    from optprune.search import Session

__all__ = ["UniformWidths"]


@dataclass(frozen=True)
class UniformWidths:
    """Sweep one keep-ratio for all groups, from the smallest structure to the full one.

    This is what is done by hand when a network is "pruned to 50 %". It is one line through the
    space, so that it often ends long before the budget does.

    Parameters
    ----------
    steps : int, optional
        Take this many evenly spaced ratios. By default the sweep is refined, halving the distance
        between ratios, until no ratio in between gives another structure or the budget is used up.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If `steps` is not a whole number of at least 2.

    Notes
    -----
    The smallest and the full structure come first, then the ratios 1/2; 1/4, 3/4; 1/8, …: stopped
    anywhere, the ratios so far are spread evenly. A span of ratios with one structure at both ends
    is not refined, and none below 1 / (4 W²) for a widest group of W: two groups change at ratios
    (k + 1/2) / W that are equal or at least 1 / (2 W²) apart, so no uniform structure is missed
    (but those that hold at a single ratio only). No seed has any influence.
    """

    steps: int | None = None
    name: str = "UniformWidths"

    def __post_init__(self) -> None:
        if self.steps is not None:
            check_at_least("UniformWidths", "steps", self.steps, 2)

    def search(self, problem: Problem, session: Session) -> None:
        """Propose the uniform structures until there is no other one."""
        space = problem.bound_space
        proposed = Proposed(space)
        session.evaluate(proposed.take(np.stack([space.smallest(), space.full()])))
        levels = self._refined(problem) if self.steps is None else self._stepped(space)
        for points in levels:
            fresh = proposed.take(points)
            if len(fresh):
                session.evaluate(fresh)

    def _stepped(self, space: BoundSpace) -> Iterator[npt.NDArray[np.float64]]:
        """Give the points of a fixed number of ratios between the ends."""
        ratios = np.linspace(0.0, 1.0, self.steps or 2)[1:-1]
        if len(ratios):
            yield space.uniform(ratios)

    def _refined(self, problem: Problem) -> Iterator[npt.NDArray[np.float64]]:
        """Give points at the middle of each span of ratios, then of each half, and so on."""
        space = problem.bound_space
        shortest = shortest_span(problem.graph)
        starts, length = np.zeros(1), 1.0
        while len(starts) and length > shortest:
            length /= 2
            points = _uniform(space, starts + length)
            yield points
            before = space.widths(_uniform(space, np.maximum(starts, shortest / 2)))
            middle = space.widths(points)
            after = space.widths(_uniform(space, starts + 2 * length))
            starts = np.sort(
                np.concatenate(
                    [
                        starts[(before != middle).any(axis=1)],
                        (starts + length)[(middle != after).any(axis=1)],
                    ]
                )
            )


def _uniform(space: BoundSpace, ratios: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return uniform points, a few at a time: a space may compare each with every width."""
    parts = [space.uniform(ratios[at : at + 128]) for at in range(0, len(ratios), 128)]
    return np.concatenate(parts)
