from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import optprune.plots as plots
from optprune.errors import ArgumentError


def table(name="A", runs=3, **surfaces) -> pd.DataFrame:
    given = surfaces or {
        "best": [(1.0, 2.0), (2.0, 1.0)],
        "median": [(2.0, 3.0), (3.0, 2.0)],
        "worst": [(4.0, 4.0)],
    }
    rows = [(name, surface, runs, *p) for surface, points in given.items() for p in points]
    return pd.DataFrame(rows, columns=["optimizer", "surface", "runs", "error", "macs"])


def median(ax, name="A"):
    return next(line for line in ax.lines if line.get_label() == name).get_xydata()


def test_the_median_is_a_staircase_from_frame_to_frame():
    ax = plots.attainment(table(), "macs", "error")
    (_, right), (_, top) = ax.get_xlim(), ax.get_ylim()
    expected = [(2, top), (2, 3), (3, 3), (3, 2), (right, 2)]
    np.testing.assert_allclose(median(ax), expected)


def test_the_staircase_turns_with_the_directions():
    frame = table()
    frame["accuracy"] = 10 - frame["error"]
    ax = plots.attainment(frame, "macs", "accuracy", directions=("minimize", "maximize"))
    right, bottom = ax.get_xlim()[1], ax.get_ylim()[0]
    expected = [(2, bottom), (2, 7), (3, 7), (3, 8), (right, 8)]
    np.testing.assert_allclose(median(ax), expected)


def test_the_band_lies_between_the_best_and_the_worst():
    ax = plots.attainment(table(), "macs", "error")
    band = ax.patches[0].get_xy()
    assert (1.0, 2.0) in map(tuple, band)
    assert (4.0, 4.0) in map(tuple, band)


def test_without_a_worst_surface_the_band_goes_on_to_the_frame():
    ax = plots.attainment(table(best=[(1.0, 1.0)], median=[(2.0, 2.0)]), "macs", "error")
    corner = (ax.get_xlim()[1], ax.get_ylim()[1])
    assert any(np.allclose(corner, point) for point in ax.patches[0].get_xy())


def test_one_run_is_its_front():
    front = [(1.0, 2.0), (2.0, 1.0)]
    ax = plots.attainment(table(runs=1, best=front, median=front, worst=front), "macs", "error")
    assert not ax.patches
    assert ax.get_title("left") == "Front of one run each"


def test_no_surface_is_an_empty_picture():
    ax = plots.attainment(table().iloc[:0], "macs", "error", labels={"macs": "MACs (share)"})
    assert not ax.lines
    assert ax.get_xlabel() == "MACs (share)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"x": "mac"}, "no column 'mac'"),
        ({"directions": ("minimize", "up")}, "directions"),
        ({"optimizers": ["B"]}, "lacks 'A'"),
    ],
)
def test_bad_input_is_named(options, words):
    with pytest.raises(ArgumentError, match=words):
        plots.attainment(**{"table": table(), "x": "macs", "y": "error", **options})
