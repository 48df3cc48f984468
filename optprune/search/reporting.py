"""The report on the test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from optprune.errors import ArgumentError
from optprune.meter import Meter
from optprune.search.finishing import measured_on
from optprune.search.row import Row

if TYPE_CHECKING:
    import pandas as pd

    from optprune.search.result import Result

__all__ = ["Reads", "report"]


@dataclass
class Reads:
    """How many candidates were measured on the test split.

    Parameters
    ----------
    count : int
        So far.
    """

    count: int = 0


def report(result: Result, rows: Sequence[Row], networks: Mapping[int, nn.Module]) -> pd.DataFrame:
    """Measure rows on the test split, and count it; see `Result.report`."""
    import pandas as pd

    task = result.attached().task
    split = task.test_split()
    for i in networks:
        if i not in [row.index for row in rows]:
            raise ArgumentError(
                f"networks has one for row {i}, which is not reported: report({i}, ...)."
            )
    reported = [(result.dense, task.network)]
    for row in rows:
        network = networks[row.index] if row.index in networks else result.network(row.index)
        reported.append((row, network))
    lines = []
    for row, network in reported:
        values = measured_on(task, network, split, Meter())
        tested = {f"test_{name}": value for name, value in values.items()}
        lines.append({"index": row.index, **row.metrics, **tested})
    result.reads.count += len(rows)
    table = pd.DataFrame(lines)
    table.attrs["test_reads"] = result.test_reads
    return table
