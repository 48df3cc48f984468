"""The evaluated proposals of every run on a problem, as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from optprune.compare.blocks import Direction, sign_of
from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cost", "RunRows", "run_rows"]

Cost: TypeAlias = Literal["evaluations", "seconds", "samples"]


@dataclass(frozen=True, eq=False)
class RunRows:
    """The evaluated proposals of one run, in their order.

    Parameters
    ----------
    optimizer : str
        Name of the optimizer.
    seed : int
        Seed of the run.
    values : ndarray of float64, shape (n_rows, n_objectives)
        To be minimized; NaN in rows that are not feasible.
    costs : ndarray of float64, shape (n_rows,)
        What the run had cost when each was there; never less than before.
    end : float
        What the whole run cost.
    places : ndarray of int64, shape (n_rows,)
        Positions of the rows in the log.
    """

    optimizer: str
    seed: int
    values: npt.NDArray[np.float64]
    costs: npt.NDArray[np.float64]
    end: float
    places: npt.NDArray[np.int64]


def run_rows(
    log: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    problem: str,
    objectives: Sequence[str],
    directions: Sequence[Direction],
    cost: Cost = "evaluations",
) -> list[RunRows]:
    """Return the rows of every run on a problem, in the order of `runs`.

    Parameters and errors are those of `optprune.compare.anytime.trajectories`.
    """
    _check_columns(log, runs, objectives, directions, cost)
    own = runs[runs["problem"] == problem]
    if not len(own):
        known = ", ".join(map(repr, dict.fromkeys(runs["problem"]))) or "no problem"
        raise ArgumentError(f"`runs` has no run on the problem {problem!r}; it has {known}.")
    keys = list(zip(own["optimizer"], own["seed"], strict=True))
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ArgumentError(f"`runs` has the run of {twice[0]!r} with seed {twice[1]} twice.")
    mine = np.flatnonzero((log["problem"] == problem).to_numpy())
    part = log.iloc[mine]
    # One stable sort here keeps the order within every run below.
    order = np.argsort(part["index"].to_numpy(), kind="stable")
    mine, part = mine[order], part.iloc[order]
    groups = part.groupby(["optimizer", "seed"], sort=False).indices
    stray = next(iter(set(groups) - set(keys)), None)
    if stray is not None:
        raise ArgumentError(f"`log` has rows of the run {stray} on {problem!r}, `runs` does not.")
    signs = np.array([sign_of(direction) for direction in directions])
    values = part[list(objectives)].to_numpy(dtype=np.float64) * signs
    good = part["feasible"].to_numpy(dtype=np.bool_) & ~part["failed"].to_numpy(dtype=np.bool_)
    values[~good | ~np.isfinite(values).all(axis=1)] = math.nan
    costs = part[cost].to_numpy(dtype=np.float64)
    if not np.isfinite(costs).all():
        raise ArgumentError(f"`log` has a row on {problem!r} whose {cost} are not a finite number.")
    found = []
    for key, end in zip(keys, own[cost].to_numpy(dtype=np.float64), strict=True):
        places = np.asarray(groups.get(key, ()), dtype=np.int64)
        # An optimizer gets rows in their order, so none counts before those ahead of it.
        when = np.maximum.accumulate(costs[places])
        last = float(when[-1]) if len(when) else 0.0
        whole = max(last, float(end)) if math.isfinite(end) else last
        found.append(RunRows(str(key[0]), int(key[1]), values[places], when, whole, mine[places]))
    return found


def _check_columns(
    log: pd.DataFrame,
    runs: pd.DataFrame,
    objectives: Sequence[str],
    directions: Sequence[Direction],
    cost: str,
) -> None:
    """Raise unless the tables have what is asked of them."""
    if cost not in get_args(Cost):
        raise ArgumentError(f"cost must be one of {', '.join(get_args(Cost))}; got {cost!r}.")
    if isinstance(objectives, str) or not objectives or len(objectives) != len(directions):
        raise ArgumentError(
            "`objectives` must be a list of at least one name, and `directions` have one for "
            f"each; got {objectives!r} and {directions!r}."
        )
    keys = ("problem", "optimizer", "seed", cost)
    for which, table, columns in (
        ("log", log, (*keys, "index", "feasible", "failed", *objectives)),
        ("runs", runs, keys),
    ):
        missing = [column for column in columns if column not in table.columns]
        if missing:
            raise ArgumentError(
                f"`{which}` has no column {missing[0]!r}; "
                f"it has {', '.join(map(repr, table.columns))}."
            )
