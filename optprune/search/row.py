"""A row: what is known about one evaluated proposal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optprune.errors import LoadError

__all__ = ["Row"]


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

    def to_json(self) -> str:
        """Write the row as JSON; floats come back exactly, NaN is written as null."""
        return json.dumps(
            {
                "digest": self.digest,
                "structure": self.structure,
                "widths": list(self.widths),
                "metrics": {k: _or_none(v) for k, v in self.metrics.items()},
                "violations": list(self.violations),
                "stage": self.stage,
                "failed": self.failed,
                "reason": self.reason,
                "seconds": self.seconds,
                "forward_samples": self.forward_samples,
                "backward_samples": self.backward_samples,
                "start": self.start,
                "index": self.index,
                "clock": _or_none(self.clock),
            },
            allow_nan=False,
        )

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
                violations=tuple(float(v) for v in values["violations"]),
                stage=str(values["stage"]),
                failed=bool(values["failed"]),
                reason=str(values["reason"]),
                seconds=float(values["seconds"]),
                forward_samples=int(values["forward_samples"]),
                backward_samples=int(values["backward_samples"]),
                start=str(values["start"]),
                index=int(values["index"]),
                clock=_or_nan(values["clock"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise LoadError(f"this is not a row of a run: {error!r}.") from error


def _or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None


def _or_nan(value: float | None) -> float:
    """Undo `_or_none`."""
    return math.nan if value is None else float(value)
