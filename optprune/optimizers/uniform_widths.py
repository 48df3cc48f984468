"""The uniform sweep: every group keeps the same share of its units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.optimizers.parameters import check_at_least
from optprune.optimizers.proposed import Proposed

if TYPE_CHECKING:
    from optprune.formulation import Problem
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
    anywhere, the ratios so far are spread evenly. No seed has any influence. The refinement ends
    where neighbors differ by less than a quarter of a unit of the widest group; all but the
    shortest-lived uniform structures have been met by then.
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
        ends = proposed.take(np.stack([space.smallest(), space.full()]))
        session.evaluate(ends)
        for ratios in self._levels(widest=int(problem.graph.widths.max())):
            fresh = proposed.take(space.uniform(ratios))
            if len(fresh):
                session.evaluate(fresh)

    def _levels(self, widest: int) -> Iterator[npt.NDArray[np.float64]]:
        """Give the ratios between the ends, one refinement at a time."""
        if self.steps is not None:
            if self.steps == 2:
                return
            yield np.linspace(0.0, 1.0, self.steps)[1:-1]
            return
        parts = 2
        while parts < 8 * widest:
            yield np.arange(1, parts, 2) / parts
            parts *= 2
