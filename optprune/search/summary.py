"""What a result must know about its problem to be read without it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optprune.formulation import Problem

__all__ = ["Summary"]


@dataclass(frozen=True)
class Summary:
    """Names and directions of a problem.

    Parameters
    ----------
    task : str
        Name of the task.
    fingerprint : str
        Fingerprint of the problem.
    description : mapping of str to str
        The parts of the problem in words.
    objectives : tuple of str
        Names of the objectives.
    directions : tuple of str
        ``"minimize"`` or ``"maximize"`` for each objective.
    references : tuple of float
        Coordinate of the reference point for each objective, in its own unit and direction; NaN
        where the worst value seen takes its place.
    units : mapping of str to str
        Unit of each metric by its name.
    constraints : tuple of str
        The constraints, written out.
    groups : tuple of str
        Names of the groups.
    widths : tuple of int
        Dense width of each group.
    """

    task: str
    fingerprint: str
    description: Mapping[str, str]
    objectives: tuple[str, ...]
    directions: tuple[str, ...]
    references: tuple[float, ...]
    units: Mapping[str, str]
    constraints: tuple[str, ...]
    groups: tuple[str, ...]
    widths: tuple[int, ...]

    @classmethod
    def of(cls, problem: Problem) -> Summary:
        """Summarize a problem."""
        return cls(
            task=problem.task.name,
            fingerprint=problem.fingerprint,
            description=dict(problem.description),
            objectives=tuple(metric.name for metric in problem.objectives),
            directions=tuple(metric.direction for metric in problem.objectives),
            references=tuple(problem.reference.tolist()),
            units={metric.name: metric.unit for metric in problem.metrics},
            constraints=tuple(str(constraint) for constraint in problem.constraints),
            groups=tuple(group.name for group in problem.graph.groups),
            widths=tuple(problem.graph.widths.tolist()),
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics, the objectives first."""
        return tuple(self.units)

    @property
    def signs(self) -> tuple[float, ...]:
        """1.0 for each objective to minimize, -1.0 for each to maximize."""
        return tuple(-1.0 if direction == "maximize" else 1.0 for direction in self.directions)

    @property
    def bounds(self) -> list[tuple[str, str, float]]:
        """Metric, sense and bound of each constraint."""
        found = []
        for text in self.constraints:
            # as `Constraint` writes it; only a metric's name may hold spaces
            name, sense, bound = text.rsplit(" ", 2)
            found.append((name, sense, float(bound)))
        return found

    @staticmethod
    def words(name: str) -> str:
        """Return a metric's name in plain words."""
        return name.replace("_", " ").replace("macs", "MACs")

    def label(self, name: str) -> str:
        """Return a metric's name with its unit, for an axis."""
        unit = self.units.get(name, "").replace("of dense", "fraction of dense")
        return f"{self.words(name)} ({unit})" if unit else self.words(name)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = asdict(self)
        values["references"] = [None if math.isnan(r) else r for r in self.references]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Summary:
        """Undo `to_dict`; raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            task=str(values["task"]),
            fingerprint=str(values["fingerprint"]),
            description={str(k): str(v) for k, v in dict(values["description"]).items()},
            objectives=tuple(map(str, values["objectives"])),
            directions=tuple(map(str, values["directions"])),
            references=tuple(math.nan if r is None else float(r) for r in values["references"]),
            units={str(k): str(v) for k, v in dict(values["units"]).items()},
            constraints=tuple(map(str, values["constraints"])),
            groups=tuple(map(str, values["groups"])),
            widths=tuple(map(int, values["widths"])),
        )
