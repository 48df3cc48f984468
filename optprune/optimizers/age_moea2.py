"""AGE-MOEA-II of pymoo: survival by the geometry of the front."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from optprune.errors import MissingDependencyError
from optprune.optimizers.pymoo_evolution import PymooEvolution

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["AGEMOEA2"]


@dataclass(frozen=True)
class AGEMOEA2(PymooEvolution):
    """Evolve a population towards the front by distances along the front's estimated surface.

    With constraints, on integer, binary and continuous spaces. The front is taken for a surface
    ``Σ f^p = 1`` whose curvature p is estimated in each generation; members survive by nearness to
    the ideal point and distance to their neighbors along that surface. It needs no reference
    directions; for two objectives or more.

    Parameters
    ----------
    population, crossover, crossover_eta, mutation, mutation_eta, start, seeded_by, name
        See `NSGA2`.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has one objective only.
    MissingDependencyError
        If numba is not installed.

    Notes
    -----
    pymoo compiles the distances by numba, which takes some seconds in a new process.

    References
    ----------
    A. Panichella. An improved Pareto front modeling algorithm for large-scale many-objective
    optimization. GECCO 2022. doi:10.1145/3512290.3528732.
    """

    name: str = "AGEMOEA2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if find_spec("numba") is None:
            raise MissingDependencyError(
                "AGEMOEA2 needs numba, which is not installed: pip install numba. Without it, "
                "SMSEMOA and NSGA3 do alike."
            )

    def _algorithm(
        self,
        problem: Problem,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        common: dict[str, Any],
    ) -> Any:
        from pymoo.algorithms.moo.age2 import AGEMOEA2 as PymooAGEMOEA2

        return PymooAGEMOEA2(**common)
