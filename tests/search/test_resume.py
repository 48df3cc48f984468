"""A run killed at any moment goes on as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch

from optprune.formulation import Problem, metrics
from optprune.optimizers import NSGA2, DeapNSGA2
from optprune.search import Journal, Result, solve
from tests.search.cases import Recorded, custom, residual
from tests.search.test_solve import facts

EVALUATIONS = 72
SEED = 5
PROCESSES = multiprocessing.get_context("forkserver")
# What takes long to import is imported once; each process is forked from there.
PROCESSES.set_forkserver_preload(
    [
        *("deap.tools", "moocore", "optprune.optimizers", "optprune.search", "optprune.testing"),
        *("pandas", "pymoo.algorithms.moo.nsga2", "pytest", "torch"),
    ]
)


def problem(record: Path) -> Problem:
    """Two objectives, one of which leaves a line for each candidate; some break a constraint."""
    return residual(
        objectives=[custom(Recorded(str(record)), "error", needs="predictions"), metrics.macs],
        subject_to=[metrics.parameters <= 0.7],
    )


def work(record: Path, journal: Path, saved: Path, optimizer: NSGA2 | DeapNSGA2) -> None:
    """Solve in a process of its own."""
    torch.set_num_threads(1)
    result = solve(
        problem(record),
        optimizer,
        evaluations=EVALUATIONS,
        seed=SEED,
        journal=journal,
        progress=False,
    )
    result.save(saved)


def begun(*arguments: object) -> ForkServerProcess:
    process = PROCESSES.Process(target=work, args=arguments)
    process.start()
    return process


def finished(*arguments: object) -> None:
    process = begun(*arguments)
    process.join()
    assert process.exitcode == 0


def lines(record: Path) -> list[str]:
    return record.read_text().splitlines() if record.exists() else []


def committed(journal: Path, record: Path) -> set[str]:
    if not journal.exists():
        return set()
    with Journal(journal) as opened:
        return set(opened.rows(problem(record).fingerprint, SEED))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "kills"), [(NSGA2(population=12), 4), (DeapNSGA2(population=12), 2)], ids=repr
)
def test_a_killed_run_gives_the_result_of_the_uninterrupted_one(
    tmp_path: Path, optimizer: NSGA2 | DeapNSGA2, kills: int
) -> None:
    record, whole = tmp_path / "record", tmp_path / "whole"
    finished(record, tmp_path / "whole.db", whole, optimizer)
    uninterrupted = lines(record)
    assert len(set(uninterrupted)) == len(uninterrupted)
    record.unlink()

    journal, saved = tmp_path / "killed.db", tmp_path / "killed"
    generator = random.Random(0)
    for target in sorted(generator.sample(range(2, len(uninterrupted) - 2), kills)):
        before, done = len(lines(record)), committed(journal, record)
        process = begun(record, journal, saved, optimizer)
        while len(set(lines(record))) < target and process.is_alive():
            time.sleep(0.0005)
        time.sleep(generator.random() * 0.003)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not saved.exists()
        # The first line of each start is the dense network, which is measured outside the run.
        assert not set(lines(record)[before + 1 :]) & done
    before, done = len(lines(record)), committed(journal, record)
    assert len(done) > 0
    finished(record, journal, saved, optimizer)
    assert not set(lines(record)[before + 1 :]) & done
    # A kill costs the dense network once more, and at most the evaluation that was under way.
    assert len(lines(record)) <= len(uninterrupted) + 2 * kills
    assert set(lines(record)) == set(uninterrupted)

    first, second = Result.load(whole), Result.load(saved)
    assert facts(first) == facts(second)
    assert first.front_indices == second.front_indices
    assert first.reason == second.reason
    assert first.meter.samples == second.meter.samples
