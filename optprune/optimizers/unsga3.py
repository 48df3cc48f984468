"""U-NSGA-III of pymoo: NSGA-III for one objective, several or many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from optprune.optimizers.parameters import check_at_least
from optprune.optimizers.pymoo_evolution import PymooEvolution
from optprune.optimizers.reference_directions import reference_directions
from optprune.optimizers.tournaments import better_in_niche, tournaments

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["UNSGA3"]


@dataclass(frozen=True)
class UNSGA3(PymooEvolution):
    """Evolve a population towards the front, with parents that win within their direction.

    `NSGA3` in which parents of one reference direction compete: by front, then by distance to the
    direction. That presses harder towards the front, and makes it a method for one objective, two
    and many alike. With constraints, on integer, binary and continuous spaces.

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
        If a parameter is outside its range; in a search, if there are more reference directions
        than members.

    Notes
    -----
    Variation, and what happens to structures that were proposed before, are as in `NSGA2`. The
    competition needs several members for each direction: with as many directions as members (the
    default with two objectives) it rarely happens; give fewer `partitions`.

    References
    ----------
    H. Seada, K. Deb. A unified evolutionary optimization procedure for single, multiple, and many
    objectives. IEEE Transactions on Evolutionary Computation 20(3), 2016.
    doi:10.1109/TEVC.2015.2459718.
    """

    objectives: ClassVar[Literal["one", "several", "any"]] = "any"

    name: str = "UNSGA3"
    partitions: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.partitions is not None:
            check_at_least("UNSGA3", "partitions", self.partitions, 1)

    def _algorithm(
        self,
        problem: Problem,
        session: Session,  # noqa: ARG002
        common: dict[str, Any],
    ) -> Any:
        from pymoo.algorithms.moo.unsga3 import UNSGA3 as PymooUNSGA3

        return PymooUNSGA3(
            reference_directions("UNSGA3", problem.n_objectives, self.population, self.partitions),
            selection=tournaments(better_in_niche),
            **common,
        )
