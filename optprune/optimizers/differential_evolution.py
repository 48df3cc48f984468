"""Differential evolution of pymoo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.optimizers.parameters import check_number, check_probability
from optprune.optimizers.pymoo_moves import PymooMoves

if TYPE_CHECKING:
    from optprune.formulation import Problem

__all__ = ["DifferentialEvolution"]


@dataclass(frozen=True)
class DifferentialEvolution(PymooMoves):
    """Move members by differences of other members; a trial replaces its own parent.

    For one objective, with constraints, on integer and continuous spaces. Steps are as long as the
    population is wide, in each direction by itself, so there is no step size to set. Slow and
    sure: for rugged objectives and a budget of many generations.

    Parameters
    ----------
    population : int
        Members; a trial is made for each in a generation.
    start, seeded_by, name
        See `NSGA2`.
    base : {"rand", "best"}
        The member that the difference is added to: a random one, or the best, which is faster and
        gets stuck more easily.
    weight : float
        What differences are multiplied by, in (0, 2].
    crossover : float
        The probability that a variable is taken from the moved point rather than from the parent.
    mutation : float
        The probability that a trial is mutated polynomially besides.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has several objectives or
        its space consists of bits.

    Notes
    -----
    A feasible trial beats an infeasible parent, less violation beats more. Whole numbers are moved
    as real ones and rounded where they are evaluated. Trials whose structure is known cost
    nothing; the session ends a search that proposes nothing new for a while.

    References
    ----------
    R. Storn, K. Price. Differential evolution: a simple and efficient heuristic for global
    optimization over continuous spaces. Journal of Global Optimization 11, 1997.
    doi:10.1023/A:1008202821328.
    """

    population: int = 16
    name: str = "DifferentialEvolution"
    base: Literal["rand", "best"] = "rand"
    weight: float = 0.5
    crossover: float = 0.9
    mutation: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        owner = "DifferentialEvolution"
        if self.base not in ("rand", "best"):
            raise ArgumentError(f"{owner}: `base` must be 'rand' or 'best', not {self.base!r}.")
        if not 0 < check_number(owner, "weight", self.weight) <= 2:
            raise ArgumentError(f"{owner}: `weight` must be in (0, 2], not {self.weight!r}.")
        check_probability(owner, "crossover", self.crossover)
        check_probability(owner, "mutation", self.mutation)

    def _algorithm(
        self,
        problem: Problem,  # noqa: ARG002
        points: npt.NDArray[np.float64],
    ) -> Any:
        from pymoo.algorithms.soo.nonconvex.de import DE, Variant
        from pymoo.operators.control import NoParameterControl

        variant = Variant(
            selection=self.base,
            F=self.weight,
            CR=self.crossover,
            prob_mut=self.mutation,
            control=NoParameterControl,
        )
        return DE(pop_size=len(points), sampling=points, variant=variant)
