"""Which groups matter: how a metric goes with the width of each group, over a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.search.row import Row

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["effects_table"]


def effects_table(
    rows: Sequence[Row], metric: str, groups: Sequence[str], widths: Sequence[int]
) -> pd.DataFrame:
    """Gather the mean of a metric by the width of each group.

    Parameters
    ----------
    rows : sequence of Row
        Of any search.
    metric : str
        Name of the metric.
    groups : sequence of str
        Names of the groups.
    widths : sequence of int
        Their dense widths.

    Returns
    -------
    pandas.DataFrame
        One row for each group and each width that it had, in the network's order, ascending
        widths: ``group``; ``width`` (units kept); ``kept`` (fraction of dense); ``rows`` (how many
        candidates had it); ``mean`` of the metric over them; ``adjusted``, the mean without what
        the widths of the other groups account for; and ``error``, the standard error of
        ``adjusted`` (NaN with a single row). ``attrs["metric"]`` is the metric's name. Candidates
        that were not measured are left out.

    Notes
    -----
    What a search evaluates is no experiment: it narrows many groups at once, so that ``mean`` of
    one group carries the others' effect. ``adjusted`` takes that away as far as a linear model
    can: least squares of the metric on the kept fractions of all groups (minimum norm where some
    never varied apart); the partial residuals of a group, ``b_g (x_g - mean x_g) + residual`` plus
    the metric's mean, are averaged at each of its widths. Effects that are not additive stay in
    the residuals, and an optimizer looks more often where it found something good. All of this is
    correlation in what was looked at; `SensitivityScan` narrows one group at a time.
    """
    import pandas as pd

    measured = [row for row in rows if not row.failed and metric in row.metrics]
    values = np.array([row.metrics[metric] for row in measured], dtype=np.float64)
    finite = np.isfinite(values)
    values = values[finite]
    units = np.array([row.widths for row in measured], dtype=np.int64).reshape(-1, len(groups))
    units = units[finite]
    kept = units / np.asarray(widths, dtype=np.float64)
    partial = _partial_residuals(kept, values)
    found = []
    for position, group in enumerate(groups):
        for width in np.unique(units[:, position]):
            here = units[:, position] == width
            n, adjusted = int(here.sum()), partial[here, position]
            error = float(adjusted.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
            found.append(
                (
                    group,
                    int(width),
                    width / widths[position],
                    n,
                    float(values[here].mean()),
                    float(adjusted.mean()),
                    error,
                )
            )
    columns = ["group", "width", "kept", "rows", "mean", "adjusted", "error"]
    table = pd.DataFrame(found, columns=columns)
    table.attrs["metric"] = metric
    return table


def _partial_residuals(
    kept: npt.NDArray[np.float64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return what is left of the metric for each group, shape (n_rows, n_groups)."""
    if not len(values):
        return np.empty((0, kept.shape[1]))
    centered = kept - kept.mean(axis=0)
    slopes = np.linalg.lstsq(centered, values - values.mean(), rcond=None)[0]
    residuals = values - values.mean() - centered @ slopes
    partial: npt.NDArray[np.float64] = values.mean() + centered * slopes + residuals[:, None]
    return partial
