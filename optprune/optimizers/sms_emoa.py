"""SMS-EMOA of pymoo: survival by what a member adds to the hypervolume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optprune.optimizers.pymoo_evolution import PymooEvolution

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["SMSEMOA"]


@dataclass(frozen=True)
class SMSEMOA(PymooEvolution):
    """Evolve a population towards the front by each member's share of the hypervolume.

    With constraints, on integer, binary and continuous spaces. The last front that survives loses,
    one after another, the member that adds least to the hypervolume: it directly raises the number
    by which fronts are compared, and rewards knees. For two or three objectives; the exact shares
    become dear with more (use `NSGA3`).

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
    As in pymoo a whole population of offspring is made and evaluated at once, where the paper makes
    one child at a time. Objectives are scaled by their ranges among the feasible members of old and
    new; the reference point lies ten ranges beyond the worst values, so extreme members stay.

    References
    ----------
    N. Beume, B. Naujoks, M. Emmerich. SMS-EMOA: multiobjective selection based on dominated
    hypervolume. European Journal of Operational Research 181(3), 2007.
    doi:10.1016/j.ejor.2006.08.008.
    """

    name: str = "SMSEMOA"

    def _algorithm(
        self,
        problem: Problem,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        common: dict[str, Any],
    ) -> Any:
        from pymoo.algorithms.moo.sms import SMSEMOA as PymooSMSEMOA

        # Its own scaling takes the stand-in values of infeasible members for the worst there are;
        # without it survival scales by the feasible ones.
        return PymooSMSEMOA(normalize=False, **common)
