"""Tables of losses from a sensitivity scan: what narrowing each group alone has cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError, GraphMismatchError, nearest
from optprune.search import Result

if TYPE_CHECKING:
    import pandas as pd

    from optprune.formulation import Problem

__all__ = ["ScanLosses"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class ScanLosses:
    r"""A group loses what a scan has measured with all other groups whole.

    Parameters
    ----------
    result : Result
        Of `optprune.optimizers.SensitivityScan` on this network, or of any search with rows in
        which one group alone is narrowed; the problem that it was made with may have other
        constraints and another recovery.
    metric : str, optional
        One of its objectives, by name; the first by default. ``"loss"`` tells apart what
        ``"error"`` cannot.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If `result` is none, or `metric` is not one of its objectives; when it is called, if the
        dense network's value is missing, or a group that the space can narrow was not measured.
    GraphMismatchError
        When it is called, if the result belongs to another network, or to other weights.

    Notes
    -----
    The loss of a group is how much worse the metric is than with all groups whole, at least 0; it
    is in the metric's own unit, so that the tables of all groups mean the same. From the whole
    group down each width takes at least the loss of all wider ones (the running maximum), so that
    noise makes no width look better than a wider one. In between it is interpolated linearly.
    Narrower than anything measured, it rises on by the steepest slope between any two neighboring
    widths of the group: not less than it did last, also where the metric has reached its end.
    """

    result: Result
    metric: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.result, Result):
            raise ArgumentTypeError(
                "ScanLosses: `result` must be the Result of a sensitivity scan, as "
                "op.solve(problem, op.optimizers.SensitivityScan(), …) returns it; got "
                f"{self.result!r:.80}."
            )
        objectives = self.result.summary.objectives
        if self._name not in objectives:
            raise ArgumentError(
                f"ScanLosses: `metric` must be one of the scan's objectives, "
                f"{', '.join(objectives)}; got {self.metric!r}."
                f"{nearest(str(self.metric), objectives)}"
            )

    def __repr__(self) -> str:
        scan = self.result
        return (
            f"ScanLosses({scan.configuration}, seed={scan.seed}, rows={len(scan.rows)}, "
            f"problem={scan.summary.fingerprint!r}, metric={self._name!r})"
        )

    def __call__(self, problem: Problem) -> list[_Floats]:
        """Return the tables of a problem on the network of the scan."""
        summary = self.result.summary
        own, scanned = problem.description["network"], summary.description.get("network")
        if own != scanned:
            raise GraphMismatchError(
                f"ScanLosses: `result` belongs to the network {scanned}, the problem to {own}; "
                "scan the network of the problem, with its present weights."
            )
        table = self.result.sensitivity(self._name)
        dense = self._dense(table)
        free = problem.bound_space.narrowest < problem.bound_space.widest
        found = []
        for group in problem.graph.groups:
            curve = table[(table["group"] == group.name) & (table["width"] < group.width)]
            if free[group.index] and not len(curve):
                raise ArgumentError(
                    f"ScanLosses: `result` has no row in which the group {group.name!r} alone is "
                    "narrowed and measured; let the scan have more evaluations and no constraints "
                    "on costs, or freeze the group in the space."
                )
            found.append(
                _completed(
                    curve["width"].to_numpy(np.int64),
                    self._sign * (curve[self._name].to_numpy(np.float64) - dense),
                    group.width,
                )
            )
        return found

    @property
    def _name(self) -> str:
        """The metric's name."""
        return self.result.summary.objectives[0] if self.metric is None else self.metric

    @property
    def _sign(self) -> float:
        """1 if less of the metric is better, -1 if more is."""
        summary = self.result.summary
        return summary.signs[summary.objectives.index(self._name)]

    def _dense(self, table: pd.DataFrame) -> float:
        """Return the metric with all groups whole: as the scan has it, else as it was before."""
        whole = table.loc[table["kept"] == 1.0, self._name]
        value = float(whole.iloc[0]) if len(whole) else self.result.dense.metrics[self._name]
        if not math.isfinite(value):
            raise ArgumentError(
                f"ScanLosses: the dense network's {self._name!r} is missing in `result`: "
                f"{self.result.dense.reason or 'it was not measured'}."
            )
        return value


def _completed(widths: npt.NDArray[np.int64], losses: _Floats, width: int) -> _Floats:
    """Return the losses of all widths from those that were measured.

    Parameters
    ----------
    widths : ndarray of int64, shape (n,)
        Measured widths, ascending, below that of the whole group.
    losses : ndarray of float64, shape (n,)
        Their losses.
    width : int
        That of the whole group, at which nothing is lost.

    Returns
    -------
    ndarray of float64, shape (width + 1,)
    """
    if not len(widths):
        return np.zeros(width + 1)
    known = np.append(widths, width)
    fallen = np.maximum.accumulate(np.append(losses, 0.0)[::-1])[::-1]
    table = np.interp(np.arange(width + 1), known, fallen)
    steepest = float((-np.diff(fallen) / np.diff(known)).max())
    below = np.arange(known[0])
    table[below] = fallen[0] + steepest * (known[0] - below)
    return np.asarray(table, dtype=np.float64)
