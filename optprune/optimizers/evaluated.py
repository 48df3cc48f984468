"""What a search has evaluated: solvers that come back to a point get its values at once.

A distribution that narrows, or a walk in a small neighborhood, meets known structures again and
again. They cost nothing here, and do not count as idle proposals of the session either: it is the
solver's adapter that sees how long nothing new has come, and starts afresh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.optimizers.proposed import Proposed
from optprune.search import to_minimization

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session
    from optprune.surgery import Structure

__all__ = ["FAILED", "INFEASIBLE", "Evaluated", "in_one_number"]

_Floats = npt.NDArray[np.float64]

INFEASIBLE = 1e20
"""An infeasible point counts this, times one plus its violations; a feasible one always less."""

FAILED = 1e60
"""A failed point counts this: more than any violation makes of `INFEASIBLE`."""


class Evaluated:
    """The values of the structures that a search has evaluated, and the way to new ones.

    Parameters
    ----------
    problem : Problem
        What is searched.
    session : Session
        Evaluates what is new.

    Attributes
    ----------
    proposed : Proposed
        All that was evaluated, to draw what was not.
    idle : int
        Points asked for since one of them was new.
    """

    def __init__(self, problem: Problem, session: Session) -> None:
        self._problem = problem
        self._session = session
        self._rows: dict[Structure, int] = {}
        self._objectives: list[_Floats] = []
        self._violations: list[float] = []
        self._failed: list[bool] = []
        self.proposed = Proposed(problem.bound_space)
        self.idle = 0

    def __len__(self) -> int:
        """Count the structures evaluated."""
        return len(self._rows)

    def __call__(self, points: _Floats) -> tuple[_Floats, _Floats, npt.NDArray[np.bool_]]:
        """Return the values of points; evaluate those whose structure is new, as one batch.

        Parameters
        ----------
        points : ndarray of float64, shape (n, n_variables)
            Points of the space.

        Returns
        -------
        objectives : ndarray of float64, shape (n, n_objectives)
            To be minimized, as from `optprune.search.to_minimization`.
        violations : ndarray of float64, shape (n,)
            Their sum over the constraints.
        failed : ndarray of bool, shape (n,)
            Which could not be measured.
        """
        structures = self._problem.bound_space.decode(points)
        fresh: dict[Structure, int] = {}
        for position, structure in enumerate(structures):
            if structure not in self._rows:
                fresh.setdefault(structure, position)
        self.idle = 0 if fresh else self.idle + len(points)
        if fresh:
            new = points[list(fresh.values())]
            self.proposed.take(new)
            evaluations = self._session.evaluate(new)
            objectives, violations = to_minimization(self._problem, evaluations)
            for structure in fresh:
                self._rows[structure] = len(self._rows)
            self._objectives.extend(objectives)
            self._violations.extend(violations.sum(axis=1).tolist())
            self._failed.extend(evaluations.failed.tolist())
        rows = [self._rows[structure] for structure in structures]
        return (
            np.array([self._objectives[row] for row in rows]),
            np.array([self._violations[row] for row in rows]),
            np.array([self._failed[row] for row in rows], dtype=np.bool_),
        )

    def scalars(self, points: _Floats) -> _Floats:
        """Return the only objective of points as one number each; see `in_one_number`."""
        return in_one_number(*self(points))

    def spread(self) -> float:
        """Return the standard deviation of the first objective over all feasible points.

        1.0 where there are fewer than two different values.
        """
        values = [
            float(objectives[0])
            for objectives, violation, failed in zip(
                self._objectives, self._violations, self._failed, strict=True
            )
            if violation == 0 and not failed
        ]
        deviation = float(np.std(values)) if values else 0.0
        return deviation if deviation > 0 else 1.0


def in_one_number(
    objectives: _Floats, violations: _Floats, failed: npt.NDArray[np.bool_]
) -> _Floats:
    """Return numbers that put the feasible first.

    Parameters
    ----------
    objectives : ndarray of float64, shape (n, 1)
        To be minimized.
    violations : ndarray of float64, shape (n,)
        Their sum.
    failed : ndarray of bool, shape (n,)
        Which could not be measured.

    Returns
    -------
    ndarray of float64, shape (n,)
        Finite. Feasible points keep their objective, cut off at ±1e20; infeasible ones have more
        than any feasible one, and the more the more they violate; failed ones have the most.
    """
    values = np.clip(objectives[:, 0], -INFEASIBLE, INFEASIBLE)
    values = np.where(violations > 0, INFEASIBLE * (1.0 + violations), values)
    return np.where(failed, FAILED, values)
