"""The decorator that turns a function of a candidate into a metric."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, overload

from optprune.errors import ArgumentTypeError
from optprune.formulation.metric import Metric, Needs

if TYPE_CHECKING:
    from optprune.formulation.candidate import Candidate

__all__ = ["metric"]


@overload
def metric(function: Callable[[Candidate], Any], /) -> Metric: ...


@overload
def metric(
    *,
    name: str | None = None,
    unit: str = "",
    direction: Literal["minimize", "maximize"] = "minimize",
    needs: Needs = "predictions",
    version: int | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
    reference: float | None = None,
    alone: bool = False,
) -> Callable[[Callable[[Candidate], Any]], Metric]: ...


def metric(
    function: Callable[[Candidate], Any] | None = None,
    /,
    *,
    name: str | None = None,
    unit: str = "",
    direction: Literal["minimize", "maximize"] = "minimize",
    needs: Needs = "predictions",
    version: int | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
    reference: float | None = None,
    alone: bool = False,
) -> Metric | Callable[[Callable[[Candidate], Any]], Metric]:
    """Turn a function of a candidate into a metric.

    Parameters
    ----------
    function : callable
        Takes a `Candidate`, returns a number.
    name : str, optional
        Default: the function's name.
    unit, direction, needs, version, limits, reference, alone
        See `Metric`.

    Returns
    -------
    Metric
        Or, called with keywords only, a decorator that makes one.

    Notes
    -----
    A journal tells metrics apart by name, version, source, and the values that the function closes
    over. What else it calls is not looked into: count `version` up when that changes.

    Examples
    --------
    >>> import optprune as op
    >>> @op.metric(unit="units", needs="structure", version=1)
    ... def narrowest(candidate):
    ...     return candidate.widths.min()
    >>> narrowest.name
    'narrowest'
    >>> print(narrowest >= 4)
    narrowest >= 4
    """

    def decorate(function: Callable[[Candidate], Any]) -> Metric:
        if not callable(function):
            raise ArgumentTypeError(
                "metric decorates a function of a candidate, got "
                f"{type(function).__name__} {function!r:.80}; its options are keywords."
            )
        return Metric(
            name=name or str(getattr(function, "__name__", type(function).__name__)),
            function=function,
            unit=unit,
            direction=direction,
            needs=needs,
            version=version,
            limits=limits,
            reference=reference,
            alone=alone,
        )

    return decorate if function is None else decorate(function)
