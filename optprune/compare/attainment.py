"""What runs attained: fronts as surfaces, best values within bounds, shares of targets.

Each run of an optimizer attains a region of the objectives. The k-th attainment surface is the
border of what at least k of n runs attained: of all runs the best, half of them the median, every
run the worst. Cut along a bound on one metric, the surfaces give the best value of another within
that bound (`best_within`). Cut through the trajectories at a value instead of a cost, they give the
cost at which a target was reached (`targets`).

References
----------
V. Grunert da Fonseca, C. M. Fonseca, A. O. Hall, 2001, "Inferential performance assessment of
stochastic optimisers and the attainment function", EMO 2001, LNCS 1993:213-225,
DOI 10.1007/3-540-44719-9_15.
C. M. Fonseca, A. P. Guerreiro, M. López-Ibáñez, L. Paquete, 2011, "On the computation of the
empirical attainment function", EMO 2011, LNCS 6576:106-120, DOI 10.1007/978-3-642-19893-9_8.
N. Hansen, A. Auger, D. Brockhoff, T. Tušar, 2022, "Anytime performance assessment in blackbox
optimization benchmarking", IEEE Trans. Evol. Comput. 26(6):1293-1305,
DOI 10.1109/TEVC.2022.3210897 (targets; the runtime distributions of COCO).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from optprune.compare.anytime import Trajectories, common_grid, quantiles
from optprune.compare.blocks import Direction, sign_of
from optprune.compare.run_rows import run_rows
from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation import Constraint

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Interval", "attainment", "best_within", "median_interval", "targets"]


class Interval(NamedTuple):
    """An interval and the probability with which such intervals hold what they are for."""

    lower: float
    upper: float
    coverage: float


def attainment(
    log: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    problem: str,
    objectives: Sequence[str],
    directions: Sequence[Direction],
) -> pd.DataFrame:
    """Return the best, the median and the worst attainment surface of every optimizer.

    Parameters
    ----------
    log, runs : pandas.DataFrame
        As in `anytime.trajectories`. For the surfaces at a cost hand over the rows up to it, such
        as ``log[log["evaluations"] <= 100]``.
    problem : str
        The problem.
    objectives : (str, str)
        Two objectives.
    directions : (str, str)
        ``"minimize"`` or ``"maximize"`` for each.

    Returns
    -------
    pandas.DataFrame
        The corners of the surfaces: ``optimizer``, ``surface`` (``"best"``, ``"median"`` or
        ``"worst"``: attained by at least one run, by at least half of them, by every run),
        ``runs`` (how many there are) and a column for each objective, in its own unit and
        direction, the better in the first objective first. A surface that too few runs reach,
        since others found nothing feasible, has no row.

    Raises
    ------
    ArgumentError
        As in `anytime.trajectories`, or if there are not two objectives.

    Notes
    -----
    moocore computes them in O(m log m + n m) for n runs and m points. The median surface of an
    even number of runs is the better one of the two in the middle.
    """
    import moocore
    import pandas as pd

    if isinstance(objectives, str) or len(objectives) != 2:
        raise ArgumentError(
            f"attainment: surfaces are drawn for two objectives; got {objectives!r}."
        )
    followed = run_rows(log, runs, problem=problem, objectives=objectives, directions=directions)
    signs = np.array([sign_of(direction) for direction in directions])
    tables = []
    for optimizer in dict.fromkeys(run.optimizer for run in followed):
        own = [run.values for run in followed if run.optimizer == optimizer]
        fronts = [values[np.isfinite(values[:, 0])] for values in own]
        some = [front for front in fronts if len(front)]
        for surface, needed in (("best", 1), ("median", (len(own) + 1) // 2), ("worst", len(own))):
            if needed > len(some):
                continue
            # The library rounds up, and knows only the runs that found something.
            percentile = 100 * (needed - 0.5) / len(some)
            points = np.concatenate(some)
            sets = np.repeat(np.arange(len(some)), [len(front) for front in some])
            corners = moocore.eaf(points, sets, percentiles=[percentile])[:, :2]
            corners = corners[np.lexsort(corners.T[::-1])] * signs
            tables.append(
                pd.DataFrame(
                    {
                        "optimizer": optimizer,
                        "surface": surface,
                        "runs": len(own),
                        objectives[0]: corners[:, 0],
                        objectives[1]: corners[:, 1],
                    }
                )
            )
    columns = ["optimizer", "surface", "runs", *objectives]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def best_within(
    log: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    problem: str,
    objective: str,
    direction: Direction,
    bounds: Sequence[Constraint] = (),
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return how good every optimizer is within bounds, such as at most half of all MACs.

    Parameters
    ----------
    log, runs : pandas.DataFrame
        As in `anytime.trajectories`.
    problem : str
        The problem.
    objective : str
        What is compared: the best feasible value of each run that satisfies the bound.
    direction : {"minimize", "maximize"}
        Which way it is better.
    bounds : sequence of Constraint
        Comparisons such as ``op.metrics.macs <= 0.5``, each for itself; none for the best value
        under the problem's own constraints alone.
    confidence : float
        The coverage that the interval is to reach, between 0 and 1.

    Returns
    -------
    pandas.DataFrame
        For every bound one row an optimizer: ``problem``, ``bound`` (in words, empty without one),
        ``optimizer``, ``runs`` (how many), ``found`` (how many of them found a feasible value
        within the bound), ``median``, ``lower``, ``upper`` (the interval of the median, see
        `median_interval`), ``coverage`` (of the interval), and the median cost of a whole run:
        ``evaluations``, ``seconds``, ``samples``. Runs without a value count as worse than all
        others; what falls among them is NaN.

    Raises
    ------
    ArgumentError
        As in `anytime.trajectories`, or if a bound's metric is not in `log`, or `confidence` does
        not lie between 0 and 1.
    ArgumentTypeError
        If a bound is something else than a constraint.
    """
    import pandas as pd

    for given in bounds:
        if not isinstance(given, Constraint):
            raise ArgumentTypeError(
                "best_within: `bounds` are comparisons such as op.metrics.macs <= 0.5; got "
                f"{type(given).__name__}."
            )
        if given.metric.name not in log.columns:
            raise ArgumentError(
                f"best_within: `log` has no column {given.metric.name!r} for the bound {given}; "
                f"it has {', '.join(map(repr, log.columns))}."
            )
    followed = run_rows(log, runs, problem=problem, objectives=[objective], directions=[direction])
    optimizers = list(dict.fromkeys(run.optimizer for run in followed))
    sign = sign_of(direction)
    costs = ["evaluations", "seconds", "samples"]
    spent = runs[runs["problem"] == problem].groupby("optimizer")[costs].median()
    rows = []
    each: list[Constraint | None] = [*bounds] or [None]
    for bound in each:
        values = None if bound is None else log[bound.metric.name].to_numpy(dtype=np.float64)
        for optimizer in optimizers:
            best = []
            for run in followed:
                if run.optimizer != optimizer:
                    continue
                good = np.isfinite(run.values[:, 0])
                if bound is not None and values is not None:
                    good &= bound.violations(values[run.places]) == 0.0
                best.append(run.values[good, 0].min(initial=np.inf))
            ends = median_interval(np.array(best) * sign, confidence)
            rows.append(
                {
                    "problem": problem,
                    "bound": "" if bound is None else str(bound),
                    "optimizer": optimizer,
                    "runs": len(best),
                    "found": int(np.isfinite(best).sum()),
                    "median": _or_nan(float(quantiles(best, [0.5])[0]) * sign),
                    "lower": _or_nan(ends.lower),
                    "upper": _or_nan(ends.upper),
                    "coverage": ends.coverage,
                    **{name: spent[name][optimizer] for name in costs},
                }
            )
    return pd.DataFrame(rows)


def targets(
    found: Trajectories | Sequence[Trajectories],
    *,
    values: Mapping[str, npt.ArrayLike] | None = None,
    precisions: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Return the share of targets that every optimizer had reached, against cost.

    Parameters
    ----------
    found : Trajectories or sequence of such
        The runs on one problem or several, against the same cost.
    values : mapping of str to array_like, shape (n_targets,), optional
        Targets of every problem, in its measure's unit and direction.
    precisions : array_like, shape (n_targets,), optional
        Without `values`: how far from the best value of all runs the targets lie, as a share of
        the distance to the worst first value of any run. By default 31 from 1 down to 0.001, at
        equal ratios.

    Returns
    -------
    pandas.DataFrame
        For every optimizer one row a cost: ``optimizer``, ``cost``, ``share`` (of the pairs of
        seed and target, averaged over the problems), ``runs`` (how many) and ``running`` (share of
        the runs that had not ended). The costs are those at which something changes for one of the
        optimizers (see `anytime.common_grid`). ``attrs["cost"]`` names the kind of cost.

    Raises
    ------
    ArgumentError
        If there is nothing, the costs differ in kind, a problem is there twice or has no target,
        or a target or a precision is not finite.

    Notes
    -----
    A problem on which an optimizer has no run counts as one of which it reached no target. With as
    many seeds and targets on all problems the share is that of (problem, seed, target) triples.
    Derived targets are only as good as the best run at hand.
    """
    import pandas as pd

    several = [found] if isinstance(found, Trajectories) else list(found)
    _check_targets(several, values)
    optimizers = list(dict.fromkeys(name for one in several for name in one.optimizers))
    # Costs of all reached targets and the weight of each, a list of either for every optimizer.
    reached: dict[str, list[tuple[npt.NDArray[np.float64], float]]] = {o: [] for o in optimizers}
    for one in several:
        sign = sign_of(one.direction)
        if values is not None:
            aims = np.asarray(values[one.problem], dtype=np.float64) * sign
        else:
            aims = _derived(one, precisions) * sign
        if aims.ndim != 1 or not aims.size or np.isnan(aims).any():
            raise ArgumentError(
                f"targets: the targets of {one.problem!r} must be at least one number and none "
                f"NaN; got {aims.tolist()}."
            )
        for optimizer in one.optimizers:
            runs = [run for run in one.runs if run.optimizer == optimizer]
            weight = 1.0 / (len(several) * len(runs) * len(aims))
            for run in runs:
                # The values improve, so the first that reaches a target is found by bisection.
                first = np.searchsorted(-sign * run.values, -aims, side="left")
                reached[optimizer].append((run.costs[first[first < len(run.costs)]], weight))
    everything = [run for one in several for run in one.runs]
    when = [costs for parts in reached.values() for costs, _ in parts]
    costs = common_grid(when, [run.end for run in everything])
    tables = []
    for optimizer, parts in reached.items():
        share = sum(
            weight * np.searchsorted(np.sort(at), costs, side="right") for at, weight in parts
        )
        ends = np.array([run.end for run in everything if run.optimizer == optimizer])
        tables.append(
            pd.DataFrame(
                {
                    "optimizer": optimizer,
                    "cost": costs,
                    "share": share,
                    "runs": len(ends),
                    "running": (ends[:, None] > costs).mean(axis=0),
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    table.attrs.update(cost=several[0].cost)
    return table


def median_interval(values: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Return an interval for the median of which the runs are a sample.

    Parameters
    ----------
    values : array_like, shape (n_runs,)
        Infinite for a run that found nothing.
    confidence : float
        The coverage to reach, between 0 and 1.

    Returns
    -------
    Interval
        Two of the values and the coverage that they have: the narrowest pair of order statistics
        that reaches `confidence`, and if so few runs reach it with none, the least and the largest
        value with the coverage that they have (3 runs 0.75, 5 runs 0.9375, 6 runs 0.96875).

    Raises
    ------
    ArgumentError
        If there is no value, one is NaN, or `confidence` does not lie between 0 and 1.

    Notes
    -----
    The median of any continuous distribution lies between the k-th least and the k-th largest of n
    independent values with probability ``1 - 2 P(B < k)``, B binomial with n trials of probability
    one half; with ties it is not smaller. A bootstrap of the median of three to ten runs draws
    from as few values but promises a coverage that it does not have.
    """
    from scipy import stats

    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if ordered.ndim != 1 or not ordered.size or np.isnan(ordered).any():
        raise ArgumentError(
            "median_interval: `values` must be one number a run, at least one and none NaN; "
            f"got shape {ordered.shape} with {int(np.isnan(ordered).sum())} NaN."
        )
    if not 0 < confidence < 1:
        raise ArgumentError(f"confidence must lie between 0 and 1; got {confidence!r}.")
    n = len(ordered)
    coverage = 1 - 2 * stats.binom.cdf(np.arange((n + 1) // 2), n, 0.5)
    k = max(int((coverage >= confidence).sum()) - 1, 0)
    return Interval(float(ordered[k]), float(ordered[n - 1 - k]), float(coverage[k]))


def _check_targets(
    several: Sequence[Trajectories], values: Mapping[str, npt.ArrayLike] | None
) -> None:
    """Raise unless the trajectories can be read against one cost, and have targets."""
    if not several:
        raise ArgumentError("targets: there is no problem; give the trajectories of at least one.")
    kinds = sorted({one.cost for one in several})
    if len(kinds) > 1:
        raise ArgumentError(f"targets: all must be against the same cost; got {kinds}.")
    names = [one.problem for one in several]
    if len(set(names)) < len(names):
        raise ArgumentError(f"targets: a problem is there twice: {names}.")
    missing = [name for name in names if values is not None and name not in values]
    if missing:
        raise ArgumentError(f"targets: `values` has no targets for {missing[0]!r}.")


def _derived(found: Trajectories, precisions: npt.ArrayLike | None) -> npt.NDArray[np.float64]:
    """Return targets between the worst first and the best value of all runs."""
    shares = np.geomspace(1.0, 1e-3, 31) if precisions is None else np.asarray(precisions, float)
    if shares.ndim != 1 or not shares.size or not np.isfinite(shares).all() or shares.min() < 0:
        raise ArgumentError(
            f"targets: `precisions` must be numbers of 0 or more; got {shares.tolist()}."
        )
    sign = sign_of(found.direction)
    some = [run.values * sign for run in found.runs if len(run.values)]
    if not some:
        # Nobody found anything, so nobody reached anything.
        return np.full(len(shares), -np.inf) * sign
    best, worst = min(values[-1] for values in some), max(values[0] for values in some)
    derived: npt.NDArray[np.float64] = (best + (worst - best) * shares) * sign
    return derived


def _or_nan(value: float) -> float:
    """Return NaN for what lies among runs that found nothing."""
    return value if math.isfinite(value) else math.nan
