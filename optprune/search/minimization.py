"""Evaluations as the finite arrays that solver libraries minimize."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.search.evaluations import Evaluations

if TYPE_CHECKING:
    from optprune.formulation import Problem

__all__ = ["WORST", "signs", "to_minimization"]

WORST = 1e30
"""Stands for the value of an objective or a violation that is unknown: worse than any measured."""

_LARGEST = 1e15
"""Measured violations are cut off here, so that a failure stays worse than any of them."""


def signs(problem: Problem) -> npt.NDArray[np.float64]:
    """Return +1 for objectives to minimize and -1 for those to maximize, shape (n_objectives,)."""
    return np.array([metric.sign for metric in problem.objectives])


def to_minimization(
    problem: Problem, evaluations: Evaluations
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Turn evaluations into objectives to minimize and violations to drive to zero.

    Parameters
    ----------
    problem : Problem
        Gives the directions of the objectives.
    evaluations : Evaluations
        What the session returned for n proposals.

    Returns
    -------
    objectives : ndarray of float64, shape (n, n_objectives)
        Finite; maximized objectives are negated. Objectives that were not measured are `WORST`;
        a failed row is `WORST` in all of them.
    violations : ndarray of float64, shape (n, n_constraints)
        Finite and ≥ 0; 0 means that the constraint holds. A failed row is `WORST` in all of them.

    Notes
    -----
    A row stopped by a violated constraint has a violation > 0, so feasibility-first selection
    never looks at its missing objectives. The fill is a constant, not the worst of the batch, so
    that rows of different batches compare.
    """
    objectives = evaluations.objectives * signs(problem)
    objectives = np.where(np.isfinite(objectives), objectives, WORST)
    objectives[evaluations.failed] = WORST
    violations = np.clip(evaluations.violations, 0.0, _LARGEST)
    violations[evaluations.failed] = WORST
    return objectives, violations
