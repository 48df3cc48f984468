from __future__ import annotations

import copy
import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch

from optprune.errors import (
    ArgumentError,
    ArgumentTypeError,
    GraphMismatchError,
    InfeasibleError,
    LoadError,
    RecoveryError,
    SaveError,
    TaskError,
)
from optprune.formulation import Candidate, Problem, Proposal, Start, Widths, metrics
from optprune.meter import Meter
from optprune.recovery import BatchNorm
from optprune.search import Choice, Result, solve
from optprune.surgery import load
from optprune.task import Task
from optprune.testing.networks import residual_task
from optprune.training import SGD
from tests.search.cases import Batches, Endless, Noise, custom, drawn, residual, structures

ROOT = Path(__file__).parents[2]
matplotlib.use("agg")


def make_task() -> Task:
    """A task with a trained network and a test split."""
    plain = residual_task()
    assert plain.train is not None
    inputs, targets = plain.train.inputs, plain.train.labels
    SGD(epochs=30, batch_size=16, lr=0.05).fit(
        plain.network, plain.train, loss=plain.loss, outputs=plain.outputs, seed=0, meter=Meter()
    )
    return Task(
        plain.network,
        train=(inputs, targets),
        validation=(plain.validation.inputs, plain.validation.labels),
        test=(inputs[24:], targets[24:]),
        name="tested",
    )


def make_problem(**changes: Any) -> Problem:
    settings: dict[str, Any] = {
        "objectives": [metrics.error, metrics.macs],
        "recovery": BatchNorm(),
    }
    return Problem(make_task(), **(settings | changes))


def solved(problem: Problem, optimizer: Any = None, evaluations: int = 40) -> Result:
    return solve(
        problem, optimizer or Endless(drawn), evaluations=evaluations, seed=2, progress=False
    )


def classes_sum(candidate: Candidate) -> float:
    return -float(candidate.network.classes.weight.detach().mean())  # type: ignore[union-attr,operator]


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem(subject_to=[metrics.macs <= 0.8])


@pytest.fixture(scope="module")
def result(problem: Problem) -> Result:
    return solved(problem)


class TestTables:
    def test_the_log_has_a_row_for_every_evaluation(self, result: Result) -> None:
        log = result.log
        assert list(log["index"]) == list(range(40))
        assert {
            *("index", "error", "macs", "feasible", "violation", "failed", "reason", "seconds"),
            *("forward_samples", "backward_samples", "clock", "digest"),
            *("width:stem", "width:inner"),
        } == set(log.columns)
        assert (log["clock"].diff().dropna() >= 0).all()
        assert log["feasible"].equals(log["macs"] <= 0.8)
        assert log["error"].isna().equals(~log["feasible"])

    def test_widths_and_macs_agree(self, result: Result, problem: Problem) -> None:
        widths = result.log[["width:stem", "width:inner"]].to_numpy()
        assert np.array_equal(
            result.log["macs"],
            metrics.macs.population(problem.graph, widths),  # type: ignore[arg-type]
        )

    def test_the_front_is_feasible_sorted_and_falls(self, result: Result) -> None:
        front = result.front
        assert len(front) > 2
        assert front["feasible"].all()
        assert front["error"].is_monotonic_increasing
        assert front["macs"].is_monotonic_decreasing
        assert tuple(front["index"]) == result.front_indices

    def test_the_dense_network_is_measured_without_recovery(
        self, result: Result, problem: Problem
    ) -> None:
        task = problem.task
        outputs = task.predict(task.network, task.validation, meter=Meter())
        wrong = outputs.argmax(dim=1) != task.validation.labels
        assert result.dense.metrics == {"error": float(wrong.double().mean()), "macs": 1.0}
        assert result.dense.index == -1

    def test_the_meter_sums_the_rows(self, result: Result) -> None:
        assert result.meter.forward_samples == result.log["forward_samples"].sum()
        # Validation, and the calibration samples of the recovery.
        expected = result.log["feasible"] * (24 + 48)
        assert result.log["forward_samples"].equals(expected)
        assert result.setup.forward_samples == 24

    def test_the_text_shows_front_and_reason(self, result: Result) -> None:
        text = repr(result)
        assert "subject to macs <= 0.8" in text
        assert "ended: budget of 40 evaluations used up" in text
        assert "dense" in text
        for index in result.front_indices[:5]:
            assert f" {index} " in text

    def test_the_notebook_shows_a_table_and_a_picture(self, result: Result) -> None:
        text = result._repr_html_()
        assert "<table" in text
        assert "data:image/png;base64," in text

    def test_nothing_feasible_is_shown_all_the_same(self) -> None:
        problem = residual(subject_to=[metrics.error <= 0.01])
        result = solved(problem, evaluations=5)
        assert len(result.front) == 0
        assert "0 feasible" in repr(result)
        assert "<img" not in result._repr_html_()
        assert result.hypervolume() == 0.0
        with pytest.raises(InfeasibleError, match=r"none of the 5.*nearest, row \d: error = "):
            _ = result.best

    def test_a_search_that_evaluated_nothing_is_shown_all_the_same(self) -> None:
        result = solved(residual(), Batches(()))
        assert len(result.log) == len(result.front) == 0
        assert "0 evaluated" in repr(result)
        with pytest.raises(InfeasibleError, match="none of the 0"):
            result.select()
        with pytest.raises(ArgumentError, match="no row 0"):
            result.network(0)


class TestHypervolume:
    def test_it_is_that_of_the_problem_s_reference(self, result: Result) -> None:
        assert result.hypervolume() == result.hypervolume([0.9, 1.0])
        assert result.hypervolume() < result.hypervolume([1.0, 1.0])

    def test_it_counts_maximized_objectives(self) -> None:
        problem = residual(objectives=[metrics.score, metrics.macs])
        result = solved(problem, Batches((structures(problem, (3, 4)),)))
        accuracy, macs = result.rows[0].metrics["score"], result.rows[0].metrics["macs"]
        expected = (accuracy - 0.1) * (1 - macs)
        assert result.hypervolume([0.1, 1.0]) == pytest.approx(expected)

    def test_a_reference_of_another_length_is_an_error(self, result: Result) -> None:
        with pytest.raises(ArgumentError, match="2 coordinates"):
            result.hypervolume([1.0])


class TestSelect:
    def test_it_is_the_least_first_objective_of_those_that_satisfy(self, result: Result) -> None:
        choice = result.select(metrics.macs <= 0.3)
        log = result.log[result.log["macs"] <= 0.3]
        assert choice.metrics["macs"] <= 0.3
        assert choice.metrics["error"] == log["error"].min()
        assert choice.row == result.rows[choice.index]
        assert choice.index in result.front_indices

    def test_several_constraints_hold_together(self, result: Result) -> None:
        choice = result.select(metrics.macs <= 0.5, metrics.macs >= 0.2)
        assert 0.2 <= choice.metrics["macs"] <= 0.5

    def test_a_cost_that_was_not_measured_follows_from_the_structure(
        self, result: Result, problem: Problem
    ) -> None:
        choice = result.select(metrics.parameters.absolute <= 150)
        assert sum(p.numel() for p in choice.network().parameters()) <= 150

    def test_the_best_of_a_maximized_objective_is_the_greatest(self) -> None:
        result = solved(residual(objectives=[metrics.score, metrics.macs]))
        assert result.best.metrics["score"] == result.log["score"].max()

    def test_another_metric_may_decide(self, result: Result) -> None:
        bound = float(result.log["error"].quantile(0.6))
        choice = result.select(metrics.error <= bound, by=metrics.macs)
        enough = result.log[result.log["error"] <= bound]
        assert choice.metrics["macs"] == enough["macs"].min()
        smallest = result.select(by=metrics.parameters)  # not measured
        sizes = [sum(row.widths) for row in result.rows]
        assert sum(smallest.row.widths) == min(sizes)

    def test_the_metric_that_decides_has_its_own_direction(self) -> None:
        result = solved(residual(objectives=[metrics.macs, metrics.score]))
        choice = result.select(by=metrics.score)
        assert choice.metrics["score"] == result.log["score"].max()
        with pytest.raises(ArgumentError, match=r"'loss' was not measured"):
            result.select(by=metrics.loss)
        with pytest.raises(ArgumentTypeError, match=r"by must be a metric .* got str"):
            result.select(by="macs")  # type: ignore[arg-type]

    def test_nothing_that_satisfies_says_how_near_it_comes(self, result: Result) -> None:
        least = result.front["macs"].min()
        with pytest.raises(InfeasibleError, match=rf"macs <= 0.001.*reaches {least:.4g}"):
            result.select(metrics.macs <= 0.001)

    def test_a_metric_that_was_not_measured_is_an_error(self, result: Result) -> None:
        with pytest.raises(ArgumentError, match=r"'loss' was not measured.*error, macs"):
            result.select(metrics.loss <= 1.0)

    def test_something_else_than_a_constraint_is_an_error(self, result: Result) -> None:
        with pytest.raises(ArgumentTypeError, match=r"op.metrics.macs <= 0.5; got float"):
            result.select(0.5)  # type: ignore[arg-type]


class TestNetworks:
    def test_it_measures_as_its_row_says(self, result: Result, problem: Problem) -> None:
        for index in result.front_indices:
            network = result.network(index)
            outputs = problem.task.outputs(network, problem.task.validation.inputs)
            wrong = outputs.argmax(dim=1) != problem.task.validation.labels
            assert float(wrong.double().mean()) == result.rows[index].metrics["error"]
            assert network.stem.out_channels == result.rows[index].widths[0]
            assert not network.training

    def test_it_shares_nothing(self, result: Result, problem: Problem) -> None:
        before = copy.deepcopy(problem.task.network.state_dict())
        one, other = (result.network(result.best.index) for _ in range(2))
        with torch.no_grad():
            for parameter in one.parameters():
                parameter.fill_(7.0)
        assert all(not (p == 7.0).all() for p in other.parameters() if p.numel() > 1)
        assert all(torch.equal(before[k], v) for k, v in problem.task.network.state_dict().items())

    def test_every_tensor_of_a_network_has_storage_of_its_own(self, result: Result) -> None:
        network = result.best.network()
        for tensor in (*network.parameters(), *network.buffers()):
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()

    def test_a_network_that_is_not_its_row_is_an_error(self) -> None:
        problem = make_problem()
        result = solved(problem, evaluations=5)
        with torch.no_grad():
            problem.task.network.classes.weight.mul_(-1)  # type: ignore[union-attr,operator]
        with pytest.raises(GraphMismatchError, match=r"error is .* now and was"):
            result.network(0)
        result.network(0, check=False)

    def test_measured_times_are_not_compared(self) -> None:
        problem = residual(objectives=[metrics.error, metrics.Latency(repeats=1, warmup=0)])
        result = solved(problem, evaluations=2)
        result.network(0)

    def test_noise_of_a_candidate_is_its_own(self) -> None:
        result = solved(residual(objectives=[custom(Noise()), metrics.macs]), evaluations=3)
        result.network(2)

    def test_rows_that_are_not_there_are_an_error(self, result: Result) -> None:
        for wrong in (-1, 40):
            with pytest.raises(ArgumentError, match="rows 0 to 39"):
                result.network(wrong)
        with pytest.raises(ArgumentTypeError, match="whole number"):
            result.network(1.5)  # type: ignore[arg-type]

    def test_starting_weights_are_kept_for_the_front(self, tmp_path: Path) -> None:
        problem = residual(objectives=[custom(classes_sum, needs="network")])
        one, other = structures(problem, (3, 4), (8, 12))
        state = {k: v + 1 for k, v in problem.task.network.state_dict().items()}
        start = Start.of(state)
        batch = [Proposal(one, start), Proposal(other, start), Proposal(one)]
        result = solved(problem, Batches((batch,)))
        # Of the first two rows one is best, by its own weights; the other is dominated.
        (index,) = result.front_indices
        assert index < 2
        result.save(tmp_path / "result")
        again = Result.load(tmp_path / "result", problem)
        for mine, theirs in zip(
            result.network(index).parameters(), again.network(index).parameters(), strict=True
        ):
            assert torch.equal(mine, theirs)

    def test_starting_weights_behind_the_front_are_not_kept(self) -> None:
        problem = residual(objectives=[custom(classes_sum, needs="network")])
        (one,) = structures(problem, (3, 4))
        better, worse = (
            Start.of({k: v + change for k, v in problem.task.network.state_dict().items()})
            for change in (2, 1)
        )
        result = solved(problem, Batches(([Proposal(one, worse)], [Proposal(one, better)])))
        assert result.front_indices == (1,)
        result.network(1)
        with pytest.raises(LoadError, match="were not kept"):
            result.network(0)

    def test_a_choice_is_saved_and_loaded(
        self, result: Result, problem: Problem, tmp_path: Path
    ) -> None:
        choice = result.select(metrics.macs <= 0.5)
        folder = choice.save(tmp_path / "small")
        network = load(folder, copy.deepcopy(problem.task.network))
        for mine, theirs in zip(
            choice.network().state_dict().values(), network.state_dict().values(), strict=True
        ):
            assert torch.equal(mine, theirs)
        assert isinstance(choice, Choice)
        assert f"index {choice.index}" in repr(choice)


class TestFinish:
    def test_training_further_changes_the_network_but_not_the_result(
        self, result: Result, problem: Problem
    ) -> None:
        index = result.best.index
        finished = result.finish(index, SGD(epochs=3, batch_size=16, lr=0.05))
        assert finished.after["loss"] < finished.before["loss"]
        assert finished.before["error"] == pytest.approx(result.rows[index].metrics["error"])
        assert finished.meter.backward_samples == 3 * 48
        result.network(index)

    def test_one_seed_gives_one_network(self, result: Result) -> None:
        trainer = SGD(epochs=1, batch_size=16)
        one, other = (result.best.finish(trainer).network for _ in range(2))
        assert all(
            torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)
        )

    def test_without_a_training_split_it_is_an_error(self) -> None:
        plain = residual_task()
        task = Task(plain.network, validation=(plain.validation.inputs, plain.validation.labels))
        problem = Problem(task, objectives=[metrics.error, metrics.macs])
        result = solved(problem, evaluations=3)
        with pytest.raises(TaskError, match=r"train=\(inputs, targets\)"):
            result.finish(0, SGD(epochs=1))

    def test_a_trainer_that_raises_is_told(self, result: Result) -> None:
        class Broken:
            def fit(self, *arguments: Any, **keywords: Any) -> Any:
                raise KeyError("weights")

        with pytest.raises(RecoveryError, match="KeyError: 'weights'"):
            result.finish(result.best.index, Broken())


class TestReport:
    def test_it_reads_the_test_split_and_counts(self, problem: Problem) -> None:
        result = solved(problem)
        assert result.test_reads == 0
        assert "test split" not in repr(result)
        table = result.report(*result.front_indices[:2])
        assert list(table["index"]) == [-1, *result.front_indices[:2]]
        assert {"test_accuracy", "test_loss", "test_error"} <= set(table.columns)
        assert np.allclose(table["test_accuracy"], 1 - table["test_error"])
        assert table.attrs["test_reads"] == result.test_reads == 2
        result.report()
        assert result.test_reads == 3
        assert "test split read 3 times" in repr(result)

    def test_networks_of_the_user_are_measured_in_place_of_those_made_again(
        self, problem: Problem
    ) -> None:
        result = solved(problem)
        i = result.front_indices[-1]
        dense = result.attached().task.network
        table = result.report(i, networks={i: dense}).set_index("index")
        assert table.loc[i, "test_loss"] == table.loc[-1, "test_loss"]
        assert result.report(i)["test_loss"].nunique() == 2
        assert result.test_reads == 2
        with pytest.raises(ArgumentError, match="networks has one for row"):
            result.report(i, networks={i + 1: dense})

    def test_other_networks_can_take_the_place_of_those_made_again(self, problem: Problem) -> None:
        result = solved(problem)
        one, other = result.front_indices[:2]
        table = result.report(one, networks={one: problem.task.network})
        assert table["test_loss"][0] == table["test_loss"][1]
        with pytest.raises(ArgumentError, match=f"row {other}, which is not reported"):
            result.report(one, networks={other: problem.task.network})

    def test_without_a_test_split_it_is_an_error(self) -> None:
        result = solved(residual(), evaluations=3)
        with pytest.raises(TaskError, match="no test split"):
            result.report(0)
        assert result.test_reads == 0


class TestPlot:
    def test_two_objectives_make_a_front(self, result: Result) -> None:
        axes = result.plot()
        assert axes.get_xlabel() == "MACs (fraction of dense)"
        assert axes.get_ylabel() == "error"

    def test_one_objective_makes_a_curve(self) -> None:
        axes = solved(residual(objectives=[metrics.loss])).plot()
        assert axes.get_ylabel() == "loss"

    def test_a_metric_that_was_not_measured_is_an_error(self, result: Result) -> None:
        with pytest.raises(ArgumentError, match="'latency' was not measured"):
            result.plot(x="latency")


class TestSaving:
    def test_what_is_loaded_is_what_was_saved(
        self, result: Result, problem: Problem, tmp_path: Path
    ) -> None:
        folder = result.save(tmp_path / "some" / "result")
        again = Result.load(folder, problem)
        assert repr(again) == repr(result)
        assert again.log.equals(result.log)
        assert again.summary == result.summary
        assert again.meter == result.meter
        assert again.hypervolume() == result.hypervolume()
        index = result.best.index
        for mine, theirs in zip(
            result.network(index).parameters(), again.network(index).parameters(), strict=True
        ):
            assert torch.equal(mine, theirs)
        assert (folder / "front.csv").read_text().count("\n") == len(result.front) + 1

    def test_tables_can_be_read_without_the_problem(self, result: Result, tmp_path: Path) -> None:
        again = Result.load(result.save(tmp_path / "result"))
        assert again.front.equals(result.front)
        assert again.select(metrics.macs <= 0.3).row == result.select(metrics.macs <= 0.3).row
        with pytest.raises(ArgumentError, match=r"Result.load\(folder, problem\)"):
            again.network(0)

    def test_reads_of_the_test_split_are_not_forgotten(
        self, problem: Problem, tmp_path: Path
    ) -> None:
        result = solved(problem)
        result.report()
        assert Result.load(result.save(tmp_path / "result"), problem).test_reads == 1

    def test_a_saved_result_is_replaced_and_anything_else_left_alone(
        self, result: Result, tmp_path: Path
    ) -> None:
        result.save(tmp_path / "result")
        result.save(tmp_path / "result")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "photograph.png").touch()
        with pytest.raises(SaveError, match="left alone"):
            result.save(tmp_path / "mine")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "result"]

    def test_another_problem_is_refused(self, result: Result, tmp_path: Path) -> None:
        folder = result.save(tmp_path / "result")
        with pytest.raises(GraphMismatchError, match=r"space: .*Widths"):
            Result.load(folder, make_problem(space=Widths(step=2)))

    def test_a_damaged_result_is_told(self, result: Result, tmp_path: Path) -> None:
        with pytest.raises(LoadError, match="no saved result"):
            Result.load(tmp_path / "nowhere")
        folder = result.save(tmp_path / "result")
        file = folder / "result.json"
        text = file.read_text()
        file.write_text(text[:1000])
        with pytest.raises(LoadError, match="damaged"):
            Result.load(folder)
        document = json.loads(text)
        for key in ("rows", "summary", "dense"):
            file.write_text(json.dumps({k: v for k, v in document.items() if k != key}))
            with pytest.raises(LoadError, match="damaged"):
                Result.load(folder)
        file.write_text(json.dumps(document | {"format": 99}))
        with pytest.raises(LoadError, match="format 99"):
            Result.load(folder)
        file.write_text("[]")
        with pytest.raises(LoadError, match="damaged"):
            Result.load(folder)

    @pytest.mark.parametrize("earlier", [False, True])
    def test_a_full_disk_leaves_nothing_half_written(
        self, result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
    ) -> None:
        import pandas as pd

        place = tmp_path / "deep" / "result"
        before = ""
        if earlier:
            before = (result.save(place) / "result.json").read_text()

        def full(*arguments: object, **keywords: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(pd.DataFrame, "to_csv", full)
        with pytest.raises(SaveError, match="No space left on device"):
            result.save(place)
        if earlier:
            assert (place / "result.json").read_text() == before
            assert [path.name for path in place.parent.iterdir()] == ["result"]
        else:
            assert list(tmp_path.iterdir()) == []

    def test_a_real_limit_on_files_leaves_nothing_half_written(self, tmp_path: Path) -> None:
        script = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from optprune.errors import SaveError
from tests.search.test_result import solved, residual
result = solved(residual())
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
try:
    result.save(sys.argv[2])
except SaveError as error:
    print("told:", error)
"""
        done = subprocess.run(
            [sys.executable, "-c", script, str(ROOT), str(tmp_path / "deep" / "result")],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith("told:")
        assert list(tmp_path.iterdir()) == []
