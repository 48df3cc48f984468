"""Calibration: tables of losses scaled to what narrowing each group alone is measured to cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, OptpruneError, nearest
from optprune.formulation.candidate import Candidate
from optprune.formulation.proposal import Proposal
from optprune.optimizers.parameters import check_fractions
from optprune.search.threads import torch_threads

if TYPE_CHECKING:
    from optprune.formulation import Metric, Problem
    from optprune.search import Session
    from optprune.surgery import Structure

__all__ = ["Calibration"]

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

_LEAST = 0.1
"""The least rise of a group that counts, as a fraction of the median of the positive ones."""


@dataclass(frozen=True)
class Calibration:
    r"""Weighs the tables of losses by how much the network as a whole minds them.

    Each group alone is narrowed, recovered and measured, as in a sensitivity scan, but at one or
    two widths only: its table gives the shape of its loss, the measurement the scale.

    Parameters
    ----------
    keep : tuple of float, default (0.25, 0.5)
        Keep-ratios at which every group is measured, each in (0, 1): one costs half as much, two
        tell more of what narrow groups lose.
    metric : str, optional
        A metric of the problem, by name; the first objective by default. ``"loss"`` tells apart
        what ``"error"`` cannot.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If `keep` is no tuple of fractions; in use, if the problem has no such metric, or it cannot
        be measured with all groups whole.

    Notes
    -----
    Let :math:`t(k)` be what a group's table predicts to be lost more with k units than with the
    whole group, and :math:`r(k)` by how much the metric is worse then, after the problem's own
    recovery. The table is multiplied by the factor of least squares through the origin,

    .. math:: f = \frac{\sum_k t(k) \, r(k)}{\sum_k t(k)^2} .

    Measured is the width of the space nearest to each ratio, below the widest. Of what is fitted to
    a group, the rise at its narrowest measured width counts as at least a tenth of the median of
    all positive ones: less, or a negative one, can be chance, and a group that costs nothing would
    be removed whole. A group that could not be measured, or of which the table predicts no loss
    there, gets the largest factor of the others. Where no rise is positive, nothing can be told,
    and all factors are 1.

    Cost: ``1 + groups × len(keep)`` evaluations, less where ratios round to one width. In a search
    they are proposals like all others: charged as evaluations, with their samples and seconds, kept
    in the journal, rows of the result; one that a constraint on costs stops there is measured
    beside it on the session's meter. Outside of a search, and where the allocation only seeds
    another optimizer, they are counted on the problem's ``setup_meter``. Where the problem's
    recovery is dear, calibrate with another one: `TableAllocation.losses` on a problem with that
    recovery gives tables that can be handed to any other.
    """

    keep: tuple[float, ...] = (0.25, 0.5)
    metric: str | None = None

    def __post_init__(self) -> None:
        check_fractions("Calibration", "keep", self.keep, "a group's units")

    def factors(
        self, problem: Problem, tables: Sequence[_Floats], session: Session | None = None
    ) -> _Floats:
        """Measure, and return what the tables are to be multiplied with.

        Parameters
        ----------
        problem : Problem
            Its network, space, recovery and metrics.
        tables : sequence of ndarray of float64, shape (width + 1,)
            For each group the loss with every number of units.
        session : Session, optional
            Of a search, to which the evaluations are charged.

        Returns
        -------
        ndarray of float64, shape (n_groups,)
            In the metric's unit per unit of the tables; positive.
        """
        metric = self._metric(problem)
        widest = problem.bound_space.widest
        groups, widths = self._narrowed(problem, tables)
        narrowed = np.tile(widest, (len(groups) + 1, 1))
        narrowed[np.arange(len(groups)) + 1, groups] = widths
        structures = problem.bound_space.decode(problem.bound_space.keeping(narrowed))
        values, reasons = _measured(problem, metric, structures, session)
        if not math.isfinite(values[0]):
            raise ArgumentError(
                f"Calibration compares with the structure in which all groups are whole, of which "
                f"the metric {metric.name!r} cannot be measured: {reasons[0]}."
            )
        predicted = np.array(
            [
                max(tables[group][width] - tables[group][widest[group]], 0.0)
                for group, width in zip(groups, widths, strict=True)
            ]
        )
        return _fitted(groups, predicted, metric.sign * (values[1:] - values[0]), len(widest))

    def _metric(self, problem: Problem) -> Metric:
        """Return the metric that is measured."""
        if self.metric is None:
            return problem.objectives[0]
        known = {metric.name: metric for metric in problem.metrics}
        if self.metric not in known:
            raise ArgumentError(
                f"Calibration: `metric` must be one that the problem measures, {', '.join(known)}; "
                f"got {self.metric!r}.{nearest(str(self.metric), known)}"
            )
        return known[self.metric]

    def _narrowed(self, problem: Problem, tables: Sequence[_Floats]) -> tuple[_Ints, _Ints]:
        """Return which groups are narrowed to which widths, of equal length."""
        found: set[tuple[int, int]] = set()
        for group, (allowed, table) in enumerate(
            zip(problem.bound_space.options, tables, strict=True)
        ):
            narrower = allowed[:-1][np.isfinite(table[allowed[:-1]])]
            for ratio in self.keep if len(narrower) else ():
                wanted = ratio * problem.graph.widths[group]
                found.add((group, int(narrower[np.abs(narrower - wanted).argmin()])))
        pairs = np.array(sorted(found), dtype=np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]


def _fitted(groups: _Ints, predicted: _Floats, rises: _Floats, n_groups: int) -> _Floats:
    """Return the factor of every group.

    Parameters
    ----------
    groups : ndarray of int64, shape (n_measured,)
        The group of every measurement.
    predicted : ndarray of float64, shape (n_measured,)
        What its table predicts, not negative.
    rises : ndarray of float64, shape (n_measured,)
        What was measured; NaN where it could not be.
    n_groups : int
        Number of groups.

    Returns
    -------
    ndarray of float64, shape (n_groups,)
    """
    known = np.isfinite(rises)
    moment, square, largest = np.zeros(n_groups), np.zeros(n_groups), np.zeros(n_groups)
    np.add.at(moment, groups[known], (predicted * rises)[known])
    np.add.at(square, groups[known], (predicted**2)[known])
    np.maximum.at(largest, groups[known], predicted[known])
    told = square > 0
    fitted = largest * np.divide(moment, square, out=np.zeros(n_groups), where=told)
    positive = fitted[fitted > 0]
    if not len(positive):
        return np.ones(n_groups)
    counted = np.maximum(fitted, _LEAST * float(np.median(positive)))
    factors = np.divide(counted, largest, out=np.zeros(n_groups), where=told)
    return np.where(told, factors, factors.max())


def _measured(
    problem: Problem, metric: Metric, structures: list[Structure], session: Session | None
) -> tuple[_Floats, list[str]]:
    """Measure a metric on structures, NaN where that fails; return the values and the reasons."""
    values = np.full(len(structures), np.nan)
    reasons = [""] * len(structures)
    failed = np.zeros(len(structures), dtype=np.bool_)
    if session is not None:
        found = session.evaluate(structures)
        rows = session.rows
        values = np.array([rows[index].metrics[metric.name] for index in found.rows])
        reasons, failed = list(found.reasons), found.failed
    meter = problem.setup_meter if session is None else session.meter
    seed = 0 if session is None else session.seed
    # as in every worker of an executor: to the bit what a search measures
    with torch_threads(1):
        for at in np.flatnonzero(np.isnan(values) & ~failed):
            try:
                values[at] = metric(Candidate(problem, Proposal(structures[at]), seed, meter))
            except OptpruneError as error:
                reasons[at] = str(error)
    return values, reasons
