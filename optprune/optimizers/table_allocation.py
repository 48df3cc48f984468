"""Allocation from tables: what each group loses at each width, as a separable objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from optprune.allocation import TableProgram
from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.optimizers.allocating import Allocating, Solve
from optprune.optimizers.calibration import Calibration
from optprune.optimizers.loss_tables import LossTables, ScoreLosses, tables_of

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session
    from optprune.surgery import CostPolynomial

__all__ = ["CompensationAllocation", "TableAllocation"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TableAllocation(Allocating):
    r"""Give each group the width at which the losses of all groups add up to least.

    Parameters
    ----------
    targets : tuple of float, default (0.7, 0.5, 0.3)
        Fractions of the dense network's cost to reach, in (0, 1); each gives one structure.
    cost : {"macs", "parameters", "activation_bytes", "latency"}
        What the targets are fractions of.
    floor : float, default 0.0
        The least keep-ratio of a group, as a fraction of the one that all groups would have in
        common, in [0, 1].
    tables : LossTables or sequence of array_like, default ScoreLosses()
        What each group loses at each width: `ScoreLosses` (what a score predicts), `ScanLosses`
        (what a sensitivity scan measured), `ProjectionLosses` (the distance from dense); a function
        of the problem; or the tables, one for each group, of shape (width + 1,), of which entry k
        is the loss with k units kept. Infinity rules a width out.
    combine : {"sum", "log"}
        Whether losses are added up as they are, or as :math:`-\log(1 - E)`, with E relative to
        what is lost without the whole group: shares that remain are multiplied then, as they are
        when each group passes on what the one before has left.
    calibration : Calibration, optional
        Scales each group's table, after `combine`, to what is measured when the group alone is
        narrowed. It costs evaluations; without it nothing is evaluated to find the widths.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter cannot be used; in a search, if the tables do not fit the groups (the group
        is named), or the calibration cannot be measured.
    GraphMismatchError
        In a search, if a scan belongs to another network.
    InfeasibleError
        In a search, if no structure of the space is that small; it says how small the narrowest is.

    Notes
    -----
    `optprune.allocation.TableProgram` minimizes the sum over the groups, for any network: by its
    convex envelope in the logarithms of the widths, and by elimination along the graph of the costs
    where that is small enough; `allocate` returns the certified gap. `GlobalSelection` descends on
    the same tables greedily.
    """

    tables: LossTables | Sequence[npt.ArrayLike] = field(default_factory=ScoreLosses)
    combine: Literal["sum", "log"] = "sum"
    calibration: Calibration | None = None
    name: str = "TableAllocation"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.tables):
            # Tuples of floats: configurations compare, and are written out whole.
            object.__setattr__(self, "tables", _as_tuples(self.tables))
        if self.combine not in ("sum", "log"):
            raise ArgumentError(
                f"{type(self).__name__}: `combine` must be 'sum' or 'log', not {self.combine!r}."
            )
        if not isinstance(self.calibration, Calibration | None):
            raise ArgumentTypeError(
                f"{type(self).__name__}: `calibration` must be a Calibration, such as "
                f"op.optimizers.Calibration(), or None; got {self.calibration!r}."
            )

    def losses(self, problem: Problem, session: Session | None = None) -> list[_Floats]:
        """Return the tables that are added up, combined and calibrated.

        Parameters
        ----------
        problem : Problem
            Its network, space and score; with a calibration its recovery and metrics too.
        session : Session, optional
            Of a search, to which the evaluations of a calibration are charged.

        Returns
        -------
        list of ndarray of float64, shape (width + 1,)
            For each group the loss with every number of units. A `TableAllocation` takes them as
            its `tables`.
        """
        tables = tables_of(type(self).__name__, self.tables, problem)
        if self.combine == "log":
            names = [group.name for group in problem.graph.groups]
            tables = [_multiplied(*each) for each in zip(names, tables, strict=True)]
        if self.calibration is None:
            return tables
        factors = self.calibration.factors(problem, tables, session)
        return [factor * table for factor, table in zip(factors, tables, strict=True)]

    def program(self, problem: Problem, costs: Mapping[str, CostPolynomial]) -> Solve:
        """Make the program of a problem; see `Allocating.program`."""
        tables = self.losses(problem)
        if not self.floor:
            return self._made(problem, costs, tables, problem.bound_space.options).solve
        return lambda budgets: self._made(
            problem, costs, tables, self._options(problem, costs, budgets)
        ).solve(budgets)

    def search(self, problem: Problem, session: Session) -> None:
        """Evaluate what the calibration needs, then the structure of every target."""
        if self.calibration is None:
            super().search(problem, session)
            return
        tables = self.losses(problem, session)
        replace(self, tables=tables, combine="sum", calibration=None).search(problem, session)

    def _made(
        self,
        problem: Problem,
        costs: Mapping[str, CostPolynomial],
        tables: Sequence[_Floats],
        options: Sequence[npt.NDArray[np.int64]],
    ) -> TableProgram:
        """Make the program of some widths, those left out of which the loss is infinite."""
        allowed, losses = [], []
        for group, widths, table in zip(problem.graph.groups, options, tables, strict=True):
            finite = widths[np.isfinite(table[widths])]
            if not len(finite):
                raise ArgumentError(
                    f"{type(self).__name__}: the table of group {group.name!r} is infinite at all "
                    f"widths that it may have ({widths[0]} to {widths[-1]}); leave it one."
                )
            allowed.append(finite)
            losses.append(table[finite])
        return TableProgram(costs, allowed, losses)


@dataclass(frozen=True)
class CompensationAllocation(Allocating):
    """Give each group the width at which the losses that the score predicts add up to least.

    `TableAllocation` with the tables of the problem's own score, without an evaluation. With
    `optprune.scores.Compensation` the loss is what least squares cannot make up for, from one pass
    over unlabelled samples.

    Parameters
    ----------
    targets : tuple of float, default (0.7, 0.5, 0.3)
        Fractions of the dense network's cost to reach, in (0, 1); each gives one structure.
    cost : {"macs", "parameters", "activation_bytes", "latency"}
        What the targets are fractions of.
    floor : float, default 0.0
        The least keep-ratio of a group, as a fraction of the one that all groups would have in
        common, in [0, 1].
    combine : {"sum", "log"}
        How losses are added up, see `TableAllocation`.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter cannot be used.
    InfeasibleError
        In a search, if no structure of the space is that small; it says how small the narrowest is.
    """

    combine: Literal["sum", "log"] = "sum"
    name: str = "CompensationAllocation"

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self._of_tables

    @property
    def _of_tables(self) -> TableAllocation:
        return TableAllocation(self.targets, self.cost, self.floor, combine=self.combine)

    def program(self, problem: Problem, costs: Mapping[str, CostPolynomial]) -> Solve:
        """Make the program of a problem; see `Allocating.program`."""
        return self._of_tables.program(problem, costs)


def _multiplied(group: str, losses: _Floats) -> _Floats:
    """Return the table of which sums are the logarithms of products of remaining shares."""
    whole = losses[0]
    if not np.isfinite(whole):
        raise ArgumentError(
            f"TableAllocation: `combine='log'` takes losses relative to that without the whole "
            f"group, which is infinite for {group!r}; give a number for no units kept."
        )
    if whole <= 0:
        return losses
    least = np.finfo(np.float64).eps
    remaining = np.maximum(1 - losses / whole, least)
    return np.where(np.isfinite(losses), -np.log(remaining), np.inf)


def _as_tuples(tables: object) -> tuple[tuple[float, ...], ...]:
    """Return tables as tuples of floats."""
    try:
        if isinstance(tables, str | bytes | Mapping):
            raise TypeError("not a list of tables")
        return tuple(tuple(map(float, table)) for table in tables)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            "TableAllocation: `tables` must be a function of the problem, such as "
            "op.optimizers.ScoreLosses(), or a sequence of tables of numbers, one for each group; "
            f"got {tables!r:.80}."
        ) from error
