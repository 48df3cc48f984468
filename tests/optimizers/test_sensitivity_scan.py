"""A scan narrows each group alone, and the result shows it as curves."""

from __future__ import annotations

import numpy as np
import pytest

import optprune as op
from optprune import plots
from optprune.errors import ArgumentError
from optprune.formulation import Problem, Widths, metrics
from optprune.optimizers import SensitivityScan, UniformWidths
from optprune.testing.networks import chain_task


def scanned(levels=4, optimizer=None, **space):
    problem = Problem(chain_task((8, 12, 16)), space=Widths(**space), objectives=[metrics.macs])
    optimizer = SensitivityScan(levels) if optimizer is None else optimizer
    return op.solve(problem, optimizer, evaluations=100, progress=False)


def test_one_group_at_a_time_is_narrowed_at_every_level():
    result = scanned()
    widths = np.array([row.widths for row in result.rows])
    assert widths[0].tolist() == [8, 12, 16]
    narrowed = widths[1:] < [8, 12, 16]
    assert (narrowed.sum(axis=1) == 1).all()
    assert sorted(set(widths[:, 1].tolist())) == [3, 6, 9, 12]
    # one ratio for all groups before the next
    assert widths[1:4].tolist() == [[6, 12, 16], [8, 9, 16], [8, 12, 12]]


def test_the_table_has_a_curve_for_every_group_up_to_the_whole():
    table = scanned().sensitivity()
    assert list(table.columns) == ["group", "width", "kept", "macs"]
    assert list(dict.fromkeys(table["group"])) == ["hidden0", "hidden1", "hidden2"]
    for _, curve in table.groupby("group"):
        assert curve["kept"].tolist() == [0.25, 0.5, 0.75, 1.0]
        assert curve["macs"].is_monotonic_increasing
        assert curve["macs"].iloc[-1] == 1


def test_rows_of_any_search_count_in_which_one_group_is_narrowed():
    table = scanned(optimizer=UniformWidths()).sensitivity("macs")
    assert table["group"].tolist() == ["hidden2", "hidden2"]
    assert table["width"].tolist() == [15, 16]


def test_frozen_groups_are_not_scanned_and_equal_structures_once():
    result = scanned(levels=30, frozen=["hidden1"], step=4)
    widths = [row.widths for row in result.rows]
    assert len(set(widths)) == len(widths) == 1 + 1 + 3
    assert {row[1] for row in widths} == {12}


def test_the_picture_has_a_line_for_every_group():
    ax = plots.sensitivity(scanned().sensitivity(), y_label="MACs (fraction of dense)")
    assert len(ax.lines) == 3
    assert ax.get_ylabel() == "MACs (fraction of dense)"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["hidden0", "hidden1", "hidden2"]


def test_an_empty_table_is_refused_with_the_remedy():
    table = scanned(optimizer=UniformWidths(steps=2)).sensitivity()
    with pytest.raises(ArgumentError, match="SensitivityScan"):
        plots.sensitivity(table)


def test_levels_must_be_two_or_more():
    with pytest.raises(ArgumentError, match="levels"):
        SensitivityScan(levels=1)
