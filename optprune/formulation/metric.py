"""A metric: a number that is measured on a candidate.

Objectives are metrics; constraints are comparisons of metrics with numbers.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import numbers
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch

from optprune.errors import ArgumentError, ArgumentTypeError, MetricError, OptpruneError
from optprune.fingerprint import describe, digest
from optprune.formulation.constraint import Constraint
from optprune.formulation.per_population import PerPopulation

if TYPE_CHECKING:
    from optprune.formulation.candidate import Candidate
    from optprune.surgery import ChannelGraph
    from optprune.task import Task

__all__ = ["Direction", "Metric", "Needs"]

Direction: TypeAlias = Literal["minimize", "maximize", "as the task says"]
Needs: TypeAlias = Literal["structure", "network", "predictions"]

RESERVED = frozenset(
    {
        "backward_samples",
        "clock",
        "digest",
        "failed",
        "feasible",
        "forward_samples",
        "index",
        "reason",
        "seconds",
        "violation",
    }
)
"""Columns of a result's log that are no metrics."""


@dataclass(frozen=True)
class Metric:
    """A number that is measured on a candidate.

    Compared with a number it gives a constraint: ``metric <= 0.5``; ``<`` means ``<=`` and ``>``
    means ``>=``.

    Parameters
    ----------
    name : str
        Name in tables and messages, unique in a problem.
    function : callable
        Takes a `Candidate`, returns a number. It may have two more methods:
        ``population(graph, widths)``, which returns the values of a whole population from its
        widths alone (`optprune.metric` makes one of a function, with ``per="population"``), and
        ``check(task)``, which raises if the task is not one that it can measure.
    unit : str, default ""
        Unit of the number.
    direction : {"minimize", "maximize", "as the task says"}, default "minimize"
        What is better; the last is settled by `bind`.
    needs : {"structure", "network", "predictions"}, default "predictions"
        What the function uses of the candidate. Metrics that need less are measured first, and
        the dearer ones only if no constraint is violated by then.
    version : int, optional
        Count it up when the function's meaning changes without its own source (because of
        something that it calls, say): results of other versions are not mixed.
    limits : (float, float), default (-inf, inf)
        The range in which the metric always lies; a bound outside is an error.
    reference : float, optional
        Coordinate of the reference point for the hypervolume.
    alone : bool, default False
        True if the machine must be otherwise idle while it is measured (times, energy).
    in_absolute : Metric, optional
        The same in absolute numbers, for a metric that is a fraction of the dense network.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a field has a value that cannot be used.
    """

    name: str
    function: Callable[[Candidate], Any]
    unit: str = ""
    direction: Direction = "minimize"
    needs: Needs = "predictions"
    version: int | None = None
    limits: tuple[float, float] = (-math.inf, math.inf)
    reference: float | None = None
    alone: bool = False
    in_absolute: Metric | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentTypeError(f"a metric's name must be a non-empty str, got {self.name!r}.")
        if self.name in RESERVED or self.name.startswith("width:"):
            raise ArgumentError(
                f"a metric cannot be called {self.name!r}: this is another column of the log. "
                "Give it another name."
            )
        if not callable(self.function):
            raise ArgumentTypeError(
                f"function of metric {self.name!r} must be callable with a Candidate, got "
                f"{type(self.function).__name__}."
            )
        for argument, value, known in (
            ("direction", self.direction, get_args(Direction)),
            ("needs", self.needs, get_args(Needs)),
        ):
            if value not in known:
                raise ArgumentError(
                    f"{argument} of metric {self.name!r} must be one of "
                    f"{', '.join(map(repr, known))}; got {value!r}."
                )
        if self.version is not None and not isinstance(self.version, int):
            raise ArgumentTypeError(
                f"version of metric {self.name!r} must be an int, got {self.version!r}."
            )

    @property
    def fraction(self) -> bool:
        """True if the metric is a fraction of the dense network's value."""
        return self.in_absolute is not None

    @property
    def absolute(self) -> Metric:
        """The same metric in absolute numbers.

        Raises
        ------
        ArgumentError
            If the metric is not a fraction of the dense network's value.
        """
        if self.in_absolute is None:
            raise ArgumentError(
                f"{self.name} has no .absolute: it is in its own unit"
                f"{f' ({self.unit})' if self.unit else ''} already."
            )
        return self.in_absolute

    @property
    def sign(self) -> float:
        """1 if less is better, -1 if more is: what to multiply by to minimize.

        Raises
        ------
        ArgumentError
            If only the task can tell; `bind` settles it.
        """
        if self.direction == "as the task says":
            raise ArgumentError(f"which direction of {self.name} is better depends on the task.")
        return 1.0 if self.direction == "minimize" else -1.0

    @property
    def fingerprint(self) -> str:
        """Digest of what decides the metric's values: name, version, and the function's source."""
        return digest(
            (self.name, self.direction, self.needs, str(self.version), describe(self.function))
        )

    def bind(self, task: Task) -> Metric:
        """Check that the metric can be measured on a task, and settle its direction.

        Parameters
        ----------
        task : Task
            The task of the problem.

        Returns
        -------
        Metric
            With a direction of ``"minimize"`` or ``"maximize"``.

        Raises
        ------
        ArgumentError
            If the metric cannot be measured on the task.
        """
        check = getattr(self.function, "check", None)
        if check is not None:
            check(task)
        if self.direction == "as the task says":
            return dataclasses.replace(self, direction=task.score.direction)
        return self

    def population(
        self, graph: ChannelGraph, widths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64] | None:
        """Measure a whole population at once, if widths are all that it takes.

        Parameters
        ----------
        graph : ChannelGraph
            The graph of the dense network.
        widths : ndarray of int64, shape (n, n_groups)
            Kept units of each group.

        Returns
        -------
        ndarray of float64, shape (n,), or None
            The values; None if the metric must be measured candidate by candidate.

        Raises
        ------
        MetricError
            If the function raises, or returns anything but a number for each row.
        """
        function = getattr(self.function, "population", None)
        if function is None:
            return None
        try:
            found = function(graph, widths)
        except OptpruneError:
            raise
        except Exception as error:
            raise MetricError(
                f"metric {self.name!r} raised {type(error).__name__}: {error}"
            ) from error
        return self._numbers(found, len(widths))

    def __call__(self, candidate: Candidate) -> float:
        """Measure a candidate.

        Random numbers that the function draws from torch, numpy's or Python's global generators
        are settled by the candidate alone, so they do not depend on the order of evaluation.

        Parameters
        ----------
        candidate : Candidate
            What to measure.

        Returns
        -------
        float
            A finite number.

        Raises
        ------
        MetricError
            If the function raises, or returns anything but one finite number.
        """
        try:
            with candidate.randomness(f"metric {self.name}"):
                value = self.function(candidate)
        except OptpruneError:
            raise
        except Exception as error:
            raise MetricError(
                f"metric {self.name!r} raised {type(error).__name__}: {error}"
            ) from error
        if isinstance(self.function, PerPopulation):
            value = self._numbers(value, 1)[0]
        return self._finite(value)

    def _numbers(self, found: Any, n: int) -> npt.NDArray[np.float64]:
        """Turn what the function returned for a population into n floats."""
        if isinstance(found, torch.Tensor):
            found = found.detach().cpu().double().numpy()
        said = f"metric {self.name!r} must return {n} number{'s' * (n != 1)} for {n} row"
        said += f"{'s' * (n != 1)} of widths, shape ({n},); got "
        try:
            array = np.asarray(found)
        except ValueError as error:  # rows of different lengths
            raise MetricError(f"{said}{found!r:.80}.") from error
        if array.dtype.kind not in "biuf":
            raise MetricError(f"{said}{type(found).__name__} {found!r:.80}.")
        if array.shape != (n,):
            raise MetricError(f"{said}shape {array.shape}.")
        return array.astype(np.float64)

    def _finite(self, value: Any) -> float:
        """Turn what the function returned into a finite float."""
        number: Any = value
        if isinstance(value, torch.Tensor):
            number = value.detach().cpu().numpy() if value.dtype != torch.bfloat16 else value.item()
        if isinstance(number, np.ndarray | np.generic):
            if number.size != 1:
                raise MetricError(
                    f"metric {self.name!r} must return one number, got an array of shape "
                    f"{number.shape}."
                )
            number = number.item()
        if not isinstance(number, numbers.Real):
            raise MetricError(
                f"metric {self.name!r} must return one number, got {type(value).__name__} "
                f"{value!r:.80}."
            )
        result = float(number)
        if not math.isfinite(result):
            raise MetricError(f"metric {self.name!r} must return a finite number, got {result}.")
        return result

    def __le__(self, bound: float) -> Constraint:
        return Constraint(self, "<=", bound)

    def __lt__(self, bound: float) -> Constraint:
        return Constraint(self, "<=", bound)

    def __ge__(self, bound: float) -> Constraint:
        return Constraint(self, ">=", bound)

    def __gt__(self, bound: float) -> Constraint:
        return Constraint(self, ">=", bound)

    # The decorator puts the metric where its function was, so pickle cannot find the function
    # under its name any more: what travels is where the metric is found.
    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        module = getattr(self.function, "__module__", None)
        name = getattr(self.function, "__qualname__", None)
        if module is not None and name is not None:
            found = _find(module, name)
            if isinstance(found, Metric) and found.function is self.function:
                state["function"] = _Place(module, name)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        place = state["function"]
        if isinstance(place, _Place):
            importlib.import_module(place.module)
            found = _find(place.module, place.name)
            if not isinstance(found, Metric):
                raise ArgumentError(
                    f"metric {state['name']!r} is not found as {place.module}.{place.name}."
                )
            state = {**state, "function": found.function}
        self.__dict__.update(state)


@dataclass(frozen=True)
class _Place:
    """Where a metric made by the decorator is found."""

    module: str
    name: str


def _find(module: str, name: str) -> Any:
    """Return what a loaded module has under a qualified name, or None."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
