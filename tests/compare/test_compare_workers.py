"""Comparisons in several processes: the same result, whatever happens to the workers."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from optprune.compare import Comparison
from optprune.compare.compare import compare
from optprune.errors import ArgumentError
from optprune.formulation import Candidate, Metric, metrics
from optprune.optimizers import NSGA2
from tests.compare.cases import Dies, Draws, Global, Raises, measured, recorded, trade

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Interval:
    """Leaves in a file when it began and ended."""

    folder: str

    def __call__(self, candidate: Candidate) -> float:
        started = time.monotonic()
        time.sleep(0.01)
        with open(f"{self.folder}/{os.getpid()}", "a", encoding="utf-8") as file:
            file.write(f"{started} {time.monotonic()}\n")
        return float(candidate.widths[0])


def intervals(folder: Path) -> dict[str, list[tuple[float, float]]]:
    found = {}
    for path in folder.iterdir():
        lines = [line.split() for line in path.read_text().splitlines()]
        found[path.name] = [(float(start), float(end)) for start, end in lines]
    return found


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_two_workers_give_what_one_gives_and_a_death_is_a_failed_run(tmp_path: Path) -> None:
    for name in ("alone", "one"):
        (tmp_path / name).mkdir()

    def problems(name: str) -> dict[str, object]:
        timed = Metric(
            "timed", Interval(str(tmp_path / name)), needs="network", version=1, alone=True
        )
        return {"measured": measured(), "timed": trade(objectives=[timed, metrics.macs])}

    limit = 3  # held by the closure of a class that no other process could import

    @dataclass(frozen=True)
    class Local(Draws):
        name: str = "Local"

        def search(self, problem, session):  # type: ignore[no-untyped-def]
            session.evaluate(problem.bound_space.sample(session.generator, limit))

    ordinary = [NSGA2(population=4), Global(), Raises(), Local()]
    one = compare(
        problems("one"),  # type: ignore[arg-type]
        ordinary,
        seeds=2,
        evaluations=8,
        references=False,
        progress=False,
    )
    with pytest.warns(RuntimeWarning, match="this one dies"):
        two = compare(
            problems("alone"),  # type: ignore[arg-type]
            [*ordinary, Dies("timed")],
            seeds=2,
            evaluations=8,
            references=False,
            progress=False,
            workers=2,
        )
    for ours, theirs in ((two.log, one.log), (two.runs, one.runs)):
        same = ours[ours.optimizer != "Dies"].drop(columns="seconds").reset_index(drop=True)
        pd.testing.assert_frame_equal(same, theirs.drop(columns="seconds"))

    died = two.runs[two.runs.failed & (two.runs.optimizer == "Dies")]
    assert list(zip(died.problem, died.seed, strict=True)) == [("timed", 1)]
    assert died.reason.tolist() == ["the worker process died (exit code 7)"]
    assert died.evaluations.tolist() == [3]  # its journal has them
    assert (two.log.optimizer == "Dies").sum() == 4 * 3

    # What is to be measured alone is: the other worker measures nothing meanwhile. The dense
    # network, with which each run begins, waits for nobody.
    by_worker = intervals(tmp_path / "alone")
    assert len(by_worker) >= 2
    # Each run begins with the dense network; its interval may overlap, that of no row may.
    everything = sorted(each for spans in by_worker.values() for each in spans)
    overlaps = sum(b[0] < a[1] for a, b in itertools.pairwise(everything))
    assert overlaps <= (two.runs.problem == "timed").sum()


def test_what_cannot_be_sent_is_told_before_anything_runs(tmp_path: Path) -> None:
    with open(tmp_path / "opened", "w", encoding="utf-8") as file:

        class Holds(Draws):
            held = file

        with pytest.raises(ArgumentError, match=r"cannot be sent to another process.*workers=1"):
            compare(trade(), Holds(), evaluations=3, workers=2, references=False, progress=False)


SCRIPT = """
import sys
import torch
from dataclasses import dataclass
import optprune as op
from optprune.testing.networks import chain_task

@op.metric(direction="minimize", needs="network", version=1)
def crooked(candidate: op.Candidate) -> float:
    return float((candidate.widths - 2.5).sum() ** 2)

@dataclass(frozen=True)
class Mine:
    name: str = "Mine"
    def search(self, problem, session):
        session.evaluate(problem.bound_space.sample(session.generator, 5))

found = op.compare(
    op.Problem(chain_task((4, 5)), objectives=[crooked]), Mine(),
    seeds=2, evaluations=5, workers=2, references=False, folder=sys.argv[1],
)
assert not found.runs.failed.any(), found.runs.reason.tolist()
assert found.best().network() is not None
print(found.log.crooked.tolist())
"""


@pytest.mark.slow
def test_classes_and_metrics_of_a_script_without_a_guard_work(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "kept")],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    loaded = Comparison.load(tmp_path / "kept")
    assert json.loads(done.stdout) == loaded.log.crooked.tolist()
    assert len(loaded.log) >= 8


ENDLESS = """
import sys
from pathlib import Path
import optprune as op
from tests.compare.cases import Draws, recorded

print("begun", flush=True)
op.compare(
    recorded(Path(sys.argv[1]), 0.05), [Draws(), Draws(batch=2, name="Pairs")],
    seeds=2, evaluations=15, workers=2, references=False, folder=sys.argv[2],
)
print("finished", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_comparison_that_is_killed_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    record, folder = tmp_path / "record", tmp_path / "kept"
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(record), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), "TMPDIR": str(tmp_path)},
        cwd=ROOT,
    )
    deadline = time.monotonic() + 300
    while lines(record) < 24 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(how)
    # Both streams end when the workers have, who inherit the second.
    output, errors = process.communicate(timeout=120)
    assert output == "begun\n"
    if how is signal.SIGINT:
        assert errors.count("KeyboardInterrupt") == 1, errors
        assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT, 1)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("optprune-")]
    before = lines(record)
    time.sleep(0.2)
    assert lines(record) == before

    problem, optimizers = recorded(record, 0.05), [Draws(), Draws(batch=2, name="Pairs")]
    options = {"seeds": 2, "evaluations": 15, "references": False, "progress": False}
    found = compare(problem, optimizers, folder=folder, **options)  # type: ignore[arg-type]
    total = lines(record)
    # What is measured twice: the dense network, and what two workers were about.
    assert total <= found.runs.evaluations.sum() + 2 * 4 + 2
    assert total - before <= found.runs.evaluations.sum() + 4 - 16
    record.unlink()
    whole = compare(problem, optimizers, **options)  # type: ignore[arg-type]
    for ours, theirs in ((found.log, whole.log), (found.runs, whole.runs)):
        pd.testing.assert_frame_equal(ours.drop(columns="seconds"), theirs.drop(columns="seconds"))


def lines(record: Path) -> int:
    return len(record.read_text().splitlines()) if record.exists() else 0
