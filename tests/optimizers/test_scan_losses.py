"""Losses of a sensitivity scan: what was measured, filled in between and beyond."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optprune.errors import ArgumentError, ArgumentTypeError, GraphMismatchError
from optprune.formulation import Metric, Problem, Widths, metrics
from optprune.optimizers import ScanLosses, SensitivityScan, TableAllocation, UniformWidths
from optprune.search import Result, solve
from optprune.testing.networks import chain_task
from optprune.testing.problems import Distortion

WIDTHS = (4, 8)


@dataclass(frozen=True)
class Listed:
    """The sum of what is listed for the width of each group."""

    tables: tuple[tuple[float, ...], ...]

    def population(self, graph: Any, widths: Any) -> Any:
        return sum(np.array(table)[w] for table, w in zip(self.tables, widths.T, strict=True))

    def __call__(self, candidate: Any) -> float:
        return float(self.population(candidate.graph, candidate.widths[None])[0])


def metric(function: Any, name: str = "listed", **options: Any) -> Metric:
    return Metric(name, function, needs="structure", version=1, **options)


def posed(*objectives: Metric, **changes: Any) -> Problem:
    return Problem(chain_task(WIDTHS), objectives=[*objectives, metrics.macs], **changes)


FALLING = Listed(((np.nan, 9.0, 4.0, 3.0, 1.0), (np.nan, 8, 7, 6, 5, 4, 3, 2, 1)))


def scanned(problem: Problem, levels: int = 4, evaluations: int = 100) -> Result:
    scan = SensitivityScan(levels)
    return solve(problem, scan, evaluations=evaluations, progress=False)


def test_what_was_measured_stands_in_the_table() -> None:
    problem = posed(metric(FALLING))
    first, second = ScanLosses(scanned(problem))(problem)
    # 9, 4, 3 against 1 of the whole; beyond, as steeply as from 4 to 9
    assert first.tolist() == [13.0, 8.0, 3.0, 2.0, 0.0]
    assert second.tolist() == [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]


def test_the_table_of_a_separable_metric_is_exact_when_every_width_was_measured() -> None:
    distortion = metric(Distortion((1.0, 3.0)), "distortion")
    problem = posed(distortion)
    tables = ScanLosses(scanned(problem, levels=8))(problem)
    for table, sensitivity, width in zip(tables, (0.25, 0.75), WIDTHS, strict=True):
        kept = np.arange(1, width + 1) / width
        np.testing.assert_allclose(table[1:], sensitivity * (1 - kept) ** 2, atol=1e-12)


def test_widths_in_between_are_interpolated_and_narrower_ones_extrapolated_steeply() -> None:
    # steep from 8 to 4, level from 4 to 2
    curve = (np.nan, np.nan, 5.0, np.nan, 5.0, np.nan, np.nan, np.nan, 1.0)
    problem = posed(metric(Listed(((0.0,) * 5, curve))))
    scan = scanned(problem, levels=4)
    kept = [row for row in scan.rows if row.widths[1] in (2, 4, 8)]
    _, table = ScanLosses(replace(scan, rows=tuple(kept)))(problem)
    assert table.tolist() == [6.0, 5.0, 4.0, 4.0, 4.0, 3.0, 2.0, 1.0, 0.0]


def test_no_width_looks_better_than_a_wider_one() -> None:
    bumpy = Listed(((np.nan, 2.0, 6.0, 0.5, 1.0), (0.0,) * 9))
    problem = posed(metric(bumpy))
    first, second = ScanLosses(scanned(problem))(problem)
    assert first[1:].tolist() == [5.0, 5.0, 0.0, 0.0]
    assert (np.diff(first) <= 0).all()
    assert second.tolist() == [0.0] * 9


def test_a_metric_to_maximize_loses_what_it_falls() -> None:
    mild = metric(Listed(((0.0, 1, 2, 4, 7), (0.0,) * 9)), direction="maximize")
    problem = posed(mild)
    first, _ = ScanLosses(scanned(problem))(problem)
    assert first[1:].tolist() == [6.0, 5.0, 3.0, 0.0]


def test_another_objective_can_be_named() -> None:
    problem = posed(metric(FALLING), metric(Distortion((1.0, 3.0)), "distortion"))
    scan = scanned(problem)
    assert ScanLosses(scan)(problem)[0][1] == 8.0
    assert ScanLosses(scan, metric="distortion")(problem)[0][1] == pytest.approx(0.25 * 0.75**2)


def test_without_the_whole_structure_the_dense_row_is_compared_with() -> None:
    problem = posed(metric(FALLING))
    scan = scanned(problem)
    without = replace(scan, rows=tuple(row for row in scan.rows if row.widths != WIDTHS))
    for one, other in zip(ScanLosses(scan)(problem), ScanLosses(without)(problem), strict=True):
        assert np.array_equal(one, other)
    missing = replace(without, dense=replace(scan.dense, metrics={"listed": np.nan}))
    with pytest.raises(ArgumentError, match="dense network's 'listed' is missing"):
        ScanLosses(missing)(problem)


def test_a_scan_serves_problems_with_other_constraints_and_after_it_was_saved(
    tmp_path: Path,
) -> None:
    problem = posed(metric(FALLING))
    scanned(problem).save(tmp_path)
    bounded = posed(metrics.parameters, subject_to=[metrics.parameters <= 0.8])
    tables = ScanLosses(Result.load(tmp_path))(bounded)
    assert tables[0].tolist() == [13.0, 8.0, 3.0, 2.0, 0.0]


def test_the_allocation_by_a_whole_scan_is_the_best_structure() -> None:
    distortion = metric(Distortion((1.0, 3.0)), "distortion")
    problem = posed(distortion)
    macs = problem.graph.costs.macs
    grid = np.stack(np.meshgrid(*(np.arange(1, w + 1) for w in WIDTHS)), axis=-1).reshape(-1, 2)
    values = distortion.population(problem.graph, grid)
    assert values is not None
    allocation = TableAllocation(tables=ScanLosses(scanned(problem, levels=8)))
    for target, found in allocation.allocate(problem).items():
        within = macs(grid) <= target * macs.dense
        assert found.objective == pytest.approx(values[within].min())


def test_a_frozen_group_needs_no_row_and_a_free_one_does() -> None:
    frozen = posed(metric(FALLING), space=Widths(frozen=["hidden1"]))
    scan = scanned(frozen)
    assert ScanLosses(scan)(frozen)[1].tolist() == [0.0] * 9
    with pytest.raises(ArgumentError, match="no row in which the group 'hidden1' alone"):
        ScanLosses(scan)(posed(metric(FALLING)))
    with pytest.raises(ArgumentError, match="no row in which the group 'hidden0' alone"):
        ScanLosses(scanned(frozen, evaluations=1))(frozen)


def test_a_scan_of_another_network_is_refused() -> None:
    scan = scanned(posed(metric(FALLING)))
    other = Problem(chain_task((4, 9)), objectives=[metrics.macs])
    with pytest.raises(GraphMismatchError, match="belongs to the network Sequential"):
        ScanLosses(scan)(other)


def test_what_is_no_scan_or_no_objective_is_refused() -> None:
    problem = posed(metric(FALLING), subject_to=[metrics.parameters <= 1.0])
    scan = scanned(problem)
    with pytest.raises(ArgumentError, match="scan's objectives, listed, macs; got 'listde'"):
        ScanLosses(scan, metric="listde")
    with pytest.raises(ArgumentError, match="got 'parameters'"):
        ScanLosses(scan, metric="parameters")
    with pytest.raises(ArgumentTypeError, match="`result` must be the Result"):
        ScanLosses(scan.sensitivity())  # type: ignore[arg-type]


def test_its_repr_tells_scans_apart() -> None:
    problem = posed(metric(FALLING))
    one, other = ScanLosses(scanned(problem)), ScanLosses(scanned(problem, levels=2))
    assert repr(one) != repr(other)
    assert "SensitivityScan(levels=4" in repr(one)
    assert " at 0x" not in repr(TableAllocation(tables=one))


def test_any_search_can_be_a_scan() -> None:
    problem = Problem(chain_task((8,)), objectives=[metric(Distortion((1.0,)), "distortion")])
    swept = solve(problem, UniformWidths(), evaluations=50, progress=False)
    (table,) = ScanLosses(swept)(problem)
    np.testing.assert_allclose(table[1:], (1 - np.arange(1, 9) / 8) ** 2, atol=1e-12)
