from __future__ import annotations

import re

import pytest

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.optimizers import (
    CMAES,
    CTAEA,
    GA,
    MOCMAES,
    MOEAD,
    NSGA2,
    NSGA3,
    PBIL,
    RVEA,
    SPEA2,
    UNSGA3,
    Calibration,
    ConvexAllocation,
    DeapGA,
    DeapNSGA2,
    DeapNSGA3,
    DifferentialEvolution,
    DualAnnealing,
    GlobalSelection,
    GreedyElimination,
    ParticleSwarm,
    Random,
    ScipyDE,
    SimulatedAnnealing,
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


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (GA, {"population": 3}),
        (GA, {"start": "middle"}),
        (SPEA2, {"crossover": 1.5}),
        (NSGA3, {"partitions": 0}),
        (UNSGA3, {"partitions": 2.0}),
        (CTAEA, {"partitions": -1}),
        (RVEA, {"generations": 0}),
        (RVEA, {"alpha": 0.0}),
        (RVEA, {"adaptation": 0.0}),
        (MOEAD, {"neighbors": 1}),
        (MOEAD, {"locality": 2.0}),
        (MOEAD, {"decomposition": "sum"}),
        (DifferentialEvolution, {"base": "worst"}),
        (DifferentialEvolution, {"weight": 0.0}),
        (DifferentialEvolution, {"mutation": -0.1}),
        (ParticleSwarm, {"inertia": -1.0}),
        (ParticleSwarm, {"speed": 0.0}),
        (ParticleSwarm, {"population": True}),
        (CMAES, {"step": 0.0}),
        (CMAES, {"growth": 0}),
        (CMAES, {"start": None}),
    ],
)
def test_parameters_that_cannot_be_are_refused_by_name(kind, wrong):
    (name,) = wrong
    with pytest.raises((ArgumentError, ArgumentTypeError), match=f"{kind.__name__}: `{name}`"):
        kind(**wrong)


@pytest.mark.parametrize(
    ("kind", "wrong", "words"),
    [
        (DeapGA, {"offspring": 0}, "must be at least 1, not 0"),
        (DeapNSGA2, {"population": 6}, "multiple of 4, not 6"),
        (DeapNSGA3, {"partitions": 0}, "must be at least 1, not 0"),
        (MOCMAES, {"sigma": 0.0}, "above 0 and at most 1, not 0.0"),
        (MOCMAES, {"population": 1}, "must be at least 2"),
        (PBIL, {"elite": 25}, "at most `population`, 24, not 25"),
        (PBIL, {"rate": 0}, "above 0 and at most 1"),
        (PBIL, {"margin": 1.0}, "between 0 and 1"),
        (ScipyDE, {"population": 4}, "must be at least 5"),
        (ScipyDE, {"strategy": "best"}, "must be one of 'best1bin'"),
        (ScipyDE, {"differential": 3.0}, "between 0 and 2, not 3.0"),
        (ScipyDE, {"differential": (1.0, 0.5)}, "a number or (least, most)"),
        (ScipyDE, {"crossover": 1.5}, "a probability"),
        (DualAnnealing, {"temperature": 0.0}, "above 0.01"),
        (DualAnnealing, {"visit": 3.5}, "above 1 and at most 3"),
        (DualAnnealing, {"accept": -4.0}, "at most -5"),
        (DualAnnealing, {"local_search": 1}, "True or False"),
        (DualAnnealing, {"first": 0}, "must be at least 1"),
        (SimulatedAnnealing, {"cold": 1.0}, "less than `hot`"),
        (SimulatedAnnealing, {"reach": 0.0}, "between 0 and 1"),
        (SimulatedAnnealing, {"steps": 2.5}, "a whole number"),
        (GreedyElimination, {"targets": (1.5,)}, "between 0 and 1; got 1.5"),
        (GreedyElimination, {"cost": "latency"}, "'macs', 'parameters'"),
        (GreedyElimination, {"step": 0}, "must be at least 1"),
        (GreedyElimination, {"per_cost": None}, "True or False"),
        (GreedyElimination, {"seeded_by": 3}, "must be a structure, a result"),
    ],
)
def test_parameters_that_cannot_be_are_refused_with_what_they_may_be(kind, wrong, words):
    (name,) = wrong
    expected = f"{kind.__name__}: `{name}`.*{re.escape(words)}"
    with pytest.raises((ArgumentError, ArgumentTypeError), match=expected):
        kind(**wrong)


def test_the_repr_is_the_configuration():
    optimizer = NSGA2(population=16, mutation=0.2)
    assert eval(repr(optimizer), {"NSGA2": NSGA2}) == optimizer
    assert NSGA2(population=16) != NSGA2()
