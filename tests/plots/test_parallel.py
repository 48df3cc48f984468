from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import optprune.plots as plots
from optprune.errors import ArgumentError


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"error": [0.1, 0.2, 0.4, np.nan], "macs": [0.9, 0.5, 0.1, 0.3], "stem": [8, 4, 2, 1]}
    )


COLUMNS = ["error", "macs", "stem"]


def lines(ax):
    return ax.collections[0].get_segments()


def test_a_line_for_every_network_that_was_measured(frame):
    assert len(lines(plots.parallel(frame, COLUMNS))) == 3


def test_every_axis_has_a_scale_of_its_own(frame):
    drawn = np.array(lines(plots.parallel(frame, COLUMNS)))
    np.testing.assert_allclose(drawn[:, :, 1].min(axis=0), 0.0)
    np.testing.assert_allclose(drawn[:, :, 1].max(axis=0), 1.0)
    np.testing.assert_allclose(drawn[:, :, 0], np.tile([0, 1, 2], (3, 1)))


def test_a_given_range_is_what_the_ends_stand_for(frame):
    ax = plots.parallel(frame, COLUMNS, ranges={"stem": (0, 16)})
    heights = sorted(line[2][1] for line in lines(ax))
    np.testing.assert_allclose(heights, [2 / 16, 4 / 16, 8 / 16])
    assert {"0", "16"} <= {text.get_text() for text in ax.texts}


def test_a_column_that_does_not_vary_is_drawn_in_the_middle(frame):
    drawn = lines(plots.parallel(frame.assign(stem=3), COLUMNS))
    assert {line[2][1] for line in drawn} == {0.5}


def test_the_chosen_network_is_drawn_on_top(frame):
    ax = plots.parallel(frame, COLUMNS, chosen=2)
    (line,) = [line for line in ax.lines if line.get_label() == "chosen"]
    np.testing.assert_allclose(line.get_ydata(), [1.0, 0.0, 0.0])


def test_labels_have_units_and_colors_a_bar(frame):
    ax = plots.parallel(frame, COLUMNS, labels={"macs": "MACs (fraction of dense)"})
    assert "MACs (fraction of dense)" in [text.get_text() for text in ax.get_xticklabels()]
    assert [other.get_ylabel() for other in ax.figure.axes if other is not ax] == ["error"]


def test_without_a_network_the_picture_is_empty(frame):
    assert lines(plots.parallel(frame.iloc[3:], COLUMNS)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"columns": ["error"]}, "two or more columns"),
        ({"columns": ["error", "error"]}, "each once"),
        ({"columns": ["error", "mac"]}, "no column 'mac'"),
        ({"color_by": "mac"}, "no column 'mac'"),
        ({"chosen": 3}, "`chosen` must be the position"),
        ({"ranges": {"stem": (2, 1)}}, "the range of 'stem'"),
        ({"directions": {"error": "down"}}, "the direction of 'error'"),
    ],
)
def test_bad_input_is_named(frame, changes, words):
    with pytest.raises(ArgumentError, match=words):
        plots.parallel(frame, **{"columns": COLUMNS, **changes})
