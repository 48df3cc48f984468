"""What a session hands back to an optimizer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optprune.surgery.structure import Structure

__all__ = ["Evaluations"]


@dataclass(frozen=True, eq=False)
class Evaluations:
    """The evaluations of one batch, in the order proposed.

    Parameters
    ----------
    points : ndarray of float64, shape (n, n_variables), or None
        The points as proposed; None when structures or proposals were handed in.
    structures : tuple of Structure
        What the points decode to, of length n.
    objectives : ndarray of float64, shape (n, n_objectives)
        In natural units and directions; NaN where an objective was not measured.
    violations : ndarray of float64, shape (n, n_constraints)
        Finite and ≥ 0, relative to the bound; 0 where a constraint was not measured.
    failed : ndarray of bool, shape (n,)
        True where something raised or gave a value that is not finite.
    reasons : tuple of str
        Why a row failed or which constraint it breaks; empty for feasible rows.
    rows : ndarray of int64, shape (n,)
        Index of each row in the run; duplicates share one.
    """

    points: npt.NDArray[np.float64] | None
    structures: tuple[Structure, ...]
    objectives: npt.NDArray[np.float64]
    violations: npt.NDArray[np.float64]
    failed: npt.NDArray[np.bool_]
    reasons: tuple[str, ...]
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.structures)

    @property
    def feasible(self) -> npt.NDArray[np.bool_]:
        """True where everything was measured and no constraint is broken, shape (n,)."""
        satisfied: npt.NDArray[np.bool_] = (self.violations == 0.0).all(axis=1)
        return satisfied & ~self.failed
