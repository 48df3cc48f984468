from __future__ import annotations

import pytest

import optprune.plots as plots
from optprune.errors import ArgumentError

FOUR = {"B": 2.0, "A": 1.25, "D": 3.75, "C": 3.0}


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_every_optimizer_stands_at_its_rank():
    ax = plots.ranks(FOUR)
    stems = {float(line.get_xdata()[0]) for line in ax.lines if len(line.get_xdata()) == 3}
    assert stems == set(FOUR.values())
    assert [text for text in texts(ax) if "." in text] == [
        "A  1.25",
        "B  2.00",
        "3.75  D",
        "3.00  C",
    ]


def test_a_bar_joins_each_group():
    ax = plots.ranks(FOUR, groups=[("A", "B"), ("B", "C", "D")])
    bars = [line.get_xdata() for line in ax.lines if line.get_linewidth() > 3]
    for bar, (first, last) in zip(bars, [("A", "B"), ("B", "D")], strict=True):
        assert bar[0] == pytest.approx(FOUR[first], abs=0.05)
        assert bar[1] == pytest.approx(FOUR[last], abs=0.05)
    heights = [line.get_ydata()[0] for line in ax.lines if line.get_linewidth() > 3]
    assert len(set(heights)) == 2


def test_the_critical_difference_is_a_length():
    ax = plots.ranks(FOUR, critical_difference=1.5)
    assert any(list(line.get_xdata()) == [1, 2.5] for line in ax.lines)
    assert "critical difference 1.50" in texts(ax)
    ax = plots.ranks(FOUR, critical_difference=9.0)
    assert max(max(line.get_xdata()) for line in ax.lines) < 5
    assert "critical difference 9.00 (more than the axis)" in texts(ax)


def test_the_note_is_written():
    assert "2 blocks show nothing" in texts(plots.ranks(FOUR, note="2 blocks show nothing"))


@pytest.mark.parametrize("count", [2, 3, 10, 15])
def test_texts_are_inside_the_picture_and_do_not_overlap(count):
    names = {f"AlgorithmOfSomeLength{i}": 1 + i / 2 for i in range(count)}
    ax = plots.ranks(names, groups=[list(names)], critical_difference=1.0, note="a note")
    figure = ax.figure
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)


@pytest.mark.parametrize(
    ("ranks", "options", "words"),
    [
        ({"A": 1.0}, {}, "two optimizers or more; got 1"),
        ({"A": 1.0, "B": 3.0}, {}, "'B' has the rank 3.0"),
        (FOUR, {"groups": [("A", "E")]}, "'E' is in a group"),
        (FOUR, {"optimizers": ["A"]}, "lacks"),
    ],
)
def test_bad_input_is_named(ranks, options, words):
    with pytest.raises(ArgumentError, match=words):
        plots.ranks(ranks, **options)
