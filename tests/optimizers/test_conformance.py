"""Every shipped optimizer passes the one list of canonical problems, or refuses a problem."""

from __future__ import annotations

import re

import pytest

from optprune import optimizers
from optprune.errors import ArgumentError, InfeasibleError
from optprune.search import Budget, Session, solve
from optprune.testing import check_optimizer
from tests.optimizers.shipped import EVERY, OTHERWISE, REAL, SHIPPED, SOME

LEAST = 100
"""Structures of a space in which different seeds must propose different things."""


def check(shipped, case):
    """Check the rules on one problem with several seeds."""
    seeded = shipped.draws and case.make().bound_space.cardinality >= LEAST
    # Where nothing is drawn a seed matters only to the candidates: to their recovery.
    seeds = range(3) if shipped.draws or case in REAL else range(1)
    check_optimizer(shipped.optimizer, cases=[case], seeds=seeds, seeded=seeded)


def test_the_list_has_every_optimizer():
    searching = {
        name
        for name in optimizers.__all__
        if isinstance(kind := getattr(optimizers, name), type) and hasattr(kind, "search")
    }
    assert sorted(map(repr, SHIPPED)) == sorted(searching)


@pytest.mark.parametrize("case", EVERY, ids=repr)
@pytest.mark.parametrize("shipped", SHIPPED, ids=repr)
def test_the_rules_are_kept_or_the_problem_is_refused(shipped, case):
    problem = case.make()
    if shipped.suits(problem):
        check(shipped, case)
        return
    with Session(problem, Budget(evaluations=8)) as session:
        with pytest.raises(ArgumentError, match=f"^{shipped}{shipped.refusal}"):
            shipped.optimizer.search(problem, session)
        assert len(session.rows) == shipped.begins_full


@pytest.mark.parametrize("case", SOME, ids=repr)
@pytest.mark.parametrize("shipped", OTHERWISE, ids=repr)
def test_with_other_settings_the_rules_are_kept_too(shipped, case):
    check(shipped, case)


@pytest.mark.parametrize(
    ("shipped", "case"),
    [
        pytest.param(shipped, case, id=f"{shipped}-{case}")
        for case in EVERY
        if case.name.startswith("infeasible")
        for shipped in SHIPPED
        if shipped.suits(case.make())
    ],
)
def test_where_nothing_is_feasible_the_search_ends_and_the_result_tells_the_nearest(shipped, case):
    problem = case.make()
    result = solve(problem, shipped.optimizer, evaluations=24, seed=1, progress=False)
    assert 0 < len(result.rows) <= 24
    assert not result.front_indices
    assert not any(row.feasible or row.failed for row in result.rows)
    nearest = min(result.rows, key=lambda row: row.violation)
    told = f"nearest, row {nearest.index}: {nearest.reason}"
    with pytest.raises(InfeasibleError, match=re.escape(told)):
        _ = result.best
