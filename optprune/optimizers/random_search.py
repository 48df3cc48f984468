"""Random search: the baseline that every other optimizer must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from optprune.optimizers.parameters import check_at_least
from optprune.optimizers.proposed import Proposed

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["Random"]


@dataclass(frozen=True)
class Random:
    """Draw structures independently, as the space draws them, and none of them twice.

    Parameters
    ----------
    batch : int
        Points handed over at once.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If `batch` is not a whole number of at least 1.

    Notes
    -----
    Ends by itself when a finite space is used up.

    References
    ----------
    J. Bergstra, Y. Bengio. Random search for hyper-parameter optimization. JMLR 13, 2012.
    """

    batch: int = 16
    name: str = "Random"

    def __post_init__(self) -> None:
        check_at_least("Random", "batch", self.batch, 1)

    def search(self, problem: Problem, session: Session) -> None:
        """Propose random points until the session ends the search or the space is used up."""
        proposed = Proposed(problem.bound_space)
        while len(points := proposed.draw(session.generator, self.batch)):
            session.evaluate(points)
