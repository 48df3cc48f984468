from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import optprune.plots as plots
from optprune.errors import ArgumentError


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"macs": [0.6, 0.2, 0.4], "error": [0.01, 0.3, 0.1]})


def stairs(ax):
    return ax.lines[0].get_xydata()


def test_every_point_of_the_front_is_drawn(frame):
    ax = plots.front(frame, "macs", "error")
    drawn = ax.collections[0].get_offsets()
    assert sorted(map(tuple, drawn)) == sorted(map(tuple, frame.to_numpy()))


def test_staircase_borders_what_the_front_dominates(frame):
    corners = stairs(plots.front(frame, "macs", "error"))
    expected = [(0.2, 0.3), (0.4, 0.3), (0.4, 0.1), (0.6, 0.1), (0.6, 0.01)]
    np.testing.assert_allclose(corners, expected)


def test_staircase_turns_with_the_directions(frame):
    frame["accuracy"] = 1 - frame["error"]
    corners = stairs(plots.front(frame, "macs", "accuracy", directions=("minimize", "maximize")))
    expected = [(0.2, 0.7), (0.4, 0.7), (0.4, 0.9), (0.6, 0.9), (0.6, 0.99)]
    np.testing.assert_allclose(corners, expected)


def test_a_dominated_point_does_not_bend_the_staircase(frame):
    worse = pd.concat([frame, pd.DataFrame({"macs": [0.5], "error": [0.2]})])
    np.testing.assert_allclose(
        stairs(plots.front(worse, "macs", "error")), stairs(plots.front(frame, "macs", "error"))
    )


def test_unmeasured_points_are_left_out(frame):
    evaluated = pd.DataFrame({"macs": [0.5, 0.7], "error": [0.2, np.nan]})
    ax = plots.front(frame, "macs", "error", evaluated=evaluated)
    assert "evaluated (1)" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_dense_and_chosen_are_marked_and_labels_used(frame):
    ax = plots.front(
        frame,
        "macs",
        "error",
        dense=(1.0, 0.02),
        chosen=(0.4, 0.1),
        labels={"macs": "MACs (fraction of dense)"},
    )
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["front (3)", "dense", "chosen"]
    assert ax.get_xlabel() == "MACs (fraction of dense)"
    assert ax.get_ylabel() == "error"


def test_an_empty_front_is_an_empty_picture(frame):
    ax = plots.front(frame.iloc[:0], "macs", "error")
    assert len(stairs(ax)) == 0
    assert ax.get_title("left") == "Front of 0 networks"


def test_no_picture_stays_in_pyplot(frame):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    ax = plots.front(frame, "macs", "error")
    assert plt.get_fignums() == before
    assert ax.figure._repr_png_().startswith(b"\x89PNG")


def test_draws_on_the_axes_given(frame):
    ax = plots.front(frame, "macs", "error")
    assert plots.front(frame, "macs", "error", ax=ax) is ax
    assert len(ax.lines) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": "mac"}, "no column 'mac'.*'macs', 'error'"),
        ({"directions": ("minimize", "up")}, "directions"),
        ({"dense": (1.0,)}, "`dense` must be a pair"),
    ],
)
def test_bad_input_is_named(frame, changes, words):
    arguments = {"x": "macs", "y": "error", **changes}
    with pytest.raises(ArgumentError, match=words):
        plots.front(frame, **arguments)
