"""Points with a fitness, as DEAP's operators expect them, under Deb's feasibility rules."""

from __future__ import annotations

from collections.abc import Sequence
from operator import ge
from typing import Any

__all__ = ["Member", "fitness_type"]


class Member(list[float]):
    """A point with its fitness: a list, because slices of arrays are views."""

    def __init__(self, point: Sequence[float], fitness: Any) -> None:
        super().__init__(point)
        self.fitness = fitness


def fitness_type(n_objectives: int) -> Any:
    """Return a DEAP fitness for minimization under Deb's rules.

    Made here rather than by ``deap.creator``, whose types are global.
    """
    from deap import base

    class DebFitness(base.Fitness):  # type: ignore[misc]
        """Compares by violation first, then by the objectives (by their order, if several)."""

        weights = (-1.0,) * n_objectives

        def __init__(self, values: Sequence[float] = (), violation: float = 0.0) -> None:
            super().__init__(tuple(float(value) for value in values))
            self.violation = float(violation)
            self._key = (-self.violation, *self.wvalues)

        def dominates(self, other: DebFitness, obj: slice = slice(None)) -> bool:
            if self.violation != other.violation:
                return self.violation < other.violation
            # Sorting calls this most of the time: DEAP's own loop would take three times as long.
            mine, theirs = self.wvalues[obj], other.wvalues[obj]
            return mine != theirs and all(map(ge, mine, theirs))

        def __hash__(self) -> int:
            return hash(self._key)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, DebFitness) and self._key == other._key

        def __le__(self, other: DebFitness) -> bool:
            return self._key <= other._key

        def __lt__(self, other: DebFitness) -> bool:
            return self._key < other._key

    return DebFitness
