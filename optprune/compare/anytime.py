"""How good a run had become at what cost: its best value, or its hypervolume.

A run is a step function of its cost, which never gets worse: the best feasible value of one
objective, or the hypervolume of several. It holds from the evaluation that brought it and goes on
after the run has ended, so that a method of three evaluations stands at its true cost beside one of
three thousand. Cost is counted in evaluations, in seconds of the run's clock, or in samples that
passed forward and backward through networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.compare.blocks import Direction, sign_of
from optprune.compare.run_rows import Cost, RunRows, run_rows
from optprune.compare.volumes import volumes
from optprune.errors import ArgumentError
from optprune.search.nondominated import reference_point

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Trajectories",
    "Trajectory",
    "anytime",
    "common_grid",
    "quantiles",
    "trajectories",
    "values_at",
]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """How good one run had become at what cost.

    Parameters
    ----------
    optimizer : str
        Name of the optimizer.
    seed : int
        Seed of the run.
    costs : ndarray of float64, shape (n_steps,)
        Where the value changes; increasing.
    values : ndarray of float64, shape (n_steps,)
        The value from there on, in its own direction, each better than the one before.
    start : float
        The value before the first step: NaN for an objective, 0 for hypervolume.
    end : float
        What the whole run cost.
    """

    optimizer: str
    seed: int
    costs: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    start: float
    end: float

    def at(self, costs: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the value at any costs, also past the run's end; same shape."""
        places = np.searchsorted(self.costs, np.asarray(costs, dtype=np.float64), side="right")
        values: npt.NDArray[np.float64] = np.r_[self.start, self.values][places]
        return values


@dataclass(frozen=True, eq=False)
class Trajectories:
    """The trajectories of all runs on one problem; `trajectories` makes it.

    Parameters
    ----------
    problem : str
        Name of the problem.
    measure : str
        What the values are: the objective's name, or ``"hypervolume"``.
    direction : {"minimize", "maximize"}
        Which way they are better.
    cost : {"evaluations", "seconds", "samples"}
        What they are drawn against.
    reference : tuple of float
        The reference point of the hypervolume in the objectives' own units; empty without one.
    runs : tuple of Trajectory
        One a run, in the order of the table of runs.
    """

    problem: str
    measure: str
    direction: Direction
    cost: Cost
    reference: tuple[float, ...]
    runs: tuple[Trajectory, ...]

    @property
    def optimizers(self) -> tuple[str, ...]:
        """Names of the optimizers, in the order of their first run."""
        return tuple(dict.fromkeys(run.optimizer for run in self.runs))


def trajectories(
    log: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    problem: str,
    objectives: Sequence[str],
    directions: Sequence[Direction],
    cost: Cost = "evaluations",
    reference: Sequence[float] | None = None,
) -> Trajectories:
    """Follow the best feasible value, or the hypervolume, of every run on a problem.

    Parameters
    ----------
    log : pandas.DataFrame
        One row for each evaluated proposal: ``problem``, ``optimizer``, ``seed``, ``index`` (its
        number in the run, from 0), ``evaluations``, ``seconds``, ``samples`` (what the run had
        cost when it was there), ``feasible``, ``failed`` and a column a metric.
    runs : pandas.DataFrame
        One row a run: ``problem``, ``optimizer``, ``seed`` and the cost of all of it:
        ``evaluations``, ``seconds``, ``samples``. A run without a row in the log has found
        nothing; one that broke off has found what it had found.
    problem : str
        The problem.
    objectives : sequence of str
        One objective for its best value, several for their hypervolume.
    directions : sequence of {"minimize", "maximize"}
        One for each objective.
    cost : {"evaluations", "seconds", "samples"}
        What to count.
    reference : sequence of float, optional
        The reference point of the hypervolume, in the objectives' own units and directions; NaN,
        or None for all, where the worst value of all feasible rows of all runs takes its place.
        What is not better than it in every objective adds nothing.

    Returns
    -------
    Trajectories

    Raises
    ------
    ArgumentError
        If a column, the problem or a run is missing, a run is there twice, a cost is not finite,
        `objectives` and `directions` do not fit, or `reference` has another length.

    Notes
    -----
    The hypervolume grows by what a new point dominates alone: its own box less the volume of the
    old front moved into that box (for two objectives, strips of it). That is computed only for rows
    that no earlier row dominates: the non-dominated ones once the index is an objective too.
    A derived reference point depends on the runs at hand: compare its volumes within them only.
    """
    followed = run_rows(
        log, runs, problem=problem, objectives=objectives, directions=directions, cost=cost
    )
    signs = np.array([sign_of(direction) for direction in directions])
    if len(objectives) == 1:
        if reference is not None:
            raise ArgumentError("`reference` belongs to a hypervolume, of two objectives or more.")
        found = [_steps(run, _best(run.values[:, 0]) * signs[0], math.nan) for run in followed]
        return Trajectories(problem, objectives[0], directions[0], cost, (), tuple(found))
    wanted = np.full(len(signs), math.nan) if reference is None else np.array(reference, float)
    if wanted.shape != signs.shape:
        raise ArgumentError(
            f"reference must have {len(signs)} coordinates, one for each of "
            f"{', '.join(objectives)}; got {reference!r}."
        )
    point = reference_point(wanted * signs, np.concatenate([run.values for run in followed]))
    found = [_steps(run, volumes(run.values, point), 0.0) for run in followed]
    own = tuple((point * signs).tolist())
    return Trajectories(problem, "hypervolume", "maximize", cost, own, tuple(found))


def anytime(found: Trajectories, *, grid: npt.ArrayLike | None = None) -> pd.DataFrame:
    """Return median and quartiles over the runs of every optimizer, against cost.

    Parameters
    ----------
    found : Trajectories
        The runs.
    grid : array_like, shape (n_costs,), optional
        Increasing costs; by default those at which a run changed or ended (see `common_grid`).

    Returns
    -------
    pandas.DataFrame
        For every optimizer one row a cost: ``optimizer``, ``cost``, ``lower``, ``median``,
        ``upper`` (quartiles in the measure's unit, ``lower <= median <= upper``), ``runs`` (how
        many), ``found`` (share of the runs that have a value) and ``running`` (share of the runs
        that had not ended). A run without a value counts as worse than all others; where a
        quartile falls among such runs it is NaN, and so the median is NaN until half of them have
        a value. ``attrs`` names ``problem``, ``measure``, ``direction`` and the kind of ``cost``.

    Raises
    ------
    ArgumentError
        If `grid` is empty, not increasing or not finite.
    """
    import pandas as pd

    if grid is None:
        costs = common_grid([run.costs for run in found.runs], [run.end for run in found.runs])
    else:
        costs = _checked_grid(grid)
    sign = sign_of(found.direction)
    tables = []
    for optimizer in found.optimizers:
        runs = [run for run in found.runs if run.optimizer == optimizer]
        values = np.array([run.at(costs) for run in runs]) * sign
        have = np.isfinite(values)
        spread = quantiles(np.where(have, values, np.inf), (0.25, 0.5, 0.75))
        lower, median, upper = np.where(np.isfinite(spread), spread, math.nan)[:: int(sign)] * sign
        ends = np.array([run.end for run in runs])
        tables.append(
            pd.DataFrame(
                {
                    "optimizer": optimizer,
                    "cost": costs,
                    "lower": lower,
                    "median": median,
                    "upper": upper,
                    "runs": len(runs),
                    "found": have.mean(axis=0),
                    "running": (ends[:, None] > costs).mean(axis=0),
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    table.attrs.update(
        problem=found.problem, measure=found.measure, direction=found.direction, cost=found.cost
    )
    return table


def values_at(
    found: Trajectories | Sequence[Trajectories], cost: float | None = None
) -> pd.DataFrame:
    """Return what every run had reached at a cost, for tests and ranks.

    Parameters
    ----------
    found : Trajectories or sequence of such
        The runs on one problem or several.
    cost : float, optional
        The cost; by default all that the run cost.

    Returns
    -------
    pandas.DataFrame
        One row a run: ``problem``, ``optimizer``, ``seed``, ``value`` (in the measure's own
        direction; NaN for an objective without a feasible value).
    """
    import pandas as pd

    several = [found] if isinstance(found, Trajectories) else list(found)
    rows = [
        (one.problem, run.optimizer, run.seed, float(run.at(np.inf if cost is None else cost)))
        for one in several
        for run in one.runs
    ]
    return pd.DataFrame(rows, columns=["problem", "optimizer", "seed", "value"])


def quantiles(values: npt.ArrayLike, shares: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return quantiles over runs, some of which may have found nothing.

    Parameters
    ----------
    values : array_like, shape (n_runs, ...)
        To be minimized; infinite for a run that found nothing.
    shares : sequence of float, length n_shares
        Between 0 and 1.

    Returns
    -------
    ndarray of float64, shape (n_shares, ...)
        Interpolated between neighbors (type 7 of Hyndman and Fan 1996, as numpy does); infinite
        where a neighbor that it needs is.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=0)
    found = np.empty((len(shares), *ordered.shape[1:]))
    for row, share in enumerate(shares):
        # 0.7 * 10 is a hair less than 7, where the neighbor above must not count.
        exact = round((len(ordered) - 1) * share, 9)
        low = math.floor(exact)
        part = exact - low
        found[row] = ordered[low]
        if part:
            finite = np.isfinite(ordered[low + 1])
            below, above = (np.where(finite, ordered[place], 0.0) for place in (low, low + 1))
            mixed = below + part * (above - below)
            found[row] = np.where(finite, mixed, np.inf)
    return found


def _best(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the least value so far; NaN before the first."""
    return np.fmin.accumulate(values)


def _steps(run: RunRows, values: npt.NDArray[np.float64], start: float) -> Trajectory:
    """Keep the costs at which a value changes."""
    before = np.r_[start, values[:-1]]
    changed = np.flatnonzero(~np.isnan(values) & (values != before))
    costs, found = run.costs[changed], values[changed]
    # Of several changes at the same cost the last is the best.
    last = np.r_[costs[1:] > costs[:-1], True] if len(costs) else np.zeros(0, dtype=np.bool_)
    return Trajectory(run.optimizer, run.seed, costs[last], found[last], start, run.end)


def common_grid(
    changes: Sequence[npt.NDArray[np.float64]], ends: Sequence[float], most: int = 2000
) -> npt.NDArray[np.float64]:
    """Return costs at which to look at several runs.

    Parameters
    ----------
    changes : sequence of ndarray of float64, shape (n_changes,)
        Where they change.
    ends : sequence of float
        Where they end.
    most : int
        Above so many changes only so many are kept, evenly by their number, the first and the last
        included.

    Returns
    -------
    ndarray of float64, shape (n_costs,)
        Increasing, all `ends` included.
    """
    costs = np.unique(np.concatenate([*changes, np.zeros(0)]))
    if len(costs) > most:
        costs = costs[np.linspace(0, len(costs) - 1, most).round().astype(np.int64)]
    return np.union1d(costs, np.asarray(ends, dtype=np.float64))


def _checked_grid(grid: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the costs that were given."""
    costs = np.asarray(grid, dtype=np.float64)
    if costs.ndim != 1 or not costs.size or not np.isfinite(costs).all():
        raise ArgumentError(
            f"`grid` must be finite costs, at least one; got an array of shape {costs.shape}."
        )
    if (np.diff(costs) <= 0).any():
        raise ArgumentError("`grid` must be increasing costs, each larger than the one before.")
    return costs
