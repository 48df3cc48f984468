"""Checks of the optimizers' parameters, so that a wrong one is refused where it is written."""

from __future__ import annotations

import math
from numbers import Integral, Real

from optprune.errors import ArgumentError, ArgumentTypeError

__all__ = [
    "check_at_least",
    "check_fractions",
    "check_index",
    "check_number",
    "check_probability",
    "check_targets",
]


def check_at_least(owner: str, name: str, value: object, least: int) -> None:
    """Raise unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ArgumentTypeError(
            f"{owner}: `{name}` must be a whole number of at least {least}, not {value!r}."
        )
    if value < least:
        raise ArgumentError(f"{owner}: `{name}` must be at least {least}, not {value!r}.")


def check_index(owner: str, name: str, value: object) -> None:
    """Raise unless `value` is a distribution index, a number of at least 1."""
    if not check_number(owner, name, value) >= 1:
        raise ArgumentError(f"{owner}: `{name}` must be at least 1, not {value!r}.")


def check_probability(owner: str, name: str, value: object) -> None:
    """Raise unless `value` is a probability, from 0 to 1."""
    if not 0 <= check_number(owner, name, value) <= 1:
        raise ArgumentError(f"{owner}: `{name}` must be a probability from 0 to 1, not {value!r}.")


def check_number(owner: str, name: str, value: object) -> float:
    """Return `value` as a float; raise unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ArgumentTypeError(f"{owner}: `{name}` must be a finite number, not {value!r}.")
    return float(value)


def check_fractions(owner: str, name: str, values: object, of: str) -> None:
    """Raise unless `values` is a tuple of one or more fractions of something, each in (0, 1)."""
    if not isinstance(values, tuple) or not values:
        raise ArgumentTypeError(f"{owner}: `{name}` must be a tuple of fractions, not {values!r}.")
    for value in values:
        if not 0 < check_number(owner, name, value) < 1:
            raise ArgumentError(
                f"{owner}: `{name}` are fractions of {of}, between 0 and 1; got {value!r}."
            )


def check_targets(owner: str, targets: object) -> None:
    """Raise unless `targets` is a tuple of one or more fractions of the dense network's cost."""
    check_fractions(owner, "targets", targets, "the dense network's cost")
