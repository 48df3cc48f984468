"""Several processes evaluate: the rows are those of one, whatever happens to the workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import warnings
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optprune.errors import ArgumentError, ArgumentTypeError, BudgetSpent, RecoveryWarning
from optprune.formulation import Candidate, Problem, Proposal, Widths, metrics
from optprune.optimizers import NSGA2
from optprune.recovery import LeastSquares, Nothing
from optprune.search import Budget, Job, Journal, Payload, Processes, Result, Row, Session, solve
from optprune.search.evaluation import complete
from tests.search.cases import Endless, Recorded, chain, custom, drawn, residual
from tests.search.cases import structures as of_widths
from tests.search.test_solve import facts

ROOT = Path(__file__).parents[2]
SEED = 3


@dataclass(frozen=True)
class Interval:
    """Takes a while, and leaves when it began and when it ended in a file."""

    folder: str

    def __call__(self, candidate: Candidate) -> float:
        started = time.monotonic()
        time.sleep(0.01)
        with open(f"{self.folder}/{os.getpid()}", "a", encoding="utf-8") as file:
            file.write(f"{started} {time.monotonic()}\n")
        return float(candidate.widths[0])

    def read(self) -> dict[str, list[tuple[float, float]]]:
        found = {}
        for path in Path(self.folder).iterdir():
            lines = [line.split() for line in path.read_text().splitlines()]
            found[path.name] = [(float(start), float(end)) for start, end in lines]
        return found


@dataclass(frozen=True)
class Case:
    """What one worker and two found, in the same search."""

    serial: Result
    parallel: Result
    journals: tuple[Path, Path]
    together: Interval
    alone: Interval
    warned: tuple[list[str], list[str]]


def eventful(together: Interval, alone: Interval) -> Problem:
    """Metrics that fail, warn, draw random numbers, and are measured alone; a dear recovery."""
    limit = 3

    def moody(candidate: Candidate) -> float:
        if candidate.widths[1] % 4 == 0:
            raise LookupError(f"not {candidate.widths[1]}")
        if candidate.widths[0] > limit:
            warnings.warn("wide", RecoveryWarning, stacklevel=1)
        return float(torch.rand(())) + float(np.random.random())  # noqa: NPY002

    def threads(candidate: Candidate) -> float:
        return float(torch.get_num_threads())

    return residual(
        space=Widths(),
        recovery=LeastSquares(samples=48),
        objectives=[
            metrics.loss,
            metrics.macs,
            metrics.divergence,
            custom(threads, "threads", needs="network"),
            custom(together, "together", needs="network"),
            custom(alone, "alone", needs="network", alone=True),
            custom(moody, "moody", needs="predictions"),
        ],
        subject_to=[metrics.parameters <= 0.9],
    )


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("processes")
    results, journals, warned = [], [], []
    for workers in (1, 2):
        for name in ("together", "alone"):
            (folder / f"{name}{workers}").mkdir()
            # The fingerprint covers the folder: both searches are to have the same problem.
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(folder / f"{name}{workers}")
        journals.append(folder / f"{workers}.db")
        problem = eventful(Interval(str(folder / "together")), Interval(str(folder / "alone")))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            results.append(
                solve(
                    problem,
                    Endless(lambda session: drawn(session, 6)),
                    evaluations=24,
                    seed=SEED,
                    journal=journals[-1],
                    workers=workers,
                    progress=False,
                )
            )
        warned.append(sorted(f"{w.category.__name__} {w.message} {w.filename}" for w in caught))
    return Case(
        serial=results[0],
        parallel=results[1],
        journals=(journals[0], journals[1]),
        together=Interval(str(folder / "together2")),
        alone=Interval(str(folder / "alone2")),
        warned=(warned[0], warned[1]),
    )


class TestOneAndTwoWorkers:
    def test_the_results_are_equal_to_the_bit(self, case: Case) -> None:
        assert facts(case.serial) == facts(case.parallel)
        assert case.serial.front_indices == case.parallel.front_indices
        assert case.serial.reason == case.parallel.reason

    def test_there_was_something_of_everything(self, case: Case) -> None:
        log = case.parallel.log
        assert log["feasible"].any()
        assert log["failed"].any()
        assert (log["violation"] > 0).any()
        assert (log["forward_samples"] > 48).any()

    def test_failures_are_told_in_the_same_words(self, case: Case) -> None:
        reasons = [row.reason for row in case.parallel.rows if row.failed]
        assert reasons == [row.reason for row in case.serial.rows if row.failed]
        assert all("LookupError: not" in reason for reason in reasons)
        assert all("(test_processes.py:" in reason for reason in reasons)

    def test_the_same_samples_are_counted(self, case: Case) -> None:
        assert case.serial.meter.samples == case.parallel.meter.samples
        assert case.serial.setup.samples == case.parallel.setup.samples

    def test_the_journals_hold_the_same(self, case: Case) -> None:
        contents = []
        for path in case.journals:
            with Journal(path) as journal:
                fingerprint = journal._connection.execute(
                    "SELECT fingerprint FROM problem"
                ).fetchone()[0]
                rows = journal.rows(fingerprint, SEED)
                run = case.serial.configuration
                uses = journal.uses(fingerprint, SEED, run)
            texts = {}
            for digest, row in rows.items():
                texts[digest] = json.loads(row.to_json()) | {"seconds": 0.0}
            contents.append((fingerprint, texts, {n: digest for n, (digest, _) in uses.items()}))
        assert contents[0] == contents[1]

    def test_workers_compute_with_one_thread(self, case: Case) -> None:
        measured = case.parallel.log["threads"].dropna()
        assert len(measured)
        assert (measured == 1).all()

    def test_warnings_of_workers_are_warnings_here(self, case: Case) -> None:
        assert case.warned[0] == case.warned[1]
        assert any("RecoveryWarning wide" in text for text in case.warned[0])

    def test_two_processes_have_evaluated(self, case: Case) -> None:
        # This process measures the dense network.
        assert len(set(case.together.read()) - {str(os.getpid())}) == 2

    def test_what_is_measured_alone_overlaps_with_nothing(self, case: Case) -> None:
        alone, together = case.alone.read(), case.together.read()
        pairs = [
            (one, other)
            for process, intervals in alone.items()
            for one in intervals
            for others in (alone, together)
            for another, theirs in others.items()
            for other in theirs
            if another != process
        ]
        assert len(pairs) > 100
        assert all(one[1] <= other[0] or other[1] <= one[0] for one, other in pairs)

    def test_waiting_to_be_alone_is_no_time_of_a_row(self, case: Case) -> None:
        assert all(row.seconds >= 0 for row in case.parallel.rows)


@dataclass(frozen=True)
class Deadly:
    """Ends its process for some widths: always, or at the first attempt only."""

    folder: str

    def __call__(self, candidate: Candidate) -> float:
        first, _ = candidate.widths
        mark = Path(self.folder) / str(first)
        tried = mark.exists()
        mark.touch()
        if first == 2 and not tried:
            os._exit(7)
        if first == 4:
            os.kill(os.getpid(), signal.SIGTERM if tried else signal.SIGKILL)
        return float(first)


def test_a_worker_that_dies_costs_its_job_a_second_attempt_and_no_other_anything(
    tmp_path: Path,
) -> None:
    problem = residual(objectives=[custom(Deadly(str(tmp_path)), "deadly", needs="network")])
    batch = of_widths(problem, *((width, 3) for width in (1, 2, 3, 4, 5, 6)))
    with Session(problem, Budget(100), executor=Processes(2)) as session:
        found = session.evaluate(batch)
        assert found.failed.tolist() == [False, False, False, True, False, False]
        assert found.objectives[[0, 1, 2, 4, 5], 0].tolist() == [1, 2, 3, 5, 6]
        assert found.reasons[3] == (
            "the worker process that evaluated it ended (SIGKILL), and so did a second one "
            "(SIGTERM)"
        )
        again = session.evaluate(of_widths(problem, (7, 3), (4, 3)))
        assert again.failed.tolist() == [False, True]
        assert session.evaluations == 7


SCRIPT = """
import sys
from dataclasses import dataclass

import torch
from torch import nn

import optprune as op


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.between = lambda x: torch.relu(x)

    def forward(self, inputs):
        return self.last(self.between(self.first(inputs)))


@op.metric(needs="network", version=1)
def size(candidate):
    return sum(float(p.detach().abs().sum()) for p in candidate.network.parameters())


class Halved(op.recovery.Nothing):
    def recover(self, network, context):
        with torch.no_grad():
            network.last.weight.mul_(FACTOR)


FACTOR = 0.5
torch.manual_seed(0)
labels = torch.arange(60) % 3
inputs = torch.randn(60, 6) + labels[:, None]
task = op.Task(Net().eval(), validation=(inputs, labels), pick=lambda outputs: outputs * 2)
problem = op.Problem(task, recovery=Halved(), objectives=[op.metrics.loss, size, op.metrics.macs])
found = []
for workers in (1, 2):
    result = op.solve(
        problem, op.optimizers.Random(), evaluations=6, seed=1, workers=workers, progress=False
    )
    found.append([(row.digest, dict(row.metrics), row.reason) for row in result.rows])
assert found[0] == found[1], found
print("equal", len(found[0]), not any(row.failed for row in result.rows))
"""


def test_a_script_or_notebook_defines_everything_itself(tmp_path: Path) -> None:
    # Without `if __name__ == "__main__"`, and, as in a notebook, in no file.
    done = subprocess.run(
        [sys.executable, "-"], input=SCRIPT, capture_output=True, text=True, cwd=ROOT
    )
    assert (done.stdout, done.stderr, done.returncode) == ("equal 6 True\n", "", 0)


WORK = """
import sys, tempfile
from pathlib import Path
from tests.search.test_processes import recorded
from optprune.optimizers import NSGA2
from optprune.search import solve

folder = Path(sys.argv[1])
try:
    solve(
        recorded(folder), NSGA2(population=8), evaluations=60, seed=3,
        journal=folder / "run.db", workers=2, progress=False,
    )
except KeyboardInterrupt:
    print("interrupted")
"""


@dataclass(frozen=True)
class Process(Recorded):
    """Leaves the number of the process too, and is slow."""

    def __call__(self, candidate: Candidate) -> float:
        folder = Path(self.path).parent / "processes"
        folder.mkdir(exist_ok=True)
        (folder / str(os.getpid())).touch()
        time.sleep(0.02)
        return super().__call__(candidate)


def recorded(folder: Path) -> Problem:
    """The error, which leaves a line in a file for each candidate, against MACs."""
    record = Process(str(folder / "record"))
    return residual(objectives=[custom(record, "error", needs="predictions"), metrics.macs])


def running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def end_in_the_middle(folder: Path, number: int) -> tuple[str, str]:
    """Start a search with two workers, signal its process group midway; return what it said."""
    folder.mkdir()
    (folder / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, str(folder)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    record = folder / "record"
    while process.poll() is None:
        if record.exists() and len(record.read_text().splitlines()) > 20:
            break
        time.sleep(0.005)
    os.killpg(process.pid, number)
    said = process.communicate()
    workers = [int(path.name) for path in (folder / "processes").iterdir()]
    assert len(set(workers) - {process.pid}) == 2
    patience = time.monotonic() + 30
    while any(map(running, workers)) or any((folder / "tmp").glob("optprune-*")):
        assert time.monotonic() < patience, "a worker or its file is left"
        time.sleep(0.01)
    return said


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_search_that_is_interrupted_or_killed_leaves_nothing_behind_and_goes_on(
    tmp_path: Path,
) -> None:
    (tmp_path / "whole").mkdir()

    def finished(folder: Path) -> Result:
        return solve(
            recorded(folder),
            NSGA2(population=8),
            evaluations=60,
            seed=3,
            journal=folder / "run.db",
            progress=False,
        )

    whole = finished(tmp_path / "whole")
    for number, said in ((signal.SIGINT, ("interrupted\n", "")), (signal.SIGKILL, ("", ""))):
        folder = tmp_path / number.name
        assert end_in_the_middle(folder, number) == said
        before = len((folder / "record").read_text().splitlines())
        result = finished(folder)
        after = len((folder / "record").read_text().splitlines())
        assert facts(result) == facts(whole)
        assert after - before < 45  # it went on from the journal


class Unimportable(Nothing):
    """Is said to be of a module that only this process has."""


class TestWhatCannotBeSent:
    def test_what_cannot_be_pickled_is_told_with_the_way_out(self) -> None:
        lock = threading.Lock()

        def locked(candidate: Candidate) -> float:
            with lock:
                return 1.0

        problem = chain(objectives=[custom(locked, needs="network")])
        before = set(Path(tempfile.gettempdir()).glob("optprune-*"))
        with pytest.raises(ArgumentError, match=r"cannot be sent.*lock.*workers=1"):
            run(problem, workers=2)
        assert set(Path(tempfile.gettempdir()).glob("optprune-*")) <= before

    def test_what_a_worker_cannot_import_ends_the_search_without_a_row(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = types.ModuleType("only_here")
        monkeypatch.setitem(sys.modules, "only_here", module)
        monkeypatch.setattr(Unimportable, "__module__", "only_here")
        module.Unimportable = Unimportable  # type: ignore[attr-defined]
        problem = chain(recovery=Unimportable(), objectives=[metrics.loss])
        with pytest.raises(ArgumentError, match=r"made again in a worker.*'only_here'"):
            run(problem, workers=2, journal=tmp_path / "run.db")
        with Journal(tmp_path / "run.db") as journal:
            assert journal.rows(problem.fingerprint, 1) == {}

    def test_a_worker_that_cannot_start_ends_the_search(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("optprune.search.worker_process._START", "raise SystemExit(9)")
        problem = chain(objectives=[metrics.loss])
        with pytest.raises(ArgumentError, match=r"before it could begin \(exit code 9, then exit"):
            run(problem, workers=2)


def run(problem: Problem, **changes: Any) -> Result:
    settings: dict[str, Any] = {"evaluations": 4, "seed": 1, "progress": False}
    return solve(problem, Endless(drawn), **(settings | changes))


class TestArguments:
    @pytest.mark.parametrize("workers", [0, -2])
    def test_there_is_at_least_one_worker(self, workers: int) -> None:
        with pytest.raises(ArgumentError, match=f"workers must be at least 1, got {workers}"):
            run(chain(), workers=workers)
        with pytest.raises(ArgumentError, match="workers must be at least 1"):
            Processes(workers)

    @pytest.mark.parametrize("workers", [2.0, "2", True])
    def test_workers_are_counted_in_whole_numbers(self, workers: Any) -> None:
        with pytest.raises(ArgumentTypeError, match="workers must be a whole number"):
            run(chain(), workers=workers)

    def test_workers_and_executor_are_two_ways_to_say_the_same(self) -> None:
        with pytest.raises(ArgumentError, match="give one of them"):
            run(chain(), workers=2, executor=Processes(2))

    def test_it_shows_its_configuration(self) -> None:
        assert repr(Processes(3)) == "Processes(workers=3)"

    def test_it_is_started_before_and_only_once(self) -> None:
        problem = chain()
        structure = problem.graph.full()
        executor = Processes()
        row = Row(structure.digest, structure.to_json(), (4, 5, 6), {})
        with pytest.raises(ArgumentError, match="start"):
            executor.submit(Job(Proposal(structure), row))
        executor.start(Payload(problem, 0))
        with pytest.raises(ArgumentError, match="at work for another search"):
            executor.start(Payload(problem, 0))
        executor.close()
        executor.start(Payload(problem, 0))
        executor.close()
        executor.close()

    def test_no_process_is_started_for_what_costs_alone_decide(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("optprune.search.worker_process._START", "raise SystemExit(9)")
        assert len(run(chain(objectives=[metrics.macs]), workers=2).rows) == 4


class OneByOne:
    """Runs jobs in the order submitted, each when the session waits, and counts them."""

    def __init__(self) -> None:
        self.ran = 0
        self.queue: list[tuple[Job, Future[Row]]] = []
        self.thread = threading.Thread(target=self.work)
        self.closed = threading.Event()

    def start(self, payload: Payload) -> None:
        self.payload = payload
        self.thread.start()

    def submit(self, job: Job) -> Future[Row]:
        future: Future[Row] = Future()
        self.queue.append((job, future))
        return future

    def work(self) -> None:
        while not self.closed.wait(0.02):
            if not self.queue:
                continue
            job, future = self.queue.pop(0)
            if future.set_running_or_notify_cancel():
                self.ran += 1
                row = complete(self.payload.problem, job.proposal, self.payload.seed, job.row)
                future.set_result(row)

    def close(self) -> None:
        self.closed.set()
        self.thread.join()


@pytest.mark.parametrize(
    ("budget", "charged"), [(Budget(samples=24 * 3), 3), (Budget(seconds=0.2), None)], ids=repr
)
def test_a_budget_that_ends_within_a_batch_drops_what_has_not_begun(
    budget: Budget, charged: int | None
) -> None:
    problem = residual()
    executor = OneByOne()
    batch = of_widths(problem, *((a, b) for a in range(1, 9) for b in range(1, 13)))
    with Session(problem, budget, executor=executor) as session:
        with pytest.raises(BudgetSpent):
            session.evaluate(batch)
        assert charged in (None, session.evaluations)
        assert 0 < executor.ran < len(batch)
        assert executor.ran <= session.ran + 1
