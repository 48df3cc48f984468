"""SPEA2 of pymoo: survival by strength and nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optprune.optimizers.pymoo_evolution import PymooEvolution

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["SPEA2"]


@dataclass(frozen=True)
class SPEA2(PymooEvolution):
    """Evolve a population towards the front by strength of dominators and nearest neighbors.

    With constraints, on integer, binary and continuous spaces. A member's fitness counts how many
    others its dominators dominate; where too many are non-dominated, the one with the nearest
    neighbor goes first, which spaces two or three objectives more evenly than crowding distance.

    Parameters
    ----------
    population, crossover, crossover_eta, mutation, mutation_eta, start, seeded_by, name
        See `NSGA2`.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has one objective only.

    Notes
    -----
    Distances are taken between objectives scaled by an estimate of the front's ideal and nadir
    points. Infeasible members fill what feasible ones leave empty, in the order of their
    violations. Truncation costs O(population³).

    References
    ----------
    E. Zitzler, M. Laumanns, L. Thiele. SPEA2: improving the strength Pareto evolutionary algorithm.
    TIK report 103, ETH Zürich, 2001. doi:10.3929/ethz-a-004284029.
    """

    name: str = "SPEA2"

    def _algorithm(
        self,
        problem: Problem,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        common: dict[str, Any],
    ) -> Any:
        from pymoo.algorithms.moo.spea2 import SPEA2 as PymooSPEA2
        from pymoo.algorithms.moo.spea2 import SPEA2Survival

        # pymoo's default survival is one object for all runs of a process, and it remembers.
        return PymooSPEA2(survival=SPEA2Survival(normalize=True), **common)
