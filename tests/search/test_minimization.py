from __future__ import annotations

import math

import numpy as np

from optprune.formulation import metrics
from optprune.search import WORST, Budget, Evaluations, Session, to_minimization
from tests.search.cases import chain, custom, structures


def evaluated() -> tuple[np.ndarray, np.ndarray, Evaluations]:
    def fragile(candidate: object) -> float:
        first = int(candidate.widths[0])  # type: ignore[attr-defined]
        return math.nan if first == 2 else float(first)

    problem = chain(
        objectives=[
            metrics.macs,
            custom(fragile, direction="maximize", needs="network"),
        ],
        subject_to=[metrics.macs <= 0.9],
    )
    batch = structures(problem, (3, 3, 3), (2, 3, 3), (4, 5, 6))
    with Session(problem, Budget(evaluations=10)) as session:
        evaluations = session.evaluate(batch)
    return *to_minimization(problem, evaluations), evaluations


def test_maximized_objectives_are_negated() -> None:
    objectives, _, evaluations = evaluated()
    assert objectives[0, 0] == evaluations.objectives[0, 0]
    assert objectives[0, 1] == -3.0


def test_a_failed_row_is_worst_in_everything() -> None:
    objectives, violations, evaluations = evaluated()
    assert evaluations.failed.tolist() == [False, True, False]
    assert (objectives[1] == WORST).all()
    assert (violations[1] == WORST).all()


def test_a_row_stopped_by_a_constraint_is_finite_and_violates() -> None:
    objectives, violations, evaluations = evaluated()
    assert math.isnan(evaluations.objectives[2, 1])
    assert objectives[2, 0] == 1.0
    assert objectives[2, 1] == WORST
    assert violations[2, 0] > 0.0
    assert np.isfinite(objectives).all()
    assert np.isfinite(violations).all()
    assert (violations >= 0.0).all()


def test_without_constraints_there_are_no_columns() -> None:
    problem = chain()
    with Session(problem, Budget(evaluations=10)) as session:
        evaluations = session.evaluate(structures(problem, (3, 3, 3)))
    objectives, violations = to_minimization(problem, evaluations)
    assert objectives.shape == (1, 1)
    assert violations.shape == (1, 0)
