"""Values of runs as blocks: a row for each problem and seed, a column for each optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Direction", "blocks_of", "sign_of", "signs_of"]

Direction: TypeAlias = Literal["minimize", "maximize"]


def sign_of(direction: str) -> float:
    """Return 1.0 for ``"minimize"`` and -1.0 for ``"maximize"``.

    Raises
    ------
    ArgumentError
        For anything else.
    """
    if direction not in ("minimize", "maximize"):
        raise ArgumentError(f"a direction must be 'minimize' or 'maximize'; got {direction!r}.")
    return 1.0 if direction == "minimize" else -1.0


def blocks_of(
    values: pd.DataFrame, direction: Direction | Mapping[str, Direction], alpha: float
) -> tuple[pd.DataFrame, list[str]]:
    """Return values to be minimized, a row a block, a column an optimizer, and their names.

    Infinite where nothing was found, NaN where nothing was run.
    """
    missing = [c for c in ("problem", "optimizer", "seed", "value") if c not in values.columns]
    if missing:
        raise ArgumentError(
            f"`values` has no column {missing[0]!r}; it has {', '.join(map(repr, values.columns))}."
        )
    if not 0 < alpha < 1:
        raise ArgumentError(f"alpha must lie between 0 and 1; got {alpha!r}.")
    keys = values[["problem", "optimizer", "seed"]]
    twice = keys[keys.duplicated()]
    if len(twice):
        raise ArgumentError(f"`values` has a run twice: {twice.iloc[0].to_dict()}.")
    optimizers = [str(name) for name in dict.fromkeys(values["optimizer"])]
    if len(optimizers) < 2:
        raise ArgumentError(
            f"a comparison needs at least two optimizers; `values` has {optimizers or 'none'}."
        )
    minimized = values["value"].to_numpy(dtype=np.float64) * signs_of(values["problem"], direction)
    table = keys.assign(minimized=np.where(np.isfinite(minimized), minimized, np.inf))
    wide = table.pivot(index=["problem", "seed"], columns="optimizer", values="minimized")
    return wide[optimizers], optimizers


def signs_of(
    problems: pd.Series[str] | pd.Index[str], direction: Direction | Mapping[str, Direction]
) -> npt.NDArray[np.float64]:
    """Return 1 or -1 for every row by its problem."""
    if isinstance(direction, str):
        return np.full(len(problems), sign_of(direction))
    missing = [name for name in dict.fromkeys(problems) if name not in direction]
    if missing:
        raise ArgumentError(f"`direction` has no entry for the problem {missing[0]!r}.")
    return np.array([sign_of(direction[name]) for name in problems], dtype=np.float64)
