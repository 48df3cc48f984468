"""Checks of what an allocation is given: a wrong argument is refused where it is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError, nearest

if TYPE_CHECKING:
    from optprune.surgery import CostPolynomial

__all__ = [
    "check_bounds",
    "check_budgets",
    "check_costs",
    "check_count",
    "check_importance",
    "check_options",
    "check_solver",
    "check_tables",
    "floats",
]

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


def check_costs(owner: str, costs: Mapping[str, CostPolynomial]) -> _Ints:
    """Return the dense widths that all costs share, shape (n_groups,)."""
    from optprune.surgery import CostPolynomial

    if not isinstance(costs, Mapping) or not costs:
        raise ArgumentTypeError(
            f"{owner}: `costs` must map at least one name to a CostPolynomial, for example "
            f"{{'macs': graph.costs.macs}}; got {costs!r}."
        )
    for name, cost in costs.items():
        if not isinstance(cost, CostPolynomial):
            raise ArgumentTypeError(
                f"{owner}: `costs[{name!r}]` must be a CostPolynomial, not {cost!r}."
            )
    first, *others = costs
    dense = costs[first].dense_widths
    for name in others:
        if not np.array_equal(costs[name].dense_widths, dense):
            raise ArgumentError(
                f"{owner}: `costs` must belong to one network; {first!r} has the dense widths "
                f"{dense.tolist()}, {name!r} has {costs[name].dense_widths.tolist()}."
            )
    if not len(dense):
        raise ArgumentError(f"{owner}: `costs` have no group: there is no width to choose.")
    return dense


def check_importance(owner: str, importance: npt.ArrayLike, n_groups: int) -> _Floats:
    """Return the importance as floats, shape (n_groups,)."""
    values = floats(owner, "importance", importance)
    if values.shape != (n_groups,):
        raise ArgumentError(
            f"{owner}: `importance` must have shape ({n_groups},), a number for each group; "
            f"got {values.shape}."
        )
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
        raise ArgumentError(
            f"{owner}: `importance` must be finite and not negative; group {wrong[0]} has "
            f"{values[wrong[0]]}."
        )
    if not values.any():
        raise ArgumentError(
            f"{owner}: `importance` is zero for every group, so that all widths are equally good; "
            "give ones where nothing is known."
        )
    return values


def check_bounds(
    owner: str, lower: npt.ArrayLike | None, upper: npt.ArrayLike | None, dense: _Ints
) -> tuple[_Ints, _Ints]:
    """Return the least and the greatest widths, each of shape (n_groups,)."""
    low = np.ones_like(dense) if lower is None else _whole(owner, "lower", lower, len(dense))
    high = dense.copy() if upper is None else _whole(owner, "upper", upper, len(dense))
    for group, (least, most, full) in enumerate(zip(low, high, dense, strict=True)):
        if not 1 <= least <= most <= full:
            raise ArgumentError(
                f"{owner}: `lower` and `upper` must satisfy 1 <= lower <= upper <= dense width; "
                f"group {group} has lower {least}, upper {most}, dense width {full}."
            )
    return low, high


def check_budgets(
    owner: str, budgets: Mapping[str, float], costs: Mapping[str, CostPolynomial]
) -> dict[str, float]:
    """Return the budgets as floats, by the names of their costs."""
    if not isinstance(budgets, Mapping):
        raise ArgumentTypeError(
            f"{owner}: `budgets` must map names of costs to budgets, not {budgets!r}."
        )
    found: dict[str, float] = {}
    for name, budget in budgets.items():
        if name not in costs:
            raise ArgumentError(
                f"{owner}: `budgets` name a cost {name!r} that is not there; the costs are "
                f"{', '.join(map(repr, costs))}.{nearest(str(name), costs)}"
            )
        found[name] = _finite(owner, f"budgets[{name!r}]", costs[name].unit, budget)
    return found


def check_options(owner: str, options: Sequence[npt.ArrayLike], dense: _Ints) -> list[_Ints]:
    """Return the allowed widths of every group, ascending."""
    if not isinstance(options, Sequence | np.ndarray):
        raise ArgumentTypeError(
            f"{owner}: `options` must be a list of allowed widths for each group, not {options!r}."
        )
    if len(options) != len(dense):
        raise ArgumentError(
            f"{owner}: `options` must list the allowed widths of each of the {len(dense)} groups; "
            f"got {len(options)} lists."
        )
    found = []
    for group, (given, full) in enumerate(zip(options, dense, strict=True)):
        widths = _whole(owner, f"options[{group}]", given, None)
        if not len(widths) or widths[0] < 1 or widths[-1] > full or (np.diff(widths) <= 0).any():
            raise ArgumentError(
                f"{owner}: `options[{group}]` must be ascending widths from 1 to the dense width "
                f"{full}, at least one; got {widths.tolist()}."
            )
        found.append(widths)
    return found


def check_tables(
    owner: str, name: str, tables: Sequence[npt.ArrayLike], options: Sequence[_Ints]
) -> list[_Floats]:
    """Return tables of numbers, one for each option of every group."""
    if not isinstance(tables, Sequence | np.ndarray):
        raise ArgumentTypeError(
            f"{owner}: `{name}` must be a list of numbers for each group, not {tables!r}."
        )
    if len(tables) != len(options):
        raise ArgumentError(
            f"{owner}: `{name}` must have a table for each of the {len(options)} groups; got "
            f"{len(tables)}."
        )
    found = []
    for group, (given, widths) in enumerate(zip(tables, options, strict=True)):
        table = floats(owner, f"{name}[{group}]", given)
        if table.shape != widths.shape:
            raise ArgumentError(
                f"{owner}: `{name}[{group}]` must have a number for each of the {len(widths)} "
                f"options of the group; got shape {table.shape}."
            )
        if not np.isfinite(table).all():
            raise ArgumentError(
                f"{owner}: `{name}[{group}]` must be finite; got {table.tolist()}. Leave out the "
                "options that are not allowed."
            )
        found.append(table)
    return found


def check_solver(owner: str, solver: str) -> str:
    """Return the name of a solver; whether it is installed is known when it is called."""
    if not isinstance(solver, str):
        raise ArgumentTypeError(
            f"{owner}: `solver` must be the name that cvxpy has for a solver, for example "
            f"'CLARABEL', not {solver!r}."
        )
    return solver


def check_count(owner: str, name: str, value: object, least: int) -> int:
    """Return a whole number that is not below `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ArgumentTypeError(f"{owner}: `{name}` must be a whole number, not {value!r}.")
    if value < least:
        raise ArgumentError(f"{owner}: `{name}` must be at least {least}; got {value!r}.")
    return int(value)


def floats(owner: str, name: str, given: npt.ArrayLike) -> _Floats:
    """Return an array of numbers."""
    try:
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(f"{owner}: `{name}` must be numbers, not {given!r}.") from error


def _whole(owner: str, name: str, given: npt.ArrayLike, n: int | None) -> _Ints:
    """Return a vector of whole numbers, of length `n` if that is given."""
    values = floats(owner, name, given)
    if values.ndim != 1 or (n is not None and len(values) != n):
        shape = "one dimension" if n is None else f"shape ({n},), a width for each group"
        raise ArgumentError(f"{owner}: `{name}` must have {shape}; got shape {values.shape}.")
    kind = np.asarray(given).dtype
    if values.size and not np.issubdtype(kind, np.integer):
        raise ArgumentTypeError(
            f"{owner}: `{name}` must be whole numbers of units; got the type {kind}."
        )
    return values.astype(np.int64)


def _finite(owner: str, name: str, unit: str, given: object) -> float:
    """Return a finite number."""
    if isinstance(given, bool) or not isinstance(given, Real):
        raise ArgumentTypeError(f"{owner}: `{name}` must be a number, not {given!r}.")
    if not math.isfinite(given):
        raise ArgumentError(
            f"{owner}: `{name}` must be finite, in {unit}; got {given!r}. A cost without a budget "
            "is left out."
        )
    return float(given)
