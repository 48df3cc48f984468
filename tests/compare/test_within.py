"""What optimizers reached within bounds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from optprune.compare import Comparison
from optprune.compare.compare import compare
from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation import Metric, metrics
from optprune.optimizers import NSGA2
from optprune.testing.problems import Mildness
from tests.compare.cases import Draws, Raises, single, trade

HALF, THIRD = metrics.macs <= 0.5, metrics.macs <= 1 / 3


@pytest.fixture(scope="module")
def found() -> Comparison:
    return compare(trade(), [NSGA2(population=6), Draws()], seeds=3, evaluations=15, progress=False)


def test_it_is_the_best_within_each_bound(found: Comparison) -> None:
    table = found.within(HALF, THIRD)
    assert len(table) == 2 * len(found.optimizers)
    for row in table.itertuples():
        best = []
        for seed in range(3):
            log = found.result(row.problem, row.optimizer, seed).log
            kept = log[log["macs"] <= (0.5 if row.within == str(HALF) else 1 / 3)]
            best.append(kept["distortion"].min() if len(kept) else math.inf)
        assert row.found == np.isfinite(best).sum()
        assert row.runs == 3
        assert row.median == pytest.approx(np.median(best)) or math.isinf(np.median(best))
        assert not row.lower > row.median
        assert not row.median > row.upper


def test_a_tighter_bound_is_never_better(found: Comparison) -> None:
    table = found.within(HALF, THIRD).set_index(["optimizer", "within"])["median"].unstack()
    both = table.dropna()
    assert len(both)
    assert (both[str(THIRD)] >= both[str(HALF)]).all()


def test_what_found_nothing_counts_as_worst() -> None:
    found = compare(
        trade(), [Raises(after=1)], seeds=2, evaluations=4, references=False, progress=False
    )
    row = found.within(metrics.macs <= 0.01).iloc[0]
    assert row["found"] == 0
    assert row[["lower", "median", "upper"]].isna().all()


def test_more_may_be_better() -> None:
    merit = Metric(
        "merit", Mildness((1.0, 4.0, 2.0)), direction="maximize", needs="structure", version=1
    )
    problem = trade(objectives=[merit, metrics.macs])
    found = compare(problem, [Draws()], seeds=3, evaluations=15, references=False, progress=False)
    row = found.within(HALF).iloc[0]
    log = found.log[found.log["macs"] <= 0.5]
    best = log.groupby("seed")["merit"].max()
    assert row["median"] == pytest.approx(best.median())
    assert row["lower"] <= row["median"] <= row["upper"]


def test_another_objective_can_be_asked_for(found: Comparison) -> None:
    named = found.within(HALF, objective="macs")
    assert (named["objective"] == "macs").all()
    with pytest.raises(ArgumentError, match="objective must be one of distortion, macs"):
        found.within(HALF, objective="mac")


def test_it_says_what_cannot_be_asked(found: Comparison) -> None:
    with pytest.raises(ArgumentError, match="at least one bound"):
        found.within()
    with pytest.raises(ArgumentTypeError, match=r"such as op\.metrics\.macs <= 0\.5; got float"):
        found.within(0.5)  # type: ignore[arg-type]
    other = compare(single(), [Draws()], seeds=1, evaluations=3, progress=False)
    with pytest.raises(ArgumentError, match=r"macs <= 0\.5 cannot be checked on"):
        other.within(HALF)


def test_the_page_has_the_table(found: Comparison, tmp_path: Path) -> None:
    page = found.to_html(tmp_path / "page.html", within=[HALF]).read_text(encoding="utf-8")
    assert "Within bounds" in page
    assert "Within bounds" not in found.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    for cell in found.within(HALF)["median"].dropna():
        assert f'data-value="{float(cell)!r}"' in page
