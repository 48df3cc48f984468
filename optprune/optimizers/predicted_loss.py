"""What a score predicts to be lost at each width of each group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from optprune.formulation import Problem

__all__ = ["predicted_losses"]


def predicted_losses(problem: Problem) -> list[npt.NDArray[np.float64]]:
    """Return, for each group, the loss predicted for every number of units that stay.

    Parameters
    ----------
    problem : Problem
        Its space says which score.

    Returns
    -------
    list of ndarray of float64, shape (width + 1,)
        Entry k belongs to the k best units; it falls with k, to 0 for the whole group. The score of
        the best unit that leaves where the score says so (``additive = False``, as
        `optprune.scores.Compensation` does), else the sum of the scores of all that leave; negative
        scores count as 0.
    """
    additive = getattr(problem.space.score, "additive", True)
    found = []
    for group in problem.graph.groups:
        values = np.maximum(np.sort(problem.importance[group.slice])[::-1], 0.0)
        left = np.cumsum(values[::-1])[::-1] if additive else values
        found.append(np.append(left, 0.0))
    return found
