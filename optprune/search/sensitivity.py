"""How a metric answers when one group alone is narrowed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from optprune.search.row import Row

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["sensitivity_table"]


def sensitivity_table(
    rows: Sequence[Row], metric: str, groups: Sequence[str], widths: Sequence[int]
) -> pd.DataFrame:
    """Gather the rows in which no group but one is narrowed.

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
        Columns ``group``, ``width`` (units kept), ``kept`` (fraction of dense) and the metric in
        its own unit; the groups in the network's order, ascending widths. The full structure
        stands in every group that has another row. Rows that were not measured are left out.
    """
    import pandas as pd

    found: list[tuple[int, int, float]] = []
    whole: list[float] = []
    for row in rows:
        value = row.metrics.get(metric, math.nan)
        narrowed = [
            g for g, (has, had) in enumerate(zip(row.widths, widths, strict=True)) if has < had
        ]
        if not math.isfinite(value) or row.failed or len(narrowed) > 1:
            continue
        if narrowed:
            found.append((narrowed[0], row.widths[narrowed[0]], value))
        else:
            whole.append(value)
    for group in {group for group, _, _ in found}:
        found.extend((group, widths[group], value) for value in whole[:1])
    found.sort()
    return pd.DataFrame(
        {
            "group": [groups[group] for group, _, _ in found],
            "width": [width for _, width, _ in found],
            "kept": [width / widths[group] for group, width, _ in found],
            metric: [value for _, _, value in found],
        }
    )
