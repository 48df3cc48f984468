from __future__ import annotations

import pytest

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.optimizers import (
    NSGA2,
    Calibration,
    ConvexAllocation,
    DeapGA,
    GlobalSelection,
    Random,
    UniformWidths,
)


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (NSGA2, {"population": 2}, "NSGA2: `population` must be at least 4, not 2"),
        (NSGA2, {"crossover": 1.5}, "`crossover` must be a probability"),
        (NSGA2, {"crossover_eta": 0.5}, "`crossover_eta` must be at least 1"),
        (NSGA2, {"mutation": -0.1}, "`mutation` must be a probability"),
        (NSGA2, {"mutation_eta": 0}, "`mutation_eta` must be at least 1"),
        (NSGA2, {"start": "full"}, "'spread' or 'random', not 'full'"),
        (DeapGA, {"population": 30}, "multiple of 4, not 30"),
        (DeapGA, {"population": 0}, "`population` must be at least 4"),
        (DeapGA, {"crossover": 2}, "`crossover` must be a probability"),
        (DeapGA, {"mutation": 2}, "`mutation` must be a probability"),
        (DeapGA, {"mutation_eta": -1}, "`mutation_eta` must be at least 1"),
        (DeapGA, {"tournament": 0}, "`tournament` must be at least 1"),
        (Random, {"batch": 0}, "Random: `batch` must be at least 1"),
        (UniformWidths, {"steps": 1}, "UniformWidths: `steps` must be at least 2"),
        (GlobalSelection, {"targets": (0.5, 1.0)}, "GlobalSelection: `targets` .* 1; got 1.0"),
        (ConvexAllocation, {"targets": (0.0,)}, "ConvexAllocation: `targets` .* 1; got 0.0"),
        (Calibration, {"keep": (2.0,)}, "Calibration: `keep` are fractions of a group's units"),
    ],
)
def test_values_out_of_range_are_refused_and_named(kind, arguments, words):
    with pytest.raises(ArgumentError, match=words):
        kind(**arguments)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (NSGA2, {"population": 32.0}),
        (NSGA2, {"population": True}),
        (NSGA2, {"crossover": "0.9"}),
        (NSGA2, {"mutation_eta": float("nan")}),
        (DeapGA, {"tournament": None}),
        (Random, {"batch": "16"}),
        (UniformWidths, {"steps": 2.5}),
        (GlobalSelection, {"targets": [0.5]}),
        (ConvexAllocation, {"targets": ("half",)}),
        (Calibration, {"keep": 0.5}),
    ],
)
def test_values_of_another_type_are_refused_and_named(kind, arguments):
    (name,) = arguments
    with pytest.raises(ArgumentTypeError, match=f"{kind.__name__}: `{name}`"):
        kind(**arguments)


def test_the_repr_is_the_configuration():
    optimizer = NSGA2(population=16, mutation=0.2)
    assert eval(repr(optimizer), {"NSGA2": NSGA2}) == optimizer
    assert NSGA2(population=16) != NSGA2()
