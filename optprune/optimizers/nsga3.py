"""NSGA-III of pymoo: survivors spread along reference directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optprune.optimizers.parameters import check_at_least
from optprune.optimizers.pymoo_evolution import PymooEvolution
from optprune.optimizers.reference_directions import reference_directions
from optprune.optimizers.tournaments import less_violation, tournaments

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["NSGA3"]


@dataclass(frozen=True)
class NSGA3(PymooEvolution):
    """Evolve a population towards the front, spread along uniform reference directions.

    With constraints, on integer, binary and continuous spaces. For three objectives and more, such
    as error, MACs and activation memory, where crowding distance no longer tells members apart.
    With two objectives `NSGA2` is as good; for one, take `UNSGA3`, `GA` or `NSGA2`.

    Parameters
    ----------
    population, crossover, crossover_eta, mutation, mutation_eta, start, seeded_by, name
        See `NSGA2`.
    partitions : int, optional
        Parts p into which each objective's axis is divided: M objectives give
        ``binomial(p + M - 1, p)`` reference directions. By default as many as the population
        allows; see `reference_directions`.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has one objective only, or
        there are more reference directions than members.

    Notes
    -----
    Variation, and what happens to structures that were proposed before, are as in `NSGA2`. Parents
    meet in tournaments: less violation wins, otherwise chance, drawn from the session's generator.

    References
    ----------
    K. Deb, H. Jain. An evolutionary many-objective optimization algorithm using
    reference-point-based nondominated sorting approach, part I: solving problems with box
    constraints. IEEE Transactions on Evolutionary Computation 18(4), 2014.
    doi:10.1109/TEVC.2013.2281535.

    H. Jain, K. Deb. Part II: handling constraints and extending to an adaptive approach. Ibid.
    doi:10.1109/TEVC.2013.2281534.
    """

    name: str = "NSGA3"
    partitions: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.partitions is not None:
            check_at_least(type(self).__name__, "partitions", self.partitions, 1)

    def _algorithm(
        self,
        problem: Problem,
        session: Session,  # noqa: ARG002
        common: dict[str, Any],
    ) -> Any:
        from pymoo.algorithms.moo.nsga3 import NSGA3 as PymooNSGA3

        return PymooNSGA3(
            reference_directions("NSGA3", problem.n_objectives, self.population, self.partitions),
            selection=tournaments(less_violation),
            **common,
        )
