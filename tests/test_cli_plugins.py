"""Plug-ins of other packages are found by name, and broken ones disturb nobody else."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import optprune as op
from optprune import optimizers
from optprune.cli import main
from optprune.cli.formulate import problem_of
from optprune.cli.metrics import metrics_by_name
from optprune.cli.names import OPTIMIZERS
from optprune.cli.optimizer import optimizer_named
from optprune.cli.plugins import installed
from optprune.errors import ArgumentError, ArgumentTypeError, PluginError
from optprune.search import Optimizer

MODULE = """
from dataclasses import dataclass
import optprune as op
from optprune.search import to_minimization
from optprune.testing.networks import chain_task

@dataclass(frozen=True)
class Walk:
    stride: int = 1
    name: str = "Walk"

    def search(self, problem, session):
        space = problem.bound_space
        while True:
            session.evaluate(space.sample(session.generator, self.stride))

ready = Walk(stride=3)

def factory(stride: int = 7):
    return Walk(stride)

class Plain:
    name = "Plain"
    def search(self, problem, session):
        session.evaluate(problem.bound_space.full()[None])

plain = Plain()

@op.metric(per="population", unit="units", version=1)
def kept(graph, widths):
    return widths.sum(axis=1)

@op.metric(needs="structure", version=1)
def macs(candidate):
    return 0.0

def task():
    return chain_task((4, 5))

def problem():
    return op.Problem(task(), objectives=[op.metrics.loss, op.metrics.macs])

def raising(stride=1):
    raise RuntimeError("no disk")

number = 4
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package with entry points, as pip leaves it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "extra_walks.py").write_text(MODULE)
    monkeypatch.delitem(sys.modules, "extra_walks", raising=False)

    def make(package: str = "extra-walks", **groups: dict[str, str]) -> None:
        folder = tmp_path / f"{package.replace('-', '_')}-2.1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.1\n")
        lines = []
        for group, points in groups.items():
            lines += [f"[optprune.{group}]", *(f"{n} = {t}" for n, t in points.items())]
        (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")

    yield make
    sys.modules.pop("extra_walks", None)


class TestOptimizers:
    def test_every_optimizer_of_optprune_has_a_name(self) -> None:
        searching = {
            name
            for name in optimizers.__all__
            if isinstance(kind := getattr(optimizers, name), type) and hasattr(kind, "search")
        }
        assert set(OPTIMIZERS.values()) == searching
        assert [*OPTIMIZERS] == sorted(OPTIMIZERS)

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_a_name_gives_its_optimizer(self, name: str) -> None:
        made = optimizer_named(name, ["macs=0.5"] if name == "binary-structural-search" else [])
        assert isinstance(made, Optimizer)
        assert type(made).__name__ == OPTIMIZERS[name]

    def test_options_are_read_by_the_fields(self) -> None:
        made = optimizer_named("nsga2", ["population=64", "mutation=none", "crossover=0.5"])
        assert made == optimizers.NSGA2(population=64, crossover=0.5)
        made = optimizer_named("convex-allocation", ["targets=0.8,0.4", "cost=parameters"])
        assert made == optimizers.ConvexAllocation((0.8, 0.4), cost="parameters")

    @pytest.mark.parametrize(
        ("name", "make"),
        [
            ("walk", "Walk"),
            ("walk", "factory"),
            ("walk", "ready"),
        ],
    )
    def test_a_plug_in_is_an_optimizer_or_what_makes_one(
        self, install: Install, name: str, make: str
    ) -> None:
        install(optimizers={name: f"extra_walks:{make}"})
        stride = {"Walk": 1, "factory": 7, "ready": 3}[make]
        assert repr(optimizer_named(name)) == f"Walk(stride={stride}, name='Walk')"
        assert repr(optimizer_named(name, ["stride=5"])) == "Walk(stride=5, name='Walk')"

    def test_one_that_is_written_out_need_not_be_installed(self, install: Install) -> None:
        assert optimizer_named("extra_walks:Walk", ["stride=2"]).stride == 2  # type: ignore[attr-defined]
        assert optimizer_named("extra_walks:plain").name == "Plain"

    @pytest.mark.parametrize(
        ("name", "options", "told"),
        [
            ("spea", [], "there is no optimizer 'spea'. Did you mean 'spea2'"),
            ("?", [], r"There are age-moea2, .*, unsga3, walk. Your own are written package.mod"),
            ("wlk", [], "Did you mean 'walk'"),
            ("extra_walks:Wlk", [], "has no 'Wlk'. Did you mean 'Walk'"),
            ("extra_walks:number", [], "must be an optimizer, .* got int 4"),
            ("extra_walks:task", [], "must be an optimizer, .* got Task"),
            ("extra_walks:raising", [], "making it raised RuntimeError: no disk"),
            ("extra_walks:plain", ["a=1"], "an object that is no dataclass"),
            ("walk", ["strides=2"], "'walk' has no 'strides'. Did you mean 'stride'"),
            ("nsga2", ["population=3"], "must be at least 4"),
        ],
    )
    def test_what_is_no_optimizer_is_told(
        self, install: Install, name: str, options: list[str], told: str
    ) -> None:
        install(optimizers={"walk": "extra_walks:Walk"})
        with pytest.raises((ArgumentError, ArgumentTypeError), match=told):
            optimizer_named(name, options)


class TestBroken:
    @pytest.mark.parametrize(
        ("kind", "target", "reason"),
        [
            ("optimizers", "no_such_module:Walk", "cannot be imported: ModuleNotFoundError"),
            ("optimizers", "extra_walks:Wlk", "cannot be imported: AttributeError"),
            ("optimizers", "extra_exits:Walk", "cannot be imported: SystemExit: 3"),
            ("optimizers", "extra_walks:number", "must be an optimizer"),
            ("optimizers", "extra_walks:raising", "making it raised RuntimeError: no disk"),
            ("metrics", "extra_walks:number", "must be a Metric, .* got int"),
            ("metrics", "extra_walks:kept", "the metric is called 'kept'"),
            ("problems", "extra_walks:number", "it must be a Task or a Problem, .* got int"),
            ("problems", "extra_walks:raising", "it raised RuntimeError: no disk"),
            ("problems", "extra_exits:problem", "cannot be imported: SystemExit"),
        ],
    )
    def test_a_broken_plug_in_is_told_with_its_package_and_others_work(
        self, install: Install, tmp_path: Path, kind: str, target: str, reason: str
    ) -> None:
        (tmp_path / "extra_exits.py").write_text("import sys\nsys.exit(3)\n")
        install("extra-broken", **{kind: {"broken": target}})
        install(optimizers={"walk": "extra_walks:Walk"})
        ask = {
            "optimizers": lambda: optimizer_named("broken"),
            "metrics": lambda: metrics_by_name()["broken"],
            "problems": lambda: problem_of("broken"),
        }[kind]
        with pytest.raises(PluginError, match=reason) as caught:
            ask()
        place = f"entry point optprune.{kind}: broken = {target}"
        assert f"plug-in 'broken' of extra-broken 2.1 ({place})" in str(caught.value)
        assert optimizer_named("walk").name == "Walk"
        assert metrics_by_name()["macs"] is op.metrics.macs

    def test_two_plug_ins_of_one_name_are_told_and_can_be_written_out(
        self, install: Install
    ) -> None:
        install("extra-one", optimizers={"walk": "extra_walks:Walk"})
        install("extra-two", optimizers={"walk": "extra_walks:ready"})
        offers = (
            r"'walk' is offered by extra-\w+ 2.1 \(extra_walks:\w+\) and extra-\w+ 2.1 \(extra_wal"
        )
        with pytest.raises(ArgumentError, match=offers):
            optimizer_named("walk")
        assert optimizer_named("extra_walks:ready").stride == 3  # type: ignore[attr-defined]

    def test_two_names_of_one_object_are_no_quarrel(self, install: Install) -> None:
        install("extra-one", optimizers={"walk": "extra_walks:Walk"})
        install("extra-two", optimizers={"walk": "extra_walks:Walk"})
        assert optimizer_named("walk").name == "Walk"

    def test_a_name_of_optprunes_own_stays_its_own_and_says_so(
        self, install: Install, capsys: pytest.CaptureFixture[str]
    ) -> None:
        install(
            optimizers={"random": "extra_walks:Walk"},
            metrics={"macs": "extra_walks:macs"},
            problems={"digits": "extra_walks:task"},
        )
        assert optimizer_named("random") == optimizers.Random()
        assert metrics_by_name()["macs"] is op.metrics.macs
        assert problem_of("digits").task.name == "digits"
        said = capsys.readouterr().err.splitlines()
        for name, line in zip(("random", "macs", "digits"), said, strict=True):
            assert line.startswith(f"optprune: note: '{name}' is optprune's own; the plug-in")
            assert "of extra-walks 2.1" in line

    def test_what_is_not_asked_for_is_not_imported(self, install: Install) -> None:
        install(optimizers={"walk": "extra_walks:Walk"}, metrics={"kept": "extra_walks:kept"})
        assert [*installed("optimizers")] == ["walk"]
        assert "kept" in metrics_by_name()
        assert "kept" in [*metrics_by_name()]
        assert "extra_walks" not in sys.modules


class TestCommand:
    def test_a_plug_in_of_each_kind_is_searched_with(
        self, install: Install, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        install(
            optimizers={"walk": "extra_walks:Walk"},
            metrics={"kept": "extra_walks:kept"},
            problems={"chain": "extra_walks:problem", "chain-task": "extra_walks:task"},
        )
        options = "--optimizer walk --option stride=4 --minimize loss --minimize kept"
        bounds = ["--subject-to", "kept<=7", "--select", "kept<=5"]
        command = ["solve", "chain", *options.split(), *bounds, "--evaluations", "20"]
        assert main([*command, "--out", "out"]) == 0
        said, wrong = capfd.readouterr()
        assert wrong == ""
        assert "Walk on chain" in said
        result = op.Result.load(tmp_path / "out" / "result")
        assert result.summary.objectives == ("loss", "kept")
        assert all(row.metrics["kept"] <= 7 for row in result.rows if row.feasible)
        assert problem_of("chain-task").objective_names == ("error", "macs")

    def test_an_option_that_cannot_be_read_is_one_line(
        self, install: Install, capfd: pytest.CaptureFixture[str]
    ) -> None:
        command = ["solve", "digits", "--out", "out", "--option", "population=many"]
        assert main(command) == 2
        assert capfd.readouterr().err == (
            "optprune: error: --option 'population=many': 'many' is not a whole number.\n"
        )

    def test_the_list_tells_names_places_packages_and_what_is_broken(
        self, install: Install, capfd: pytest.CaptureFixture[str]
    ) -> None:
        install(
            optimizers={"walk": "extra_walks:Walk", "broken": "no_such_module:Walk"},
            metrics={"kept": "extra_walks:kept", "macs": "extra_walks:macs"},
            problems={"chain": "extra_walks:problem"},
        )
        assert main(["plugins"]) == 0
        said, wrong = capfd.readouterr()
        assert wrong == ""
        own = f"optprune {op.__version__}"
        for name, place in (
            ("sms-emoa", f"optprune.optimizers:SMSEMOA, {own}"),
            ("walk", "extra_walks:Walk, extra-walks 2.1"),
            ("macs", f"optprune.metrics:macs, {own}"),
            ("kept", "extra_walks:kept, extra-walks 2.1"),
            ("digits", f"optprune.problems:digits, {own}"),
            ("chain", "extra_walks:problem, extra-walks 2.1"),
        ):
            assert re.search(rf"^  {name} +{re.escape(place)}$", said, re.MULTILINE), name
        assert "not used: optprune has something of that name itself" in said
        assert "cannot be imported: ModuleNotFoundError" in said
