"""Every picture of a result is reached by its kind, and says what is wrong with a request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from optprune.errors import ArgumentError
from optprune.formulation import Widths, metrics
from optprune.optimizers import Random, SensitivityScan
from optprune.search import Result, solve
from optprune.search.effects import effects_table
from optprune.search.row import Row
from tests.search.cases import residual


@pytest.fixture(scope="module")
def result() -> Result:
    problem = residual(
        space=Widths(),
        objectives=[metrics.loss, metrics.macs],
        subject_to=[metrics.macs <= 0.9],
    )
    return solve(problem, Random(), evaluations=40, seed=1, progress=False)


def legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


class TestFront:
    def test_the_constraint_is_drawn(self, result: Result) -> None:
        axes = result.plot()
        assert "constraint" in legend(axes)
        assert [0.9, 0.9] in [list(line.get_xdata()) for line in axes.lines]

    def test_it_is_drawn_of_a_result_that_was_saved(self, result: Result, tmp_path: Path) -> None:
        assert "constraint" in legend(Result.load(result.save(tmp_path / "result")).plot())

    def test_a_metric_that_is_no_objective_has_no_staircase(self) -> None:
        problem = residual(
            space=Widths(),
            objectives=[metrics.loss, metrics.macs],
            subject_to=[metrics.parameters <= 1.0],
        )
        found = solve(problem, Random(), evaluations=8, seed=1, progress=False)
        assert len(found.plot(x="macs", bounds=()).lines) == 1
        assert len(found.plot(x="parameters", bounds=()).lines) == 0

    def test_points_are_marked_by_index_or_widths(self, result: Result) -> None:
        texts = {text.get_text() for text in result.plot(marks="index").texts}
        assert texts
        assert texts <= {str(i) for i in result.front_indices}
        written = {text.get_text() for text in result.plot(marks="widths").texts}
        all_widths = {"·".join(map(str, result.rows[i].widths)) for i in result.front_indices}
        assert written
        assert written <= all_widths
        with pytest.raises(ArgumentError, match="'index', 'widths'"):
            result.plot(marks="names")


class TestKinds:
    def test_structures_are_some_of_the_front_or_those_asked_for(self, result: Result) -> None:
        assert 2 <= len(legend(result.plot(kind="structure"))) <= 4
        asked = result.plot(kind="structure", indices=[3, 1])
        assert [text.split(":")[0] for text in legend(asked)] == ["3", "1"]
        alone = result.plot(kind="structure", indices=[3])
        kept = [bar.get_width() for bar in alone.containers[1].patches]
        assert kept == list(result.rows[3].widths)

    def test_parallel_has_an_axis_for_every_metric_and_group(self, result: Result) -> None:
        best = result.best.index
        axes = result.plot(kind="parallel", chosen=best)
        names = [text.get_text() for text in axes.get_xticklabels()]
        assert names == ["loss", "MACs (fraction of dense)", *result.summary.groups]
        assert len(axes.collections[0].get_segments()) == len(result.front)
        with pytest.raises(ArgumentError, match="index of a row that is drawn"):
            result.plot(kind="parallel", chosen=1000)

    def test_convergence_ends_at_the_hypervolume(self, result: Result) -> None:
        (line,) = result.plot(kind="convergence").lines
        values = np.asarray(line.get_ydata(), dtype=float)
        assert values[-1] == pytest.approx(result.hypervolume())
        assert (np.diff(values) >= 0).all()

    def test_convergence_of_an_objective_ends_at_the_best(self, result: Result) -> None:
        (line,) = result.plot(y="macs", kind="convergence").lines
        assert np.asarray(line.get_ydata())[-1] == np.nanmin(result.values[:, 1])

    def test_effects_have_a_panel_for_every_group(self, result: Result) -> None:
        panels = result.plot(kind="effects").figure.axes
        titles = [panel.get_title("left") for panel in panels if panel.get_visible()]
        assert titles == list(result.summary.groups)

    def test_sensitivity_draws_a_scan_and_refuses_what_is_none(self, result: Result) -> None:
        scan = solve(
            residual(space=Widths(), objectives=[metrics.loss]),
            SensitivityScan(),
            evaluations=20,
            progress=False,
        )
        assert len(scan.plot(kind="sensitivity").lines) == len(scan.sensitivity()["group"].unique())
        alone = result.sensitivity()
        if alone.empty:
            with pytest.raises(ArgumentError, match="SensitivityScan"):
                result.plot(kind="sensitivity")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"kind": "fronts"}, "kind must be one of front, .*'front'"),
            ({"kind": "effects", "x": "macs"}, "x is for kind='front'"),
            ({"kind": "structure", "y": "macs"}, "has no use of y"),
            ({"kind": "effects", "y": "latency"}, "'latency' was not measured"),
            ({"kind": "effects", "ax": object()}, "makes its own figure"),
            ({"kind": "structure", "indices": []}, "at least one row"),
            ({"kind": "structure", "indices": [4000]}, "there is no row 4000"),
        ],
    )
    def test_a_request_that_cannot_be_met_is_named(
        self, result: Result, arguments: dict, words: str
    ) -> None:
        with pytest.raises(ArgumentError, match=words):
            result.plot(**arguments)


def rows_of(widths: np.ndarray, values: np.ndarray) -> list[Row]:
    return [
        Row(
            index=i,
            digest=str(i),
            structure="{}",
            start="",
            widths=tuple(map(int, row)),
            metrics={"loss": float(value)},
        )
        for i, (row, value) in enumerate(zip(widths, values, strict=True))
    ]


class TestEffects:
    def test_an_additive_metric_is_taken_apart(self) -> None:
        """Widths that go together: the mean blames both groups, the adjusted mean the one."""
        rng = np.random.default_rng(0)
        first = rng.integers(1, 9, 400)
        second = np.clip(first + rng.integers(-1, 2, 400), 1, 8)
        rows = rows_of(np.column_stack([first, second]), 1.0 - first / 8)
        table = effects_table(rows, "loss", ["guilty", "innocent"], [8, 8])
        assert table.attrs["metric"] == "loss"
        innocent = table[table["group"] == "innocent"]
        assert np.ptp(innocent["mean"]) > 0.5
        np.testing.assert_allclose(innocent["adjusted"], 1 - first.mean() / 8, atol=1e-9)
        guilty = table[table["group"] == "guilty"]
        np.testing.assert_allclose(np.diff(guilty["adjusted"]), -1 / 8, atol=1e-9)

    def test_rows_are_counted_and_means_are_means(self) -> None:
        rows = rows_of(np.array([[1], [1], [2]]), np.array([0.2, 0.4, 0.1]))
        table = effects_table(rows, "loss", ["only"], [4])
        assert table["rows"].tolist() == [2, 1]
        assert table["kept"].tolist() == [0.25, 0.5]
        np.testing.assert_allclose(table["mean"], [0.3, 0.1])
        # with one group there is nothing to adjust for
        np.testing.assert_allclose(table["adjusted"], table["mean"])
        np.testing.assert_allclose(table["error"], [0.1, np.nan])

    def test_what_was_not_measured_is_left_out(self) -> None:
        rows = rows_of(np.array([[1], [2]]), np.array([np.nan, 0.1]))
        assert effects_table(rows, "loss", ["only"], [4])["width"].tolist() == [2]
        assert effects_table([], "loss", ["only"], [4]).empty
