"""The budget of a run: evaluations, seconds, samples, or several of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from optprune.errors import ArgumentError, ArgumentTypeError

__all__ = ["Budget"]


@dataclass(frozen=True)
class Budget:
    """What a run may use; the first of the limits that is reached ends it.

    Parameters
    ----------
    evaluations : int, optional
        Proposals evaluated. Each proposal is charged once in a run, when it is used first, whether
        it came from the journal, was stopped by a constraint on its costs, or failed.
    seconds : float, optional
        Seconds of the run's clock. The last evaluation may go over.
    samples : int, optional
        Samples in forward plus backward passes. The last evaluation may go over.

    Raises
    ------
    ArgumentError
        If no limit is given, or one is not greater than zero.
    ArgumentTypeError
        If a limit is not a number.
    """

    evaluations: int | None = None
    seconds: float | None = None
    samples: int | None = None

    def __post_init__(self) -> None:
        whole = (int, np.integer)
        limits: tuple[tuple[str, Any, Any], ...] = (
            ("evaluations", self.evaluations, whole),
            ("samples", self.samples, whole),
            ("seconds", self.seconds, (*whole, float, np.floating)),
        )
        for name, value, kinds in limits:
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, kinds):
                kind = "number" if float in kinds else "whole number"
                raise ArgumentTypeError(f"{name} must be a {kind} greater than 0; got {value!r}.")
            if not float(value) > 0:
                raise ArgumentError(
                    f"{name}={value!r}: a budget must be greater than 0; nothing could be "
                    f"evaluated. Give for example {name}=600."
                )
        if self.evaluations is None and self.seconds is None and self.samples is None:
            raise ArgumentError(
                "a search needs a budget: give evaluations=, seconds= or samples= "
                "(for example evaluations=600)."
            )

    def remaining(self, evaluations: int) -> float:
        """Return how many evaluations are left after so many; infinite without that limit."""
        return math.inf if self.evaluations is None else max(self.evaluations - evaluations, 0)

    def spent(self, evaluations: int, seconds: float, samples: int) -> str:
        """Return which limit is reached, in plain words; empty while there is none."""
        if self.evaluations is not None and evaluations >= self.evaluations:
            return f"budget of {self.evaluations} evaluations used up"
        if self.seconds is not None and seconds >= self.seconds:
            return f"budget of {self.seconds:g} seconds used up"
        if self.samples is not None and samples >= self.samples:
            return f"budget of {self.samples} samples used up"
        return ""
