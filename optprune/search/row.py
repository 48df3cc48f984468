"""A row: what is known about one evaluated proposal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from optprune.errors import LoadError

__all__ = ["Row"]

_ENCODE = json.JSONEncoder(allow_nan=False).encode


@dataclass(frozen=True)
class Row:
    """The facts about one proposal: what was measured, what it cost, and why it ended.

    Parameters
    ----------
    digest : str
        Digest of the proposal (its structure and where its weights start).
    structure : str
        Canonical JSON of the structure.
    widths : tuple of int
        Units kept in every group, of length ``n_groups``.
    metrics : mapping of str to float
        Value of every metric of the problem in its own unit; NaN where it was not measured.
    violations : tuple of float
        Relative violation of every constraint, finite and ≥ 0; 0 where it was not measured.
    stage : str
        The last stage that ran: ``"structure"``, ``"network"`` or ``"predictions"``.
    failed : bool
        True when something raised, or a metric gave something that is not a finite number.
    reason : str
        Why it failed or which constraint it breaks; empty for a feasible row.
    seconds : float
        Wall-clock seconds that its evaluation took.
    forward_samples, backward_samples : int
        Samples that went through forward and backward passes for it.
    start : str
        Digest of the weights that it starts from; empty for the task's own.
    index : int
        Its number in the run, in the order of first use; -1 outside a run.
    clock : float
        Seconds since the run began at which it was first used; NaN outside a run.
    """

    digest: str
    structure: str
    widths: tuple[int, ...]
    metrics: Mapping[str, float]
    violations: tuple[float, ...] = ()
    stage: str = "structure"
    failed: bool = False
    reason: str = ""
    seconds: float = 0.0
    forward_samples: int = 0
    backward_samples: int = 0
    start: str = ""
    index: int = field(default=-1, compare=False)
    clock: float = field(default=math.nan, compare=False)

    @property
    def violation(self) -> float:
        """Sum of the violations, ≥ 0."""
        return float(sum(self.violations))

    @property
    def feasible(self) -> bool:
        """True when everything was measured and no constraint is broken."""
        return not self.failed and self.violation == 0.0

    def changed(self, **changes: Any) -> Row:
        """Return the row with other values of some fields.

        As `dataclasses.replace` does, in a tenth of its time: every evaluation takes several.
        """
        row = object.__new__(type(self))
        row.__dict__.update(self.__dict__, **changes)
        return row

    def to_json(self) -> str:
        """Write the row as JSON; floats come back exactly, NaN is written as null.

        What has its default value is left out.
        """
        document: dict[str, Any] = {
            "digest": self.digest,
            "structure": self.structure,
            "widths": self.widths,
            "metrics": {k: _or_none(v) for k, v in self.metrics.items()},
            "stage": self.stage,
        }
        for name, default in _DEFAULTS:
            value = getattr(self, name)
            if value != default:
                document[name] = value
        if math.isfinite(self.clock):
            document["clock"] = self.clock
        return _ENCODE(document)

    @classmethod
    def from_json(cls, text: str) -> Row:
        """Read a row from its JSON.

        Raises
        ------
        LoadError
            If the text is not what `to_json` writes.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            return cls(
                digest=str(values["digest"]),
                structure=str(values["structure"]),
                widths=tuple(int(width) for width in values["widths"]),
                metrics={str(k): _or_nan(v) for k, v in values["metrics"].items()},
                violations=tuple(float(v) for v in values.get("violations", ())),
                stage=str(values["stage"]),
                failed=bool(values.get("failed", False)),
                reason=str(values.get("reason", "")),
                seconds=float(values.get("seconds", 0.0)),
                forward_samples=int(values.get("forward_samples", 0)),
                backward_samples=int(values.get("backward_samples", 0)),
                start=str(values.get("start", "")),
                index=int(values.get("index", -1)),
                clock=_or_nan(values.get("clock")),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise LoadError(f"this is not a row of a run: {error!r}.") from error


_DEFAULTS = tuple(
    (each.name, each.default)
    for each in fields(Row)
    if each.default is not MISSING and each.name not in ("stage", "clock")
)


def _or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None


def _or_nan(value: float | None) -> float:
    """Undo `_or_none`."""
    return math.nan if value is None else float(value)
