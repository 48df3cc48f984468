"""Comparisons: everything with everything, in tables that say what happened."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import optprune as op
from optprune.compare import Comparison
from optprune.compare.compare import compare
from optprune.errors import (
    ArgumentError,
    ArgumentTypeError,
    GraphMismatchError,
    InfeasibleError,
    JournalMismatchError,
    LoadError,
    SaveError,
)
from optprune.formulation import Metric, metrics
from optprune.optimizers import NSGA2, Random, UniformWidths
from optprune.search import solve
from optprune.testing.problems import Fragile
from tests.compare.cases import (
    Draws,
    Global,
    Interrupts,
    Raises,
    Spends,
    measured,
    recorded,
    single,
    trade,
)
from tests.search.test_solve import facts

NSGA = NSGA2(population=8)


def compared(*arguments: Any, **options: Any) -> Comparison:
    """Compare with small budgets, quietly."""
    return compare(*arguments, **({"evaluations": 20, "seeds": 2, "progress": False} | options))


@pytest.fixture(scope="module")
def ordinary() -> Comparison:
    """Two problems, three optimizers, two seeds."""
    return compared({"two": trade(), "one": single()}, [NSGA])


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Temporary folders and files go when a comparison ends."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield
    # torch keeps a cache there, from its first use on
    assert [path for path in place.iterdir() if "torchinductor" not in path.name] == []


def without_times(comparison: Comparison) -> tuple[pd.DataFrame, pd.DataFrame]:
    return comparison.log.drop(columns="seconds"), comparison.runs.drop(columns="seconds")


def check_equal(first: Comparison, second: Comparison) -> None:
    for ours, theirs in zip(without_times(first), without_times(second), strict=True):
        pd.testing.assert_frame_equal(ours, theirs)


def test_everything_runs_with_everything_and_the_references(ordinary: Comparison) -> None:
    runs = ordinary.runs
    assert list(runs.columns) == [
        *("problem", "optimizer", "seed", "evaluations", "seconds", "samples", "front"),
        *("failed", "reason"),
    ]
    expected = [
        (problem, optimizer, seed)
        for problem in ("two", "one")
        for optimizer in ("NSGA2", "Random", "UniformWidths")
        for seed in (0, 1)
    ]
    assert list(zip(runs.problem, runs.optimizer, runs.seed, strict=True)) == expected
    assert not runs.failed.any()
    assert runs.reason[0] == "budget of 20 evaluations used up"


def test_the_log_has_a_row_for_every_evaluation_of_every_run(ordinary: Comparison) -> None:
    log = ordinary.log
    assert list(log.columns) == [
        *("problem", "optimizer", "seed", "index", "evaluations", "seconds", "samples"),
        *("feasible", "failed", "distortion", "macs"),
    ]
    assert log[log.problem == "one"].macs.isna().all()
    for (problem, optimizer, seed), rows in log.groupby(["problem", "optimizer", "seed"]):
        result = ordinary.result(problem, optimizer, seed)
        assert rows["index"].tolist() == list(range(len(result.rows)))
        assert rows["evaluations"].tolist() == list(range(1, len(result.rows) + 1))
        assert rows["distortion"].tolist() == result.log["distortion"].tolist()
        assert rows["seconds"].tolist() == result.log["clock"].tolist()
        assert rows["seconds"].is_monotonic_increasing


def test_a_run_is_what_solve_gives(ordinary: Comparison) -> None:
    alone = solve(trade(), NSGA, evaluations=20, seed=1, progress=False)
    found = ordinary.result("two", "NSGA2", 1)
    assert facts(found) == facts(alone)
    assert found.front_indices == alone.front_indices
    assert found.optimizer == "NSGA2"
    assert found.configuration == alone.configuration
    assert found.network(found.front_indices[0]) is not None


def test_references_that_are_there_are_not_added_again() -> None:
    mine = Random(batch=3, name="mine")
    found = compared(single(), [mine, UniformWidths()], seeds=1, evaluations=5)
    assert list(found.optimizers) == ["mine", "UniformWidths"]
    found = compared(single(), Draws(name="Random"), seeds=1, evaluations=5)
    assert list(found.optimizers) == ["Random", "Random (reference)", "UniformWidths"]
    found = compared(single(), Draws(), seeds=1, evaluations=5, references=False)
    assert list(found.optimizers) == ["Draws"]


def test_what_an_optimizer_spends_itself_is_counted_when_it_is_spent() -> None:
    found = compared(trade(), Spends(), seeds=1, references=False)
    assert found.log.samples.tolist() == [1500, 1570]
    assert found.runs.samples.tolist() == [1573]


def test_passes_of_candidates_are_summed() -> None:
    problem = measured()
    found = compared(problem, Draws(), seeds=1, references=False, evaluations=6)
    rows = found.result(problem.task.name, "Draws", 0).rows
    assert rows[0].forward_samples > 0
    assert found.log.samples.tolist() == np.cumsum([r.forward_samples for r in rows]).tolist()
    assert found.runs.samples[0] == found.log.samples.iloc[-1]


def test_a_failed_run_is_a_row_with_its_reason() -> None:
    found = compared(trade(), [Raises(), Draws()])
    failed = found.runs[found.runs.failed]
    assert failed.optimizer.tolist() == ["Raises", "Raises"]
    assert failed.reason.tolist() == ["RuntimeError: nothing <works> here"] * 2
    assert failed.evaluations.tolist() == [4, 4]
    assert (found.log.optimizer == "Raises").sum() == 8
    assert len(found.entries) == 8
    with pytest.raises(ArgumentError, match="seed 1 failed: RuntimeError: nothing <works>"):
        found.result(next(iter(found.problems)), "Raises", 1)


def test_a_problem_on_which_everything_fails_fails_its_runs() -> None:
    broken = Metric("broken", lambda candidate: 1 / 0, needs="structure", version=1)
    found = compared(trade(objectives=[broken]), Draws(), seeds=1)
    assert found.runs.failed.all()
    assert found.runs.reason.str.contains("ZeroDivisionError").all()
    assert found.log.failed.all()
    assert found.summary()["median"].isna().all()
    with pytest.raises(InfeasibleError, match="no run"):
        found.best()


def test_runs_do_not_depend_on_each_other() -> None:
    forth = compared(trade(), Global(), seeds=(0, 1), references=False)
    back = compared(trade(), Global(), seeds=(1, 0), references=False)
    check_equal(forth, back)
    assert forth.log.distortion[:6].tolist() != forth.log.distortion[6:].tolist()


def test_an_interrupted_comparison_goes_on(tmp_path: Path) -> None:
    record, folder = tmp_path / "record", tmp_path / "kept"
    problem = recorded(record)
    optimizer = Interrupts(str(tmp_path / "mark"))
    with pytest.raises(KeyboardInterrupt):
        compared(problem, [Draws(), optimizer], folder=folder, references=False)
    found = compared(problem, [Draws(), optimizer], folder=folder, references=False)
    # Every start of a run measures the dense network; no row is measured twice.
    assert len(record.read_text().splitlines()) == 2 + 3 + found.runs.evaluations.sum()
    whole = compared(problem, [Draws(), optimizer], references=False)
    check_equal(found, whole)


def test_what_is_finished_is_read_and_more_may_be_added(tmp_path: Path) -> None:
    record, folder = tmp_path / "record", tmp_path / "a" / "kept"
    problem = recorded(record)
    options: dict[str, Any] = {"folder": folder, "references": False, "evaluations": 6}
    compared(problem, Draws(), seeds=1, **options)
    record.unlink()
    first = compared(problem, Draws(), seeds=1, **options)
    assert not record.exists()
    more = compared(problem, [Draws(), Draws(name="more")], seeds=2, **options)
    assert len(more.runs) == 4
    record.unlink()
    again = compared(problem, Draws(), seeds=1, **options)
    assert not record.exists()
    check_equal(first, again)
    assert len(Comparison.load(folder).runs) == 4


def test_a_failed_run_is_tried_again(tmp_path: Path) -> None:
    options: dict[str, Any] = {"folder": tmp_path / "kept", "references": False, "seeds": 1}
    found = compared(trade(), Raises(), **options)
    assert found.runs.failed.all()
    kept = next((tmp_path / "kept" / "runs").iterdir())
    (kept / "failure.json").write_text(
        '{"reason": "an older one", "rows": [], "own": [], "spent": 0}'
    )
    assert Comparison.load(tmp_path / "kept").runs.reason.tolist() == ["an older one"]
    check_equal(compared(trade(), Raises(), **options), found)


@pytest.mark.parametrize(
    ("problem", "optimizer", "options", "message"),
    [
        (trade, Draws(), {"evaluations": 21}, "budget of 20 evaluations for each run, not of 21"),
        (trade, Draws(), {"samples": 5}, "not of 20 evaluations, 5 samples"),
        (trade, Draws(batch=6), {}, r"another optimizer as 'Draws' \(Draws\(batch=5"),
        (single, Draws(), {}, r"another problem as 'chain' \(network"),
    ],
)
def test_a_folder_of_another_comparison_is_refused(
    tmp_path: Path, problem: Any, optimizer: Any, options: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "kept"
    compared(trade(), Draws(), seeds=1, references=False, folder=folder)
    before = (folder / "comparison.json").read_text()
    with pytest.raises(JournalMismatchError, match=message):
        compared(problem(), optimizer, folder=folder, references=False, **options)
    assert (folder / "comparison.json").read_text() == before


def test_an_optimizer_whose_source_has_changed_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    compared(trade(), Draws(), seeds=1, references=False, folder=folder)
    manifest = json.loads((folder / "comparison.json").read_text())
    manifest["optimizers"]["Draws"]["fingerprint"] = "older"
    (folder / "comparison.json").write_text(json.dumps(manifest))
    with pytest.raises(JournalMismatchError, match="source has changed"):
        compared(trade(), Draws(), seeds=1, references=False, folder=folder)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(SaveError, match="left alone"):
        compared(single(), Draws(), folder=tmp_path)
    with pytest.raises(SaveError, match="cannot be used"):
        compared(single(), Draws(), folder=tmp_path / "precious.txt")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"problems": []}, ArgumentError, "problems is empty"),
        ({"problems": [3]}, ArgumentTypeError, "got int"),
        ({"problems": {"": single}}, ArgumentTypeError, "not empty"),
        ({"problems": "twice"}, ArgumentError, "are the same problem"),
        ({"optimizers": []}, ArgumentError, "optimizers is empty"),
        ({"optimizers": Draws}, ArgumentTypeError, "an instance with a name"),
        ({"optimizers": [Draws(), Draws(9)]}, ArgumentError, "two are called 'Draws'.*name="),
        ({"seeds": 0}, ArgumentError, "at least one"),
        ({"seeds": [1, 1]}, ArgumentError, "different whole numbers"),
        ({"seeds": [-1]}, ArgumentError, "≥ 0"),
        ({"seeds": "12"}, ArgumentTypeError, "whole numbers"),
        ({"seeds": [0.5]}, ArgumentTypeError, "whole numbers"),
        ({"seeds": True}, ArgumentTypeError, "whole numbers"),
        ({"evaluations": None}, ArgumentError, "needs a budget"),
        ({"workers": 0}, ArgumentError, "workers must be at least 1"),
        ({"workers": 1.5}, ArgumentTypeError, "workers must be a whole number"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    problem = single()
    given: dict[str, Any] = {"problems": problem, "optimizers": Draws(), "evaluations": 5}
    if changes.get("problems") == "twice":
        changes = {"problems": [problem, problem]}
    given |= changes
    with pytest.raises(error, match=message):
        compare(given.pop("problems"), given.pop("optimizers"), **given)


def test_a_metric_may_not_be_called_as_a_column() -> None:
    seed = Metric("seed", lambda candidate: 1.0, needs="structure", version=1)
    with pytest.raises(ArgumentError, match="a metric called 'seed'"):
        compared(trade(objectives=[seed]), Draws())


def test_problems_of_one_task_are_numbered() -> None:
    found = compared([trade(), single()], Draws(), seeds=1, evaluations=5, references=False)
    assert list(found.problems) == ["chain", "chain 2"]
    assert found.best("chain").index in range(5)
    with pytest.raises(ArgumentError, match="name the problem: there are 'chain', 'chain 2'"):
        found.best()
    with pytest.raises(ArgumentError, match=r"no problem 'chain 3'.*Did you mean"):
        found.best("chain 3")
    with pytest.raises(ArgumentError, match="its seeds are 0"):
        found.result("chain", "Draws", 4)


def test_a_saved_comparison_is_loaded_as_it_was(tmp_path: Path) -> None:
    problems = {"two": trade(), "one": single()}
    found = compared(problems, [Draws(), Raises(), Spends()], references=False)
    folder = found.save(tmp_path / "saved")
    for given in (None, problems):
        loaded = Comparison.load(folder, given)
        pd.testing.assert_frame_equal(loaded.log, found.log)
        pd.testing.assert_frame_equal(loaded.runs, found.runs)
        pd.testing.assert_frame_equal(loaded.summary(), found.summary())
        assert (loaded.result("two", "Draws", 0).problem is None) == (given is None)
    assert found.save(folder) == folder
    more = compared(problems, [Draws(), Raises(), Spends()], references=False, folder=folder)
    check_equal(more, found)
    with pytest.raises(GraphMismatchError, match="another problem"):
        Comparison.load(folder, {"two": single()})
    with pytest.raises(ArgumentError, match="no problem 'three'"):
        Comparison.load(folder, {"three": single()})


def test_damaged_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no comparison in"):
        Comparison.load(tmp_path)
    folder = compared(single(), Draws(), seeds=1, references=False).save(tmp_path / "saved")
    text = (folder / "comparison.json").read_text()
    for damaged, message in (
        ("{", "is damaged"),
        ("{}", "is damaged"),
        (text.replace('"format": 1', '"format": 99'), "format 99"),
    ):
        (folder / "comparison.json").write_text(damaged)
        with pytest.raises(LoadError, match=message):
            Comparison.load(folder)
    (folder / "comparison.json").write_text(text)
    next(folder.glob("runs/*/own.json")).unlink()
    with pytest.raises(LoadError, match=r"own\.json.*damaged or missing"):
        Comparison.load(folder)


def test_runs_that_are_not_finished_are_told(tmp_path: Path) -> None:
    optimizer = Interrupts(str(tmp_path / "mark"))
    with pytest.raises(KeyboardInterrupt):
        compared(trade(), optimizer, folder=tmp_path / "kept", references=False)
    loaded = Comparison.load(tmp_path / "kept")
    assert loaded.runs.failed.tolist() == [True, True]
    assert loaded.runs.reason.str.contains("not finished").all()
    assert loaded.runs.evaluations.tolist() == [4, 0]


def test_every_optimizer_stands_in_the_summary_at_its_cost(ordinary: Comparison) -> None:
    table = ordinary.summary().set_index(["problem", "optimizer"])
    assert table.loc[("two", "NSGA2"), "measure"] == "hypervolume"
    assert table.loc[("one", "NSGA2"), "measure"] == "distortion"
    assert table.loc[("two", "UniformWidths"), "evaluations"] == 13
    volumes = [ordinary.result("two", "NSGA2", seed) for seed in (0, 1)]
    worst = ordinary.trajectories("two").reference
    expected = np.median([result.hypervolume(worst) for result in volumes])
    assert table.loc[("two", "NSGA2"), "median"] == pytest.approx(expected, rel=1e-12)
    assert table["failed"].sum() == 0
    assert (table["runs"] == 2).all()


def test_statistics_are_about_all_problems(ordinary: Comparison) -> None:
    table = ordinary.statistics()
    assert table[["first", "second"]].to_numpy().tolist() == [
        ["NSGA2", "Random"],
        ["NSGA2", "UniformWidths"],
        ["Random", "UniformWidths"],
    ]
    assert (table["pairs"] == 4).all()
    assert set(ordinary.ranks().mean_ranks) == set(ordinary.optimizers)
    with pytest.raises(ArgumentError, match="measure must be one of distortion, macs, hypervol"):
        ordinary.trajectories("two", measure="error")
    with pytest.raises(ArgumentError, match="measure must be one of distortion on"):
        ordinary.trajectories("one", measure="hypervolume")


def test_failing_candidates_are_rows_that_failed() -> None:
    fragile = Metric("fragile", Fragile((0.5, 0.6, 0.5)), needs="structure", version=1)
    found = compared(trade(objectives=[fragile]), Draws(), seeds=1, references=False)
    log = found.log
    assert 0 < log.failed.sum() < len(log)
    assert (log.failed == log.fragile.isna()).all()
    assert (log.feasible == ~log.failed).all()


def test_constraints_make_rows_infeasible() -> None:
    problem = trade(subject_to=[metrics.macs <= 0.3])
    log = compared(problem, UniformWidths(), seeds=1, references=False).log
    assert (log.feasible == (log.macs <= 0.3)).all()
    assert not log.failed.any()
    assert 0 < log.feasible.sum() < len(log)


def test_the_room_can_be_called_whoever_imports_it_first() -> None:
    room = importlib.import_module("optprune.compare")
    for called in (op.compare, room):
        with pytest.raises(ArgumentError, match="problems is empty"):
            called([], Draws(), evaluations=1)  # type: ignore[operator]
    assert op.Comparison is Comparison


def test_weights_that_changed_are_refused() -> None:
    problem = trade()
    next(problem.task.network.parameters()).data.add_(1.0)
    with pytest.raises(ArgumentError, match="weights of the task's network have changed"):
        compared(problem, Draws())


def test_the_dense_network_is_left_alone() -> None:
    problem = measured()
    before = {name: value.clone() for name, value in problem.task.network.state_dict().items()}
    compared(problem, Draws(), seeds=1, evaluations=4, references=False)
    after = problem.task.network.state_dict()
    assert all((after[name] == value).all() for name, value in before.items())
