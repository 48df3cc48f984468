"""An optimizer that is not made for a problem says so, and what to do."""

from __future__ import annotations

import re

import pytest

from optprune.errors import ArgumentError, MissingDependencyError
from optprune.optimizers import (
    AGEMOEA2,
    CMAES,
    GA,
    MOEAD,
    NSGA3,
    PBIL,
    DeapGA,
    DualAnnealing,
    age_moea2,
)
from optprune.search import Budget, Session
from tests.optimizers.shipped import case_named


@pytest.mark.parametrize(
    ("optimizer", "case", "words"),
    [
        (GA(), "two objectives", "has 2 (distortion, macs). Keep one and bound the others"),
        (PBIL(), "two objectives", "or search for the front with NSGA2."),
        (DeapGA(), "three objectives", "has 3 (distortion, macs, valley). Keep one and bound the"),
        (DeapGA(), "two objectives", "or search for the front with DeapNSGA2."),
        (NSGA3(), "smooth", "this problem has one (valley). Add an objective"),
        (MOEAD(), "narrow", "this problem has 1 (macs <= 0.2). Make what is bounded an objective"),
        (CMAES(), "binary", "Use GA or NSGA2, or decide widths (op.Widths) or ratios"),
        (DualAnnealing(), "knapsack", "Use GA or NSGA2, or decide widths (op.Widths) or ratios"),
        (CMAES(), "single", "two variables or more, this problem has one (hidden0); use Uniform"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_refusal_says_what_to_do(optimizer, case, words):
    problem = case_named(case)
    with Session(problem, Budget(evaluations=8)) as session:
        with pytest.raises(ArgumentError, match=f"^{optimizer.name} .*{re.escape(words)}"):
            optimizer.search(problem, session)
        assert not session.rows


def test_without_numba_age_moea2_names_the_remedy(monkeypatch):
    monkeypatch.setattr(age_moea2, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="pip install numba"):
        AGEMOEA2()
