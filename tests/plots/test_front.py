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


def test_columns_that_are_no_objectives_have_no_staircase(frame):
    assert len(plots.front(frame, "macs", "error", stairs=False).lines) == 0


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


def test_a_bound_is_a_line_with_what_it_forbids_behind_it(frame):
    ax = plots.front(
        frame, "macs", "error", bounds=[("macs", "<=", 0.5), ("error", "<=", 0.2), ("x", ">=", 1)]
    )
    lines = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert lines[0].get_xdata() == [0.5, 0.5]
    assert lines[1].get_ydata() == [0.2, 0.2]
    assert len(lines) == 2
    forbidden = [patch.get_extents() for patch in ax.patches]
    left = ax.transData.transform((0.5, 0.2))[0]
    assert forbidden[0].x0 == pytest.approx(left)
    assert "constraints" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_bound_outside_of_the_points_is_shown(frame):
    ax = plots.front(frame, "macs", "error", bounds=[("macs", "<=", 0.9), ("error", ">=", -0.1)])
    assert ax.get_xlim()[1] > 0.9
    assert ax.get_ylim()[0] < -0.1


def test_marks_stand_beside_their_points(frame):
    ax = plots.front(frame, "macs", "error", marks=[0, 1, 2])
    assert {text.get_text(): text.xy for text in ax.texts} == {
        str(i): tuple(point) for i, point in enumerate(frame.to_numpy())
    }


def test_marks_cover_neither_each_other_nor_the_legend(frame):
    many = pd.DataFrame({"macs": np.linspace(0, 1, 60), "error": np.linspace(1, 0, 60)})
    ax = plots.front(many, "macs", "error", marks=["8·12·16·20"] * 60)
    boxes = [text.get_window_extent() for text in ax.texts]
    boxes.append(ax.get_legend().get_window_extent())
    assert 5 < len(boxes) < 60
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bounds": [("macs", "<", 1.0)]}, "a bound must be a column"),
        ({"bounds": [("macs", "<=", float("nan"))]}, "a finite number"),
        ({"marks": ["a"]}, "one text a row"),
    ],
)
def test_bounds_and_marks_that_are_none_are_errors(frame, changes, words):
    with pytest.raises(ArgumentError, match=words):
        plots.front(frame, "macs", "error", **changes)
