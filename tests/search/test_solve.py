from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optprune.errors import (
    ArgumentError,
    ArgumentTypeError,
    JournalError,
    JournalMismatchError,
    MetricError,
    SearchStopped,
)
from optprune.formulation import Problem, Widths, metrics
from optprune.optimizers import UniformWidths
from optprune.recovery import BatchNorm
from optprune.search import Journal, Result, Session, solve
from optprune.search.solve import configuration
from optprune.testing.networks import chain_task
from tests.search.cases import (
    Batches,
    Endless,
    Noise,
    chain,
    custom,
    drawn,
    residual,
    structures,
)

ROOT = Path(__file__).parents[2]


def run(problem: Problem, optimizer: Any = None, **changes: Any) -> Result:
    settings: dict[str, Any] = {"evaluations": 30, "seed": 1, "progress": False}
    return solve(problem, optimizer or Endless(drawn), **(settings | changes))


def facts(result: Result) -> list[Any]:
    """All of the log that does not tell the time."""
    log = result.log.drop(columns=["seconds", "clock"])
    return [column for name in log.columns for column in (name, *log[name].map(repr))]


class TestReasons:
    def test_the_budget_of_evaluations(self) -> None:
        result = run(residual())
        assert result.reason == "budget of 30 evaluations used up"
        assert len(result.rows) == 30

    def test_the_budget_of_samples(self) -> None:
        result = run(residual(), evaluations=None, samples=100)
        assert result.reason == "budget of 100 samples used up"
        assert result.meter.samples == 120

    def test_the_end_of_the_optimizer(self) -> None:
        problem = residual()
        result = run(problem, Batches((structures(problem, (1, 1), (2, 2)),)))
        assert result.reason.startswith("the optimizer ended")
        assert len(result.rows) == 2

    def test_stalling(self) -> None:
        problem = residual()
        batch = structures(problem, (1, 1))
        result = run(problem, Endless(lambda session: batch))
        assert result.reason.startswith("stalled: ")

    def test_an_optimizer_that_swallows_the_stop_is_stopped_all_the_same(self) -> None:
        class Deaf:
            name = "deaf"

            def search(self, problem: Problem, session: Session) -> None:
                for _ in range(10):
                    try:
                        session.evaluate(drawn(session))
                    except SearchStopped:
                        continue

        result = run(residual(), Deaf())
        assert result.reason == "budget of 30 evaluations used up"
        assert len(result.rows) == 30


class TestArguments:
    def test_a_budget_is_needed(self) -> None:
        with pytest.raises(ArgumentError, match="needs a budget"):
            run(residual(), evaluations=None)
        with pytest.raises(ArgumentError, match="evaluations=0"):
            run(residual(), evaluations=0)

    def test_an_optimizer_is_an_instance_with_search(self) -> None:
        for wrong in (Endless, "NSGA2", object()):
            with pytest.raises(ArgumentTypeError, match="optimizer must be an instance"):
                run(residual(), wrong)

    def test_a_problem_is_a_problem(self) -> None:
        with pytest.raises(ArgumentTypeError, match="problem must be a Problem; got int"):
            run(3)  # type: ignore[arg-type]

    def test_an_executor_has_the_methods(self) -> None:
        with pytest.raises(ArgumentTypeError, match="start, submit and close"):
            run(residual(), executor=3)


def test_nothing_but_failures_is_an_error_with_the_first_reason() -> None:
    problem = residual(objectives=[custom(lambda _: "much", "mine")])
    with pytest.raises(MetricError, match=r"all 5 candidates.*'mine'.*str 'much'"):
        run(problem, evaluations=5)


def test_an_error_of_the_optimizer_is_not_hidden() -> None:
    class Broken:
        name = "broken"

        def search(self, problem: Problem, session: Session) -> None:
            raise LookupError("in the optimizer")

    with pytest.raises(LookupError, match="in the optimizer"):
        run(residual(), Broken())


class TestReproducibility:
    def test_one_seed_gives_one_result(self) -> None:
        problem = residual(
            objectives=[custom(Noise()), metrics.error, metrics.macs], recovery=BatchNorm()
        )
        again = residual(
            objectives=[custom(Noise()), metrics.error, metrics.macs], recovery=BatchNorm()
        )
        first, second = run(problem, seed=4), run(again, seed=4)
        assert facts(first) == facts(second)
        assert first.front_indices == second.front_indices
        assert facts(first) != facts(run(problem, seed=5))

    def test_the_dense_network_stays_as_it_is_to_the_bit(self) -> None:
        problem = residual(recovery=BatchNorm())
        network = problem.task.network
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        modes = [module.training for module in network.modules()]
        result = run(problem)
        result.network(result.best.index)
        after = network.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert modes == [module.training for module in network.modules()]

    def test_nothing_depends_on_hash_order(self, tmp_path: Path) -> None:
        script = """
import sys
sys.path.insert(0, sys.argv[1])
from optprune.formulation import metrics
from optprune.optimizers import NSGA2
from optprune.search import solve
from tests.search.cases import Noise, custom, residual
problem = residual(objectives=[metrics.macs, custom(Noise()), metrics.error])
result = solve(problem, NSGA2(population=8), evaluations=40, seed=3, progress=False)
print(problem.fingerprint, [(row.digest, sorted(row.metrics.items())) for row in result.rows])
"""
        outputs = [
            subprocess.run(
                [sys.executable, "-c", script, str(ROOT)],
                env=os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for seed in ("1", "77")
        ]
        assert outputs[0] == outputs[1]
        assert len(outputs[0]) > 1000


class TestJournals:
    def test_a_run_that_is_repeated_measures_nothing_and_gives_the_same(
        self, tmp_path: Path
    ) -> None:
        calls = []

        def noted(candidate: Any) -> float:
            calls.append(candidate.proposal.digest)
            return float(candidate.predictions.sum())

        problem = residual(objectives=[custom(noted, needs="predictions"), metrics.macs])
        first = run(problem, journal=tmp_path / "run.db")
        measured = len(calls)
        second = run(problem, journal=tmp_path / "run.db")
        # Only the dense network is measured again.
        assert len(calls) == measured + 1
        assert facts(first) == facts(second)
        assert list(first.log["clock"]) == list(second.log["clock"])

    def test_a_larger_budget_goes_on_where_the_smaller_ended(self, tmp_path: Path) -> None:
        problem = residual()
        run(problem, journal=tmp_path / "run.db", evaluations=10)
        longer = run(problem, journal=tmp_path / "run.db", evaluations=30)
        assert facts(longer) == facts(run(problem, evaluations=30))

    def test_another_optimizer_gives_the_same_as_with_a_journal_of_its_own(
        self, tmp_path: Path
    ) -> None:
        problem = residual()
        small = Endless(lambda session: drawn(session, 3), name="small")
        run(problem, journal=tmp_path / "run.db")
        assert facts(run(problem, small, journal=tmp_path / "run.db")) == facts(run(problem, small))

    def test_a_journal_object_stays_open(self, tmp_path: Path) -> None:
        with Journal(tmp_path / "run.db") as journal:
            first = run(residual(), journal=journal)
            assert facts(run(residual(), journal=journal)) == facts(first)

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"space": Widths(step=2)}, "space differs"),
            ({"recovery": BatchNorm()}, "recovery differs"),
            ({"objectives": [metrics.loss, metrics.macs]}, "objectives differs"),
            ({"subject_to": [metrics.macs <= 0.5]}, "constraints differs"),
        ],
    )
    def test_a_journal_of_another_problem_is_refused(
        self, tmp_path: Path, changes: dict[str, Any], told: str
    ) -> None:
        run(residual(), journal=tmp_path / "run.db", evaluations=3)
        with pytest.raises(JournalMismatchError, match=told):
            run(residual(**changes), journal=tmp_path / "run.db", evaluations=3)

    def test_a_journal_of_another_network_is_refused(self, tmp_path: Path) -> None:
        run(chain(), journal=tmp_path / "run.db", evaluations=3)
        task = chain_task((4, 5, 6))
        with torch.no_grad():
            next(task.network.parameters()).mul_(2)
        changed = Problem(task, objectives=[metrics.macs])
        with pytest.raises(JournalMismatchError, match="network differs"):
            run(changed, journal=tmp_path / "run.db", evaluations=3)

    def test_a_journal_of_another_release_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(chain(), journal=tmp_path / "run.db", evaluations=3)
        monkeypatch.setattr("optprune.formulation.problem.version", lambda _: "99.0")
        with pytest.raises(JournalMismatchError, match=r"optprune differs: .*99\.0"):
            run(chain(), journal=tmp_path / "run.db", evaluations=3)

    def test_a_changed_metric_is_another_problem(self, tmp_path: Path) -> None:
        run(
            residual(objectives=[custom(Noise(), version=1)]),
            journal=tmp_path / "run.db",
            evaluations=3,
        )
        with pytest.raises(JournalMismatchError, match="objectives differs"):
            run(
                residual(objectives=[custom(Noise(), version=2)]),
                journal=tmp_path / "run.db",
                evaluations=3,
            )

    def test_a_damaged_journal_is_told_with_the_remedy(self, tmp_path: Path) -> None:
        (tmp_path / "run.db").write_bytes(b"\x00garbage" * 1000)
        with pytest.raises(JournalError, match="Move the file away"):
            run(residual(), journal=tmp_path / "run.db")


def test_a_configuration_is_the_repr_unless_that_is_an_address() -> None:
    @dataclass(frozen=True)
    class Configured:
        population: int = 8
        name: str = "configured"

        def search(self, problem: Problem, session: Session) -> None: ...

    class Plain:
        name = "plain"

        def search(self, problem: Problem, session: Session) -> None: ...

    assert "population=8" in configuration(Configured())
    assert configuration(Plain()) == configuration(Plain())


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


class TestProgress:
    def test_the_bar_shows_evaluations_best_and_hypervolume(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        run(residual(), progress=True)
        text = terminal.getvalue()
        assert "30/30" in text
        assert "error=" in text
        assert "hypervolume=" in text

    def test_the_bar_of_a_search_that_ends_early_is_full(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        result = run(residual(), UniformWidths(steps=4), progress=True)
        assert len(result.rows) == 4
        shown = terminal.getvalue().rsplit("\r", 1)[1]
        assert "100%" in shown
        assert "4/4" in shown

    @pytest.mark.slow
    def test_a_notebook_shows_it_without_warnings(self) -> None:
        import nbformat
        from nbclient import NotebookClient

        code = """
import sys, warnings
sys.path.insert(0, ROOT)
warnings.simplefilter("error")
from optprune.search import solve
from tests.search.cases import Endless, drawn, residual
solve(residual(), Endless(drawn), evaluations=30)
""".replace("ROOT", repr(str(ROOT)))
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            NotebookClient(notebook, timeout=120).execute()
        outputs = notebook.cells[0].outputs
        shown = "".join(output.get("text", "") for output in outputs)
        assert "30/30" in shown
        assert "text/html" in outputs[-1]["data"]
        assert "data:image/png" in outputs[-1]["data"]["text/html"]

    def test_nothing_is_shown_where_there_is_no_terminal(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = io.StringIO()
        monkeypatch.setattr(sys, "stderr", file)
        run(residual(), progress=True)
        assert file.getvalue() == ""


def test_latency_is_measured() -> None:
    problem = residual(objectives=[metrics.Latency(repeats=3, warmup=1), metrics.macs])
    result = run(problem, evaluations=4)
    assert (result.log["latency"] > 0).all()
    assert np.isfinite(result.dense.metrics["latency"])


def test_a_network_that_was_trained_since_the_problem_was_made_is_refused() -> None:
    problem = residual()
    with torch.no_grad():
        next(problem.task.network.parameters()).add_(1e-3)
    with pytest.raises(ArgumentError, match=r"changed.*new op\.Problem"):
        run(problem)
