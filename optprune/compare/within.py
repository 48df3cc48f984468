"""What every optimizer reached within bounds: the least error at half of the MACs, say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.compare.anytime import quantiles
from optprune.errors import ArgumentError, ArgumentTypeError, nearest
from optprune.formulation import Constraint

if TYPE_CHECKING:
    import pandas as pd

    from optprune.search.summary import Summary

__all__ = ["within"]


def within(
    log: pd.DataFrame,
    runs: pd.DataFrame,
    problems: Mapping[str, Summary],
    constraints: Sequence[Constraint],
    objective: str | None,
) -> pd.DataFrame:
    """Gather the best value of every optimizer within each of several bounds.

    Parameters
    ----------
    log, runs : pandas.DataFrame
        Every evaluated proposal and every run, as `Comparison.log` and `Comparison.runs` give them.
    problems : mapping of str to Summary
        The problems by name.
    constraints, objective
        As `Comparison.within` takes them.
    """
    import pandas as pd

    if not constraints:
        raise ArgumentError("within needs at least one bound, such as op.metrics.macs <= 0.5.")
    for constraint in constraints:
        if not isinstance(constraint, Constraint):
            raise ArgumentTypeError(
                "within takes comparisons such as op.metrics.macs <= 0.5; got "
                f"{type(constraint).__name__}."
            )
    rows = []
    for problem, known in problems.items():
        name = known.objectives[0] if objective is None else objective
        if name not in known.objectives:
            raise ArgumentError(
                f"objective must be one of {', '.join(known.objectives)} on {problem!r}; got "
                f"{name!r}.{nearest(name, known.objectives)}"
            )
        sign = known.signs[known.objectives.index(name)]
        mine = log[(log["problem"] == problem) & log["feasible"]]
        for constraint in constraints:
            bounded = constraint.metric.name
            if bounded not in known.metrics:
                raise ArgumentError(
                    f"{constraint} cannot be checked on {problem!r}, which has measured "
                    f"{', '.join(known.metrics)}. Make {bounded} an objective, or bound it there."
                )
            kept = mine[constraint.violations(mine[bounded].to_numpy()) == 0.0]
            best = (kept[name] * sign).groupby([kept["optimizer"], kept["seed"]]).min()
            own = runs[runs["problem"] == problem]
            for optimizer, seeds in own.groupby("optimizer", sort=False)["seed"]:
                values = np.array([best.get((optimizer, seed), math.inf) for seed in seeds])
                lower, median, upper = _spread(values, sign)
                named = (problem, str(constraint), optimizer, name)
                found = int(np.isfinite(values).sum())
                rows.append((*named, median, lower, upper, found, len(values)))
    columns = ["problem", "within", "optimizer", "objective", "median", "lower", "upper"]
    return pd.DataFrame(rows, columns=[*columns, "found", "runs"])


def _spread(values: npt.NDArray[np.float64], sign: float) -> npt.NDArray[np.float64]:
    """Return lower quartile, median and upper quartile, NaN where a run found nothing."""
    spread = quantiles(values, (0.25, 0.5, 0.75))
    told: npt.NDArray[np.float64] = np.where(np.isfinite(spread), spread, math.nan)
    return told[:: int(sign)] * sign + 0.0  # no negative zeros
