"""What is written as ``name=value`` is read by the type of what it is for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from optprune.cli.values import read_options, read_value
from optprune.errors import ArgumentError


@dataclass(frozen=True)
class Settings:
    """Fields of several kinds."""

    population: int = 32
    rate: float | None = None
    goals: tuple[float, ...] = (0.5,)
    hooks: dict[str, int] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", int, 3),
        ("-3", int, -3),
        ("3", float, 3.0),
        ("1e-3", float, 0.001),
        ("3", str, "3"),
        ("True", bool, True),
        ("false", bool, False),
        ("none", int | None, None),
        ("3", int | None, 3),
        ("none", str | None, None),
        ("best", Literal["best", "rand"], "best"),
        ("2", Literal[1, 2], 2),
        ("0.8,0.5", tuple[float, ...], (0.8, 0.5)),
        ("(0.8, 0.5)", Sequence[float], (0.8, 0.5)),
        ("0.8", tuple[float, ...], (0.8,)),
        ("0.5,1", tuple[float, float], (0.5, 1.0)),
        ("0.5,1", float | tuple[float, float], (0.5, 1.0)),
        ("a,b", list[str], ("a", "b")),
        ("3", inspect.Parameter.empty, 3),
        ("0.5", Any, 0.5),
        ("none", Any, None),
        ("true", Any, True),
        ("word", Any, "word"),
    ],
)
def test_a_value_becomes_what_its_type_says(text: str, kind: Any, value: Any) -> None:
    found = read_value(text, kind, "--option")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("3.5", int, "'3.5' is not a whole number"),
        ("many", float, "'many' is not a number"),
        ("yes", bool, "'yes' is not true or false"),
        ("much", int | None, "'much' is not a whole number or none"),
        ("worst", Literal["best", "rand"], "'worst' is not one of best, rand"),
        ("0.8,x", tuple[float, ...], "is not a number, or several with commas"),
        ("", tuple[float, ...], "is not a number, or several with commas"),
        ("1,2,3", tuple[float, float], "is not a number, or several with commas"),
        ("x", Callable[[int], int], "cannot be written on the command line"),
        ("x", dict[str, int], "cannot be written on the command line"),
        ("x", Settings | None, "'x' is not none. A value of type Settings cannot be written"),
        ("x", "NotKnown", "a value of type NotKnown cannot be written"),
    ],
)
def test_what_is_no_value_of_a_type_is_told(text: str, kind: Any, told: str) -> None:
    with pytest.raises(ArgumentError, match=f"--option 'a={text}': .*{told}"):
        read_value(text, kind, f"--option 'a={text}'")


def test_options_become_keywords() -> None:
    assert read_options(Settings, ["population = 8", "rate=0.5", "goals=1,2"], "it") == {
        "population": 8,
        "rate": 0.5,
        "goals": (1.0, 2.0),
    }
    assert read_options(lambda a, b=2: None, ["a=x", "b=3"], "it") == {"a": "x", "b": 3}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (["population"], "'population' must be written name=value"),
        (["=3"], "must be written name=value"),
        (["populatoin=3"], "it has no 'populatoin'. Did you mean 'population'"),
        (["size=3"], r"It has population=32, rate=None, goals=\(0.5,\), hooks"),
        (["rate=1", "rate=2"], "rate is given twice"),
        (["hooks=1"], "write on the command line|cannot be written on the command line"),
    ],
)
def test_options_that_mean_nothing_are_told(written: list[str], told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        read_options(Settings, written, "it")
