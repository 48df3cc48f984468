"""Rows as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from optprune.search.row import Row

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_text", "log_table", "thinned"]


def log_table(rows: Sequence[Row], metrics: Sequence[str], groups: Sequence[str]) -> pd.DataFrame:
    """Gather rows in a table.

    Parameters
    ----------
    rows : sequence of Row
        In the order of their index.
    metrics : sequence of str
        Names of the metrics.
    groups : sequence of str
        Names of the groups.

    Returns
    -------
    pandas.DataFrame
        Columns ``index``; one for each metric (its own unit; NaN where not measured);
        ``feasible``; ``violation`` (sum over the constraints); ``failed``; ``reason``; ``seconds``
        (of the evaluation); ``forward_samples``; ``backward_samples``; ``clock`` (seconds since
        the run began); ``digest``; and ``width:<group>`` for each group.
    """
    import pandas as pd

    columns: dict[str, object] = {"index": np.array([row.index for row in rows], dtype=np.int64)}
    for name in metrics:
        columns[name] = np.array([row.metrics.get(name, math.nan) for row in rows], dtype=float)
    columns["feasible"] = np.array([row.feasible for row in rows], dtype=bool)
    columns["violation"] = np.array([row.violation for row in rows], dtype=float)
    columns["failed"] = np.array([row.failed for row in rows], dtype=bool)
    columns["reason"] = np.array([row.reason for row in rows], dtype=object)
    columns["seconds"] = np.array([row.seconds for row in rows], dtype=float)
    columns["forward_samples"] = np.array([row.forward_samples for row in rows], dtype=np.int64)
    columns["backward_samples"] = np.array([row.backward_samples for row in rows], dtype=np.int64)
    columns["clock"] = np.array([row.clock for row in rows], dtype=float)
    columns["digest"] = np.array([row.digest for row in rows], dtype=object)
    widths = np.array([row.widths for row in rows], dtype=np.int64).reshape(len(rows), len(groups))
    for position, group in enumerate(groups):
        columns[f"width:{group}"] = widths[:, position]
    return pd.DataFrame(columns)


def thinned(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return at most so many rows of a table, evenly spread, the ends included."""
    if len(table) <= most:
        return table
    return table.iloc[np.unique(np.linspace(0, len(table) - 1, most).round().astype(int))]


def as_text(table: pd.DataFrame) -> str:
    """Write a table in plain text, numbers with four significant digits."""
    return table.to_string(index=False, float_format=lambda value: f"{value:.4g}")
