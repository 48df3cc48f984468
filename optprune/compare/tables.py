"""The tables of a comparison: every evaluated proposal, every run, every optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from optprune.compare.arguments import COLUMNS
from optprune.compare.runs import Run

if TYPE_CHECKING:
    import pandas as pd

    from optprune.search.summary import Summary

__all__ = ["log_of", "runs_of", "summary_of"]


def log_of(runs: Sequence[Run], problems: Mapping[str, Summary]) -> pd.DataFrame:
    """Gather the rows of all runs; see `Comparison.log`."""
    import pandas as pd

    metrics = dict.fromkeys(name for known in problems.values() for name in known.metrics)
    columns: dict[str, list[object]] = {name: [] for name in (*COLUMNS, *metrics)}
    for run in runs:
        n = len(run.rows)
        spent = [row.forward_samples + row.backward_samples for row in run.rows]
        columns["problem"] += [run.problem] * n
        columns["optimizer"] += [run.optimizer] * n
        columns["seed"] += [run.seed] * n
        columns["index"] += range(n)
        columns["evaluations"] += range(1, n + 1)
        columns["seconds"] += [row.clock for row in run.rows]
        columns["samples"] += (np.cumsum(spent, dtype=np.int64) + np.array(run.own, int)).tolist()
        columns["feasible"] += [row.feasible for row in run.rows]
        columns["failed"] += [row.failed for row in run.rows]
        for name in metrics:
            columns[name] += [row.metrics.get(name, math.nan) for row in run.rows]
    kinds: dict[str, type[np.generic]] = dict.fromkeys(
        ("seed", "index", "evaluations", "samples"), np.int64
    )
    kinds |= {"feasible": np.bool_, "failed": np.bool_, "seconds": np.float64}
    kinds |= dict.fromkeys(metrics, np.float64)
    return pd.DataFrame(
        {
            name: np.array(values, dtype=kinds[name]) if name in kinds else np.array(values, object)
            for name, values in columns.items()
        }
    )


def runs_of(runs: Sequence[Run]) -> pd.DataFrame:
    """Gather the runs; see `Comparison.runs`."""
    import pandas as pd

    return pd.DataFrame(
        {
            "problem": np.array([run.problem for run in runs], object),
            "optimizer": np.array([run.optimizer for run in runs], object),
            "seed": np.array([run.seed for run in runs], np.int64),
            "evaluations": np.array([len(run.rows) for run in runs], np.int64),
            "seconds": np.array([run.seconds for run in runs], np.float64),
            "samples": np.array([run.samples for run in runs], np.int64),
            "front": np.array(
                [0 if run.result is None else len(run.result.front_indices) for run in runs],
                np.int64,
            ),
            "failed": np.array([run.failed for run in runs], np.bool_),
            "reason": np.array([run.reason for run in runs], object),
        }
    )


def summary_of(runs: pd.DataFrame, ends: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Gather what every optimizer reached on every problem, and at what cost.

    Parameters
    ----------
    runs : pandas.DataFrame
        From `runs_of`.
    ends : mapping of str to DataFrame
        For each problem what `anytime.anytime` returns at the end of all runs.
    """
    import pandas as pd

    costs = ["evaluations", "seconds", "samples"]
    grouped = runs.groupby(["problem", "optimizer"], sort=False)
    found = (
        grouped[costs].median().join(grouped["failed"].agg(runs="size", failed="sum").astype(int))
    )
    reached = pd.concat(
        [table.assign(problem=name, measure=table.attrs["measure"]) for name, table in ends.items()]
    ).set_index(["problem", "optimizer"])
    values = reached[["median", "lower", "upper"]] + 0.0  # no negative zeros
    whole = reached[["measure"]].join(values).join(found)
    return whole.reset_index()[
        [
            *("problem", "optimizer", "measure", "median", "lower", "upper"),
            *("runs", "failed", *costs),
        ]
    ]
