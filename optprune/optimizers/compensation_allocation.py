"""Allocation from tables: what each group loses at each width, as a separable objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from optprune.allocation import TableProgram
from optprune.errors import ArgumentError
from optprune.optimizers.allocating import Allocating, Solve
from optprune.optimizers.predicted_loss import predicted_losses

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.surgery import CostPolynomial

__all__ = ["CompensationAllocation"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CompensationAllocation(Allocating):
    r"""Give each group the width at which the losses that the score predicts add up to least.

    The tables "group and width: loss" come from the problem's score, without an evaluation. With
    `optprune.scores.Compensation` the loss is what least squares cannot make up for, from one pass
    over unlabelled samples.

    Parameters
    ----------
    targets : tuple of float, default (0.7, 0.5, 0.3)
        Fractions of the dense network's cost to reach, in (0, 1); each gives one structure.
    cost : {"macs", "parameters", "activation_bytes", "latency"}
        What the targets are fractions of.
    combine : {"sum", "log"}
        Whether losses are added up as they are, or as :math:`-\log(1 - E)`, with E relative to
        what is lost without the whole group: shares that remain are multiplied then, as they are
        when each group passes on what the one before has left.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter cannot be used.
    InfeasibleError
        In a search, if no structure of the space is that small; it says how small the narrowest is.

    Notes
    -----
    `optprune.allocation.TableProgram` minimizes the sum over the groups, for any network: by its
    convex envelope in the logarithms of the widths, and by elimination along the graph of the costs
    where that is small enough; `allocate` returns the certified gap. `GlobalSelection` descends on
    the same tables greedily.
    """

    combine: Literal["sum", "log"] = "sum"
    name: str = "CompensationAllocation"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.combine not in ("sum", "log"):
            raise ArgumentError(
                f"CompensationAllocation: `combine` must be 'sum' or 'log', not {self.combine!r}."
            )

    def program(self, problem: Problem, costs: Mapping[str, CostPolynomial]) -> Solve:
        """Make the program of a problem; see `Allocating.program`."""
        options = problem.bound_space.options
        tables = [self._combined(losses) for losses in predicted_losses(problem)]
        picked = [table[widths] for table, widths in zip(tables, options, strict=True)]
        return TableProgram(costs, options, picked).solve

    def _combined(self, losses: _Floats) -> _Floats:
        """Return the table that is added up."""
        if self.combine == "sum" or losses[0] <= 0:
            return losses
        least = np.finfo(np.float64).eps
        return np.asarray(-np.log(np.maximum(1 - losses / losses[0], least)), dtype=np.float64)
