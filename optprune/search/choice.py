"""One row of a result, picked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from optprune.search.row import Row
from optprune.surgery import Structure, save

if TYPE_CHECKING:
    from optprune.search.finishing import Finished
    from optprune.search.result import Result
    from optprune.training import Trainer

__all__ = ["Choice"]


@dataclass(frozen=True)
class Choice:
    """A candidate picked from a result.

    Parameters
    ----------
    result : Result
        Where it comes from.
    row : Row
        What is known about it.
    """

    result: Result
    row: Row

    @property
    def index(self) -> int:
        """Its number in the run, as in the column ``index`` of the log."""
        return self.row.index

    @property
    def metrics(self) -> Mapping[str, float]:
        """Its values by the metric's name."""
        return self.row.metrics

    @property
    def structure(self) -> Structure:
        """What it keeps.

        Raises
        ------
        ArgumentError
            If the result was loaded without its problem.
        """
        return Structure.from_json(self.row.structure, self.result.attached().graph)

    def network(self, *, check: bool = True) -> nn.Module:
        """Make the network; see `Result.network`."""
        return self.result.network(self.index, check=check)

    def finish(self, trainer: Trainer) -> Finished:
        """Train the network further; see `Result.finish`."""
        return self.result.finish(self.index, trainer)

    def save(self, folder: str | Path) -> Path:
        """Save the network with its structure and its values.

        Parameters
        ----------
        folder : str or Path
            Where to; `optprune.surgery.load` reads it.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        SaveError
            If it cannot be written; nothing half-written is left.
        """
        problem = self.result.attached()
        return save(
            folder,
            self.network(),
            self.structure,
            problem.graph,
            build=problem.task.build,
            extra={
                "task": problem.task.name,
                "optimizer": self.result.optimizer,
                "seed": self.result.seed,
                "index": self.index,
                "metrics": dict(self.row.metrics),
            },
        )

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.row.metrics.items())
        return f"Choice(index {self.index}: {values})"
