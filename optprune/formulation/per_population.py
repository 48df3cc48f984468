"""A function of a whole population's widths, as the function of a metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from optprune.formulation.candidate import Candidate
    from optprune.surgery import ChannelGraph

__all__ = ["PerPopulation"]


@dataclass(frozen=True)
class PerPopulation:
    """Measures a population by one call of a function, and a candidate as a population of one.

    Parameters
    ----------
    function : callable
        ``function(graph, widths)``: the graph of the dense network, and the kept units of each
        group as int64 of shape (n, n_groups). It returns n numbers, one for each row, that depend
        on nothing but that row.

    Notes
    -----
    Name and module are those of the function, so that pickle and journals find the metric where
    the function was written.
    """

    function: Callable[[ChannelGraph, npt.NDArray[np.int64]], Any]

    def __post_init__(self) -> None:
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            if hasattr(self.function, name):
                object.__setattr__(self, name, getattr(self.function, name))

    def population(self, graph: ChannelGraph, widths: npt.NDArray[np.int64]) -> Any:
        """Measure a population from its widths, shape (n, n_groups), which stay as they are."""
        return self.function(graph, widths.copy())

    def __call__(self, candidate: Candidate) -> Any:
        """Measure a candidate; a failure is told by `Metric.population`."""
        return self.population(candidate.graph, candidate.widths[None])
