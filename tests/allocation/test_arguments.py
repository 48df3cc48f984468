"""Arguments that cannot be used are named, with what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optprune.allocation import (
    Program,
    SignomialProgram,
    TableProgram,
    allocate,
    allocate_values,
)
from optprune.errors import ArgumentError, ArgumentTypeError, InfeasibleError

from .cases import chain_cost, parameters, polynomial

COST = chain_cost((8, 6))
OPTIONS = [[2, 4, 8], [3, 6]]
LOSSES = [[3.0, 2.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize("program", [Program, SignomialProgram])
@pytest.mark.parametrize(
    ("importance", "message"),
    [
        ([1, np.nan], "group 1 has nan"),
        ([np.inf, 1], "group 0 has inf"),
        ([1, -2], r"group 1 has -2"),
        ([1, 2, 3], r"shape \(2,\)"),
        ([0, 0], "zero for every group"),
    ],
)
def test_importance_is_finite_and_not_negative(program: Any, importance: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        program({"macs": COST}, importance)


@pytest.mark.parametrize("program", [Program, SignomialProgram])
@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"lower": [5, 1], "upper": [4, 6]}, "group 0 has lower 5, upper 4"),
        ({"lower": [0, 1]}, "group 0 has lower 0"),
        ({"upper": [8, 7]}, "group 1 has lower 1, upper 7, dense width 6"),
        ({"lower": [1]}, r"shape \(2,\)"),
    ],
)
def test_bounds_do_not_contradict_each_other(program: Any, bounds: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        program({"macs": COST}, [1, 1], **bounds)


def test_bounds_are_whole_numbers() -> None:
    with pytest.raises(ArgumentTypeError, match="whole numbers"):
        Program({"macs": COST}, [1, 1], lower=[1.5, 1])


@pytest.mark.parametrize("solve", ["program", "signomial", "tables"])
def test_budgets_name_costs_and_are_numbers(solve: str) -> None:
    program: Any = {
        "program": lambda: Program({"macs": COST}, [1, 1]),
        "signomial": lambda: SignomialProgram({"macs": COST}, [1, 1]),
        "tables": lambda: TableProgram({"macs": COST}, OPTIONS, LOSSES),
    }[solve]()
    with pytest.raises(ArgumentError, match=r"'mac' that is not there.*Did you mean 'macs'"):
        program.solve({"mac": 100})
    with pytest.raises(ArgumentTypeError, match="must be a number"):
        program.solve({"macs": "half"})
    with pytest.raises(ArgumentError, match="must be finite"):
        program.solve({"macs": np.nan})
    with pytest.raises(ArgumentTypeError, match="must map names"):
        program.solve(100)


def test_costs_belong_to_one_network() -> None:
    with pytest.raises(ArgumentTypeError, match="at least one name"):
        Program({}, [1, 1])
    with pytest.raises(ArgumentTypeError, match="CostPolynomial"):
        Program({"macs": 3}, [1, 1])  # type: ignore[dict-item]
    with pytest.raises(ArgumentError, match="one network"):
        Program({"macs": COST, "parameters": parameters((8, 7))}, [1, 1])
    with pytest.raises(ArgumentError, match="no group"):
        Program({"macs": polynomial([], [(3, [])])}, [])


@pytest.mark.parametrize(
    "made",
    [
        lambda solver: Program({"macs": COST}, [1, 1], solver=solver),
        lambda solver: SignomialProgram({"macs": COST}, [1, 1], solver=solver),
        lambda solver: TableProgram({"macs": COST}, OPTIONS, LOSSES, solver=solver),
    ],
    ids=["program", "signomial", "tables"],
)
def test_a_solver_is_a_name(made: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="`solver` must be the name that cvxpy has"):
        made(3)


@pytest.mark.parametrize("program", [Program, SignomialProgram])
@pytest.mark.parametrize("importance", ["high", ["a", "b"], None, [[1], [2, 3]]])
def test_importance_is_numbers(program: Any, importance: Any) -> None:
    with pytest.raises(ArgumentError if importance is None else ArgumentTypeError, match="import"):
        program({"macs": COST}, importance)


@pytest.mark.parametrize(
    ("options", "losses", "message"),
    [
        ([[2, 4]], LOSSES, "each of the 2 groups"),
        ([[2, 4, 4], [3, 6]], LOSSES, "ascending"),
        ([[2, 4, 9], [3, 6]], LOSSES, "dense width 8"),
        ([[0, 4, 8], [3, 6]], LOSSES, "from 1"),
        ([[], [3, 6]], LOSSES, "at least one"),
        ([[[2]], [3, 6]], LOSSES, "one dimension"),
        (OPTIONS, [[3.0, 2.0], [1.0, 0.0]], "each of the 3 options"),
        (OPTIONS, [[3.0, 2.0, np.nan], [1.0, 0.0]], "Leave out"),
        (OPTIONS, [[3.0, 2.0, 1.0]], "each of the 2 groups"),
    ],
)
def test_tables_fit_their_options(options: Any, losses: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        TableProgram({"macs": COST}, options, losses)
    with pytest.raises(ArgumentError, match=message):
        allocate_values({"macs": COST}, {}, options, losses, [8, 6])


@pytest.mark.parametrize(
    ("options", "losses", "message"),
    [
        (None, LOSSES, "`options` must be a list of allowed widths for each group"),
        (OPTIONS, None, "must be a list of numbers for each group"),
        (["some", [3, 6]], LOSSES, r"`options\[0\]` must be numbers"),
        (OPTIONS, [["a", "b", "c"], [1.0, 0.0]], r"\[0\]` must be numbers"),
    ],
)
def test_tables_are_lists_of_numbers(options: Any, losses: Any, message: str) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        TableProgram({"macs": COST}, options, losses)
    with pytest.raises(ArgumentTypeError, match=message):
        allocate_values({"macs": COST}, {}, options, losses, [8, 6])


def test_options_are_whole_numbers() -> None:
    with pytest.raises(ArgumentTypeError, match="whole numbers"):
        allocate(Program({"macs": COST}, [1, 1]), {"macs": 100}, [[1.5], [2]])


@pytest.mark.parametrize("relaxed", [[0, 6], [np.nan, 6], [8, np.inf], [8], [[8, 6]]])
def test_relaxed_widths_are_positive(relaxed: Any) -> None:
    with pytest.raises(ArgumentError, match="`relaxed` must be 2 positive widths"):
        allocate_values({"macs": COST}, {}, OPTIONS, LOSSES, relaxed)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("starts", 0, "`starts` must be at least 1; got 0"),
        ("steps", 0, "`steps` must be at least 1; got 0"),
        ("seed", -1, "`seed` must be at least 0; got -1"),
        ("starts", 2.0, r"`starts` must be a whole number, not 2\.0"),
        ("steps", "many", "`steps` must be a whole number, not 'many'"),
        ("seed", True, "`seed` must be a whole number, not True"),
    ],
)
def test_counts_are_whole_numbers(name: str, value: Any, message: str) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        SignomialProgram({"macs": COST}, [1, 1]).solve({}, **{name: value})


def test_the_largest_table_is_a_count() -> None:
    with pytest.raises(ArgumentError, match="`largest` must be at least 0; got -1"):
        TableProgram({"macs": COST}, OPTIONS, LOSSES, largest=-1)
    with pytest.raises(ArgumentError, match="`largest` must be at least 0; got -1"):
        allocate_values({"macs": COST}, {}, OPTIONS, LOSSES, [8, 6], largest=-1)


@pytest.mark.parametrize("budget", [0, -5, 1e-300])
@pytest.mark.parametrize(
    "solved",
    [
        lambda budgets: Program({"macs": COST}, [1, 1]).solve(budgets),
        lambda budgets: SignomialProgram({"macs": COST}, [1, 1]).solve(budgets),
        lambda budgets: TableProgram({"macs": COST}, OPTIONS, LOSSES).solve(budgets),
        lambda budgets: allocate(Program({"macs": COST}, [1, 1]), budgets, OPTIONS),
        lambda budgets: allocate_values({"macs": COST}, budgets, OPTIONS, LOSSES, [8, 6]),
    ],
    ids=["program", "signomial", "tables", "allocate", "values"],
)
def test_no_widths_are_within_a_budget_of_nothing(solved: Any, budget: float) -> None:
    with pytest.raises(InfeasibleError, match=r"'macs' cannot be met: .* Ask for no less, or"):
        solved({"macs": budget})


def test_methods_are_known() -> None:
    with pytest.raises(ArgumentError, match="'auto' or 'envelope'"):
        TableProgram({"macs": COST}, OPTIONS, LOSSES, method="exact")  # type: ignore[arg-type]
