"""The decorator that turns a function of a candidate, or of a population, into a metric."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation.metric import Metric, Needs
from optprune.formulation.per_population import PerPopulation

if TYPE_CHECKING:
    from optprune.formulation.candidate import Candidate
    from optprune.surgery import ChannelGraph

__all__ = ["metric"]

_OfCandidate: TypeAlias = "Callable[[Candidate], Any]"
_OfPopulation: TypeAlias = "Callable[[ChannelGraph, npt.NDArray[np.int64]], Any]"


@overload
def metric(function: _OfCandidate, /) -> Metric: ...


@overload
def metric(
    *,
    per: Literal["candidate"] = "candidate",
    name: str | None = None,
    unit: str = "",
    direction: Literal["minimize", "maximize"] = "minimize",
    needs: Needs | None = None,
    version: int | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
    reference: float | None = None,
    alone: bool = False,
) -> Callable[[_OfCandidate], Metric]: ...


@overload
def metric(
    *,
    per: Literal["population"],
    name: str | None = None,
    unit: str = "",
    direction: Literal["minimize", "maximize"] = "minimize",
    needs: Literal["structure"] | None = None,
    version: int | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
    reference: float | None = None,
) -> Callable[[_OfPopulation], Metric]: ...


def metric(
    function: _OfCandidate | None = None,
    /,
    *,
    per: Literal["candidate", "population"] = "candidate",
    name: str | None = None,
    unit: str = "",
    direction: Literal["minimize", "maximize"] = "minimize",
    needs: Needs | None = None,
    version: int | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
    reference: float | None = None,
    alone: bool = False,
) -> Metric | Callable[[_OfCandidate], Metric] | Callable[[_OfPopulation], Metric]:
    """Turn a function of a candidate, or of a whole population, into a metric.

    Parameters
    ----------
    function : callable
        Takes a `Candidate`, returns a number; or see `per`.
    per : {"candidate", "population"}, default "candidate"
        With ``"population"`` the function takes the graph of the dense network and the kept units
        of each group, int64 of shape (n, n_groups), and returns n numbers, one for each row: what
        follows from widths alone is measured by one array operation.
    name : str, optional
        Default: the function's name.
    needs : {"structure", "network", "predictions"}, optional
        Default: ``"predictions"``; per population it is always ``"structure"``.
    unit, direction, version, limits, reference, alone
        See `Metric`.

    Returns
    -------
    Metric
        Or, called with keywords only, a decorator that makes one.

    Raises
    ------
    ArgumentError
        If an option has a value that cannot be used, or, per population, one for what is measured
        on a network.
    ArgumentTypeError
        If what is decorated is no function, or one that takes other arguments.

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

    For a whole population at once:

    >>> @op.metric(per="population", unit="units", version=1)
    ... def widest(graph, widths):
    ...     return widths.max(axis=1)
    >>> widest.needs
    'structure'
    """
    if per not in ("candidate", "population"):
        raise ArgumentError(f"per must be 'candidate' or 'population'; got {per!r}.")
    if per == "population" and (needs not in (None, "structure") or alone):
        raise ArgumentError(
            f"a metric per population has widths alone: {f'{needs=}' if needs else f'{alone=}'} is "
            "for what is measured on a network. Leave it out, or write a function of a candidate "
            "with per='candidate'."
        )

    def decorate(function: Callable[..., Any]) -> Metric:
        if not callable(function):
            raise ArgumentTypeError(
                "metric decorates a function of a candidate, got "
                f"{type(function).__name__} {function!r:.80}; its options are keywords."
            )
        own = str(getattr(function, "__name__", type(function).__name__))
        _check_arguments(function, own, per)
        return Metric(
            name=name or own,
            function=PerPopulation(function) if per == "population" else function,
            unit=unit,
            direction=direction,
            needs=needs or ("structure" if per == "population" else "predictions"),
            version=version,
            limits=limits,
            reference=reference,
            alone=alone,
        )

    return decorate if function is None else decorate(function)


def _check_arguments(function: Callable[..., Any], name: str, per: str) -> None:
    """Raise unless a function can be called with a candidate, or with a graph and widths."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C: it shows when it is called
        return
    expected = ("graph", "widths") if per == "population" else ("candidate",)
    try:
        signature.bind(*expected)
    except TypeError as error:
        raise ArgumentTypeError(
            f"metric {name!r} is measured per {per}, by {name}({', '.join(expected)}), and its "
            f"function takes {signature}. per='population' is for functions of (graph, widths), "
            "per='candidate' for functions of a candidate."
        ) from error
