"""A run killed at any moment goes on as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from optprune.formulation import metrics
from optprune.search import Journal, Result
from tests.search.cases import Recorded, custom, residual
from tests.search.test_solve import facts

ROOT = Path(__file__).parents[2]
EVALUATIONS = 72
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from optprune.optimizers import NSGA2, DeapGA
from optprune.search import solve
from tests.search.test_resume import EVALUATIONS, problem
optimizer = {"NSGA2": NSGA2, "DeapGA": DeapGA}[sys.argv[5]](population=12)
solve(
    problem(sys.argv[2]), optimizer, evaluations=EVALUATIONS, seed=5, journal=sys.argv[3],
    progress=False,
).save(sys.argv[4])
"""


def problem(record: str):  # type: ignore[no-untyped-def]
    """Two objectives, of which one leaves a line for each candidate; half break a constraint."""
    return residual(
        objectives=[custom(Recorded(record), "error", needs="predictions"), metrics.macs],
        subject_to=[metrics.parameters <= 0.7],
    )


def begin(record: Path, journal: Path, saved: Path, optimizer: str) -> subprocess.Popen[bytes]:
    arguments = [str(ROOT), str(record), str(journal), str(saved), optimizer]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def lines(record: Path) -> list[str]:
    return record.read_text().splitlines() if record.exists() else []


def committed(journal: Path, record: Path) -> set[str]:
    if not journal.exists():
        return set()
    with Journal(journal) as opened:
        return set(opened.rows(problem(str(record)).fingerprint, 5))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["NSGA2", "DeapGA"])
def test_a_killed_run_gives_the_result_of_the_uninterrupted_one(
    tmp_path: Path, optimizer: str
) -> None:
    record = tmp_path / "record"
    whole = tmp_path / "whole"
    assert begin(record, tmp_path / "whole.db", whole, optimizer).wait() == 0
    uninterrupted = lines(record)
    assert len(set(uninterrupted)) == len(uninterrupted)
    record.unlink()

    journal, saved = tmp_path / "killed.db", tmp_path / "killed"
    generator = random.Random(0)
    # The dense network is measured once a start, before the search.
    for target in sorted(generator.sample(range(1, len(uninterrupted) - 2), 4)):
        before, done = len(lines(record)), committed(journal, record)
        process = begin(record, journal, saved, optimizer)
        while len(set(lines(record))) < target and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(generator.random() * 0.003)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not set(lines(record)[before + 1 :]) & done
        assert not saved.exists()
    before, done = len(lines(record)), committed(journal, record)
    assert len(done) > 0
    assert begin(record, journal, saved, optimizer).wait() == 0
    assert not set(lines(record)[before + 1 :]) & done
    # A kill costs at most the one evaluation that was under way.
    assert len(lines(record)) <= len(uninterrupted) + 4 * 2

    first, second = Result.load(whole), Result.load(saved)
    assert facts(first) == facts(second)
    assert first.front_indices == second.front_indices
    assert first.reason == second.reason
    assert first.meter.samples == second.meter.samples
    assert set(lines(record)) == set(uninterrupted)
