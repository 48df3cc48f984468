"""The command: what it writes, what it says, and how it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import optprune as op
from optprune.cli import demo, main
from optprune.cli.formulate import problem_of, read_constraint
from optprune.cli.metrics import metrics_by_name
from optprune.errors import ArgumentError
from optprune.formulation import metrics
from optprune.meter import Meter

MODULE = """
import pathlib
import optprune as op
from optprune.testing.networks import chain_task, residual_task

def task():
    return residual_task()

@op.metric(needs="structure", version=1)
def narrowest(candidate):
    return candidate.widths.min()

def problem():
    return op.Problem(
        residual_task(), space=op.Widths(step=2), objectives=[op.metrics.loss, op.metrics.macs],
        subject_to=[narrowest >= 4], reference={"loss": 9.0},
    )

def linear():
    return chain_task((4, 5, 6))

@op.metric(needs="network", version=1)
def interrupting(candidate):
    file = pathlib.Path("calls")
    calls = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(calls))
    if calls == 20:
        raise KeyboardInterrupt
    return candidate.widths.sum()

def interrupted():
    return op.Problem(residual_task(), objectives=[op.metrics.loss, interrupting])

def raising():
    raise RuntimeError("the disk is empty")

def nothing():
    return 3

number = 4
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a module of the user's."""
    (tmp_path / "users_own.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "users_own", raising=False)
    monkeypatch.delenv("OPTPRUNE_DEBUG", raising=False)
    yield tmp_path
    sys.modules.pop("users_own", None)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(folder: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command, and returns exit status, output, and standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            status = main(arguments)
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, *capfd.readouterr()

    return call


def solve(run: Run, *options: str, task: str = "users_own:problem", out: str = "out") -> Any:
    """Solve something small."""
    return run("solve", task, "--evaluations", "20", "--out", out, *options)


class TestCommandLine:
    def test_it_answers_before_any_library_is_loaded(self) -> None:
        code = (
            "import sys, optprune.cli\n"
            "optprune.cli.main([])\n"
            "print(sorted({'torch', 'numpy', 'rich'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert "optprune demo" in done.stdout
        assert done.stdout.splitlines()[-1] == "[]"

    def test_it_runs_as_a_module(self) -> None:
        command = [sys.executable, "-m", "optprune", "--version"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == f"optprune {op.__version__}\n"

    @pytest.mark.parametrize("command", ["demo", "solve", "show", "plugins"])
    def test_every_command_explains_itself(self, run: Run, command: str) -> None:
        status, said, _ = run(command, "--help")
        assert status == 0
        assert f"usage: optprune {command}" in said

    def test_an_error_is_one_line_and_a_traceback_is_shown_on_request(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        status, said, wrong = run("show", "nowhere")
        assert (status, said) == (2, "")
        assert wrong == "optprune: error: there is no folder 'nowhere'.\n"
        for arguments in (("--debug", "show", "nowhere"), ("show", "nowhere", "--debug")):
            status, _, wrong = run(*arguments)
            assert status == 2
            assert wrong.startswith("Traceback")
        monkeypatch.setenv("OPTPRUNE_DEBUG", "1")
        assert run("show", "nowhere")[2].startswith("Traceback")


class TestBounds:
    @pytest.mark.parametrize(
        ("text", "meaning"),
        [
            ("macs<=0.5", "macs <= 0.5"),
            (" macs  <  .5 ", "macs <= 0.5"),
            ("loss>=1e-3", "loss >= 0.001"),
            ("parameters≥0.25", "parameters >= 0.25"),
            ("macs.absolute<=20e6", "macs.absolute <= 2e+07"),
        ],
    )
    def test_what_is_written_is_what_is_meant(self, text: str, meaning: str) -> None:
        assert str(read_constraint(text, metrics_by_name())) == meaning

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("mcs<=0.5", "no metric 'mcs'. Did you mean 'macs'"),
            ("0.3<=macs<=0.5", "two comparisons"),
            ("0.3<=macs", "the metric comes first, 'macs>=0.3'"),
            ("macs<=50%", "for 50% write 0.5"),
            ("macs<=half", "'half' is no number"),
            ("macs=0.5", "must use <= or >=, not ="),
            ("macs==0.5", "must use <= or >=, not =="),
            ("macs", "the shell takes < and >"),
            ("macs<=", "must compare a metric with a number"),
            ("<=0.5", "must compare a metric with a number"),
            ("", "must compare a metric with a number"),
            ("macs<=nan", "must be finite"),
            ("macs<=20e6", "write macs.absolute <= 2e\\+07"),
            ("error<=5", "for 5 % write 0.05"),
        ],
    )
    def test_anything_else_is_told(self, text: str, told: str) -> None:
        with pytest.raises(ArgumentError, match=told):
            read_constraint(text, metrics_by_name())

    def test_every_metric_without_parameters_can_be_named(self) -> None:
        known = metrics_by_name()
        named = {n for n in metrics.__all__ if isinstance(getattr(metrics, n), op.Metric)}
        assert named <= set(known)
        assert all(known[name].name == name for name in known)


@pytest.mark.usefixtures("folder")
class TestProblems:
    def test_a_task_is_pruned_in_width_with_its_statistics_measured_anew(self) -> None:
        problem = problem_of("users_own:task")
        assert problem.objective_names == ("error", "macs")
        assert problem.recovery == op.recovery.BatchNorm()
        assert isinstance(problem.space, op.Widths)

    def test_a_problem_stays_as_it_is(self) -> None:
        problem = problem_of("users_own:problem")
        assert problem.objective_names == ("loss", "macs")
        assert list(map(str, problem.constraints)) == ["narrowest >= 4"]

    def test_options_take_the_place_of_the_problems_own(self) -> None:
        problem = problem_of(
            "users_own:problem",
            objectives=[("maximize", "score"), ("minimize", "loss")],
            subject_to=["narrowest>=2", "macs<=0.9"],
        )
        assert problem.objective_names == ("score", "loss")
        assert [metric.direction for metric in problem.objectives] == ["maximize", "minimize"]
        assert list(map(str, problem.constraints)) == ["narrowest >= 2", "macs <= 0.9"]
        assert problem.space == op.Widths(step=2)
        assert problem.reference[1] == 9.0

    def test_a_ready_made_case_has_a_name(self) -> None:
        problem = problem_of("digits", subject_to=["macs<=0.5"])
        assert problem.task.name == "digits"
        assert list(map(str, problem.constraints)) == ["macs <= 0.5"]

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("digts", "Did you mean 'digits'"),
            ("train_digits", "no ready-made case"),
            ("users_own:tasks", "has no 'tasks'. Did you mean 'task'"),
            ("users_own:", "package.module:name"),
            ("no_such_module:task", "cannot be imported .*No module named"),
            ("users_own:raising", "raised RuntimeError: the disk is empty"),
            ("users_own:nothing", "must return a Task or a Problem, got int"),
            ("users_own:number", "must return a Task or a Problem, got int"),
        ],
    )
    def test_a_name_that_means_nothing_is_told(self, run: Run, name: str, told: str) -> None:
        status, _, wrong = solve(run, task=name)
        assert status == 2
        assert re.search(told, wrong), wrong
        assert wrong.count("\n") == 1

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (("--minimize", "eror"), "no metric 'eror'. Did you mean 'error'"),
            (("--minimize", "score"), "score (accuracy) is to be maximized here"),
            (("--maximize", "macs"), "write --minimize macs"),
            (("--minimize", "macs", "--minimize", "macs"), "'macs' is there twice"),
            (("--subject-to", "macs<=0.0001"), "smallest reachable value"),
            (("--select", "mcs<=0.5"), "--select 'mcs<=0.5': there is no metric"),
            (("--journal", "no/where.db"), "does not exist"),
            (("--device", "abacus"), "'abacus'"),
            (("--evaluations", "0"), "must be greater than 0"),
            (("--seed", "-1"), "seed must be"),
        ],
    )
    def test_options_that_make_no_sense_are_told(
        self, run: Run, folder: Path, options: tuple[str, ...], told: str
    ) -> None:
        status, _, wrong = solve(run, *options)
        assert status == 2
        assert told in wrong
        assert wrong.count("\n") == 1
        assert not (folder / "out").exists()


class TestSolve:
    @pytest.mark.parametrize("optimizer", ["nsga2", "uniform"])
    def test_it_writes_a_result_a_picture_and_a_network(
        self, run: Run, folder: Path, optimizer: str
    ) -> None:
        status, said, wrong = solve(run, "--optimizer", optimizer, "--subject-to", "macs<=0.7")
        assert (status, wrong) == (0, "")
        files = {str(p.relative_to(folder / "out")) for p in (folder / "out").rglob("*.*")}
        assert files == {
            "front.png",
            "optprune.json",
            "network/structure.json",
            "network/weights.safetensors",
            "result/result.json",
            "result/log.csv",
            "result/front.csv",
        }
        problem = problem_of("users_own:problem", subject_to=["macs<=0.7"])
        result = op.Result.load(folder / "out" / "result", problem)
        small = op.load(folder / "out" / "network", problem.task.network)
        example = problem.task.example
        assert torch.equal(small(example), result.best.network()(example))
        assert f"→ {result.best.index}" in said
        assert result.reason in said

    def test_the_same_command_gives_the_same_front(self, run: Run, folder: Path) -> None:
        for out in ("one", "two"):
            assert solve(run, "--seed", "3", out=out)[0] == 0
        columns = ["index", "loss", "macs", "digest"]
        one, two = (
            pd.read_csv(folder / out / "result" / "log.csv")[columns] for out in ("one", "two")
        )
        pd.testing.assert_frame_equal(one, two)

    def test_the_network_that_is_saved_can_be_bounded_by_itself(
        self, run: Run, folder: Path
    ) -> None:
        assert solve(run, "--select", "macs<=0.3", "--select", "parameters<=0.5")[0] == 0
        saved = json.loads((folder / "out" / "network" / "structure.json").read_text())
        assert saved["extra"]["metrics"]["macs"] <= 0.3

    def test_one_objective_draws_the_convergence(self, run: Run, folder: Path) -> None:
        assert solve(run, "--minimize", "loss")[0] == 0
        assert (folder / "out" / "convergence.png").is_file()

    def test_a_search_without_a_feasible_network_still_leaves_its_result(
        self, run: Run, folder: Path
    ) -> None:
        status, said, wrong = solve(run, "--subject-to", "loss<=1e-9")
        assert status == 2
        assert wrong.startswith("optprune: error: none of the 20 evaluated candidates is feasible")
        assert "0 feasible" in said
        assert (folder / "out" / "result").is_dir()
        assert not (folder / "out" / "network").exists()

    def test_after_ctrl_c_the_same_command_goes_on(self, run: Run, folder: Path) -> None:
        options = ("--journal", "run.db")
        status, _, wrong = solve(run, *options, task="users_own:interrupted")
        assert status == 130
        command = wrong.strip().splitlines()[-1].strip()
        assert "kept in run.db" in wrong
        assert command == (
            "optprune solve users_own:interrupted --evaluations 20 --out out --journal run.db"
        )
        assert not (folder / "out").exists()
        assert run(*command.split()[1:])[0] == 0
        log = pd.read_csv(folder / "out" / "result" / "log.csv")
        assert len(log) == 20
        # The dense network in both runs, each candidate once, the call that was interrupted, and
        # the network that was made again to be saved: none was evaluated again.
        assert int((folder / "calls").read_text()) == 2 + 20 + 1 + 1

    def test_after_ctrl_c_without_a_journal_it_says_that_nothing_is_kept(self, run: Run) -> None:
        status, _, wrong = solve(run, task="users_own:interrupted")
        assert status == 130
        assert "nothing was written. With --journal FILE" in wrong

    def test_two_workers_find_what_one_process_finds(self, run: Run, folder: Path) -> None:
        for out, options in (("one", ()), ("two", ("--workers", "2"))):
            status, *_ = solve(run, *options, out=out)
            assert status == 0
        one, two = (op.Result.load(folder / out / "result") for out in ("one", "two"))
        assert [row.metrics for row in one.rows] == [row.metrics for row in two.rows]

    def test_workers_with_several_threads_are_refused(self, run: Run) -> None:
        status, _, wrong = solve(run, "--workers", "2", "--threads", "2")
        assert status != 0
        assert "threads" in wrong


class TestFolder:
    def test_what_is_not_ours_is_left_alone(self, run: Run, folder: Path) -> None:
        (folder / "out").mkdir()
        (folder / "out" / "thesis.tex").write_text("mine")
        for options in ((), ("--replace",)):
            status, said, wrong = solve(run, *options)
            assert (status, said) == (2, "")
            assert "'thesis.tex' is in it" in wrong
        assert (folder / "out" / "thesis.tex").read_text() == "mine"

    def test_files_that_the_user_put_beside_ours_are_left_alone(
        self, run: Run, folder: Path
    ) -> None:
        assert solve(run)[0] == 0
        (folder / "out" / "notes.txt").touch()
        assert "'notes.txt' is in it" in solve(run, "--replace")[2]

    def test_an_earlier_run_is_replaced_only_when_told_so(self, run: Run, folder: Path) -> None:
        assert solve(run, "--minimize", "loss")[0] == 0
        status, _, wrong = solve(run)
        assert status == 2
        assert "say --replace" in wrong
        assert (folder / "out" / "convergence.png").is_file()
        assert solve(run, "--replace")[0] == 0
        assert not (folder / "out" / "convergence.png").exists()
        assert (folder / "out" / "front.png").is_file()

    def test_a_file_in_the_way_is_told_before_the_search(self, run: Run, folder: Path) -> None:
        (folder / "file").touch()
        for out in ("file", "file/deeper"):
            status, said, wrong = solve(run, out=out)
            assert (status, said) == (2, "")
            assert "file" in wrong

    def test_a_full_disk_leaves_what_was_there(
        self, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert solve(run)[0] == 0
        before = sorted((folder / "out").rglob("*"))

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(op.Result, "save", full)
        status, said, wrong = solve(run, "--replace")
        assert status == 2
        assert "No space left on device" in wrong
        assert "Front of" in said  # the search is not lost from sight
        assert sorted((folder / "out").rglob("*")) == before
        assert [path.name for path in folder.glob(".out*")] == []


class TestShow:
    def test_a_result_is_shown_without_its_network(self, run: Run, folder: Path) -> None:
        assert solve(run)[0] == 0
        (folder / "users_own.py").unlink()
        sys.modules.pop("users_own")
        status, said, wrong = run("show", "out")
        assert (status, wrong) == (0, "")
        result = op.Result.load(folder / "out" / "result")
        assert f"Ended: {result.reason}" in said
        assert all(f" {i} " in said for i in result.front_indices)
        assert "subject to narrowest >= 4" in said
        assert f"→ {result.best.index}" in said
        assert f"Ended: {result.reason}" in run("show", "out/result")[1]

    def test_a_damaged_result_is_told(self, run: Run, folder: Path) -> None:
        assert solve(run)[0] == 0
        (folder / "out" / "result" / "result.json").write_text("{")
        status, _, wrong = run("show", "out")
        assert status == 2
        assert "damaged" in wrong

    def test_a_folder_without_a_result_is_told(self, run: Run) -> None:
        assert "no saved result" in run("show", ".")[2]


class TestDemo:
    def test_it_goes_from_a_trained_network_to_a_smaller_one_on_disk(
        self, run: Run, folder: Path
    ) -> None:
        status, said, wrong = run("demo", "--evaluations", "40")
        assert (status, wrong) == (0, "")
        out = folder / "demo-output"
        assert {path.name for path in out.iterdir()} == {
            "front.png",
            "network",
            "optprune.json",
            "result",
        }
        task = op.problems.digits.task()
        small = op.load(out / "network", trust=True)
        dense = sum(p.numel() for p in task.network.parameters())
        assert sum(p.numel() for p in small.parameters()) < dense
        split = task.test_split()
        accuracy = task.score(task.predict(small, split, meter=Meter()), split.labels)
        line = next(line for line in said.splitlines() if "loaded from disk" in line)
        assert f" {accuracy:.2%} ".replace("%", " %") in line
        assert op.Result.load(out / "result", op.problems.digits.problem()).test_reads == 1

    def test_what_it_prints_is_measured_on_the_network_from_disk(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def spoiled(*arguments: Any, **options: Any) -> torch.nn.Module:
            network = op.load(*arguments, **options)
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.zero_()
            return network

        monkeypatch.setattr(demo, "load", spoiled)
        said = run("demo", "--evaluations", "8")[1]
        line = next(line for line in said.splitlines() if "loaded from disk" in line)
        assert " 10.00 % " in line  # one class out of ten, always the same

    def test_it_replaces_its_own_output_and_nothing_else(self, run: Run, folder: Path) -> None:
        (folder / "demo-output").mkdir()
        for _ in range(2):
            assert run("demo", "--evaluations", "4")[0] == 0
        (folder / "demo-output" / "mine").touch()
        assert "'mine' is in it" in run("demo", "--evaluations", "4")[2]
