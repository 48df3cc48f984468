from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import optprune.plots as plots
from optprune.errors import ArgumentError


def test_a_kept_and_a_dense_bar_for_every_group():
    ax = plots.structure(["stem", "head"], [3, 8], [16, 8])
    dense, kept = ([bar.get_width() for bar in container.patches] for container in ax.containers)
    assert dense == [16, 8]
    assert kept == [3, 8]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["stem", "head"]
    assert [text.get_text() for text in ax.texts] == ["3 of 16", "8 of 8"]
    assert ax.get_title("left") == "11 of 24 units kept (46%)"


def test_the_first_group_stands_on_top():
    ax = plots.structure(["stem", "head"], [3, 8], [16, 8])
    low, high = ax.get_ylim()
    assert low > high


def test_many_groups_make_a_higher_picture_without_overlaps():
    names = [f"layer{index}.conv" for index in range(60)]
    ax = plots.structure(names, np.full(60, 5), np.full(60, 10))
    ax.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))


@pytest.mark.parametrize(
    ("names", "widths", "dense", "words"),
    [
        (["a"], [1, 2], [2, 2], "one entry a group"),
        ([], [], [], "one entry a group"),
        (["a", "b"], [1, 3], [2, 2], "'b' keeps 3 of 2"),
    ],
)
def test_bad_input_is_named(names, widths, dense, words):
    with pytest.raises(ArgumentError, match=words):
        plots.structure(names, widths, dense)
