"""How SciPy's optimizers are called: their functions evaluate, ours let exceptions through."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["call", "randomness"]


class _Passing(Exception):
    """Carries an exception through SciPy."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def call(solver: Callable[..., object], function: Callable[..., Any], **options: Any) -> None:
    """Run a solver of SciPy on a function, and let exceptions of the function through.

    Parameters
    ----------
    solver : callable
        Takes the function first.
    function : callable
        What is minimized.
    **options
        Of the solver.

    Raises
    ------
    Exception
        What the function raises, itself: SciPy turns a ``ValueError`` or ``TypeError`` of the
        function (such as `MetricError`) into a ``RuntimeError`` about the function's signature, and
        ends quietly on ``StopIteration``.
    """

    def guarded(x: Any) -> Any:
        try:
            return function(x)
        except Exception as error:
            raise _Passing(error) from error

    try:
        solver(guarded, **options)
    except _Passing as passing:
        raise passing.error from None


def randomness(solver: Callable[..., object], generator: np.random.Generator) -> dict[str, Any]:
    """Return the keyword for a solver's generator: ``rng``, or ``seed`` before SciPy 1.15."""
    name = "rng" if "rng" in inspect.signature(solver).parameters else "seed"
    return {name: generator}
