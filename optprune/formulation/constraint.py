"""A constraint: a bound on a metric, written as a comparison (``op.metrics.macs <= 0.5``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from optprune.formulation.metric import Metric

__all__ = ["LARGEST_VIOLATION", "Constraint", "Sense"]

Sense: TypeAlias = Literal["<=", ">="]

LARGEST_VIOLATION = 1e12
"""What a violation is cut off at, so that it is always finite."""


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric.

    Made by comparing a metric with a number: ``op.metrics.macs <= 0.5``; ``<`` means ``<=`` and
    ``>`` means ``>=``.

    Parameters
    ----------
    metric : Metric
        What is bounded.
    sense : {"<=", ">="}
        On which side of the bound the metric must be.
    bound : float
        The bound, in the metric's unit.

    Raises
    ------
    ArgumentTypeError
        If `bound` is not a number.
    ArgumentError
        If `sense` is unknown, or `bound` is not finite or lies where the metric never is (above 1
        for a fraction of dense, say).
    """

    metric: Metric
    sense: Sense
    bound: float

    def __post_init__(self) -> None:
        name = self.metric.name
        if self.sense not in ("<=", ">="):
            raise ArgumentError(f"sense must be '<=' or '>=', got {self.sense!r}.")
        if isinstance(self.bound, bool) or not isinstance(
            self.bound, int | float | np.integer | np.floating
        ):
            raise ArgumentTypeError(
                f"{name} must be compared with a number, got {type(self.bound).__name__} "
                f"{self.bound!r}."
            )
        bound = float(self.bound)
        if not math.isfinite(bound):
            raise ArgumentError(f"the bound on {name} must be finite, got {bound}.")
        low, high = self.metric.limits
        if not low <= bound <= high:
            text = f"{name} {self.sense} {bound:g}: {name} always lies between {low:g} and {high:g}"
            if self.metric.fraction and bound > high:
                text += (
                    ", as it is a fraction of the dense network; for a bound in "
                    f"{self.metric.absolute.unit} write {name}.absolute {self.sense} {bound:g}"
                )
            elif (low, high) == (0.0, 1.0) and high < bound <= 100.0:
                text += f"; for {bound:g} % write {bound / 100:g}"
            raise ArgumentError(text + ".")
        object.__setattr__(self, "bound", bound)

    def violation(self, value: float) -> float:
        """Tell by how much a value violates the constraint.

        Parameters
        ----------
        value : float
            A value of the metric, in its unit.

        Returns
        -------
        float
            0 if the constraint holds, otherwise positive and finite.

        Notes
        -----
        ``max(0, value - bound) / |bound|`` for ``<=``, with the sign changed for ``>=``; the
        difference itself if the bound is 0. It is cut off at `LARGEST_VIOLATION`, which is also
        what a value that is not finite gets.
        """
        return float(self.violations(np.array([value]))[0])

    def violations(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Do the same as `violation` for many values.

        Parameters
        ----------
        values : array_like, shape (n,)
            Values of the metric, in its unit.

        Returns
        -------
        ndarray of float64, shape (n,)
            Finite and not negative.
        """
        array = np.asarray(values, dtype=np.float64)
        scale = abs(self.bound) or 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            excess = array - self.bound if self.sense == "<=" else self.bound - array
            relative = excess / scale
        relative = np.where(np.isfinite(array), relative, LARGEST_VIOLATION)
        return np.clip(relative, 0.0, LARGEST_VIOLATION)

    def satisfied(self, value: float) -> bool:
        """Tell whether a value of the metric satisfies the constraint."""
        return self.violation(value) == 0.0

    def __bool__(self) -> NoReturn:
        raise ArgumentError(
            f"the constraint {self} has no truth value. A chained comparison such as "
            f"0.3 <= {self.metric.name} <= 0.5 cannot be one constraint: write two, "
            f"[{self.metric.name} >= 0.3, {self.metric.name} <= 0.5]."
        )

    def __str__(self) -> str:
        return f"{self.metric.name} {self.sense} {self.bound:g}"
