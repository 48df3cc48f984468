from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import optprune.plots as plots
from optprune.errors import ArgumentError

NAMES, DENSE = ["stem", "head"], [16, 8]


def test_a_bar_of_every_network_in_every_group():
    ax = plots.structures(NAMES, [[4, 8], [8, 2], [16, 4]], DENSE)
    drawn = [[bar.get_width() for bar in container.patches] for container in ax.containers]
    assert drawn == [[0.25, 1.0], [0.5, 0.25], [1.0, 0.5]]
    assert [text.get_text() for text in ax.texts] == ["4", "8", "8", "2", "16", "4"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["stem (16)", "head (8)"]


def test_bars_of_one_group_do_not_overlap_and_stay_apart_from_the_next():
    ax = plots.structures(NAMES, np.full((6, 2), 4), DENSE)
    ends = sorted(
        (bar.get_y(), bar.get_y() + bar.get_height()) for c in ax.containers for bar in c.patches
    )
    assert all(a[1] <= b[0] + 1e-9 for a, b in pairwise(ends))


def test_the_legend_calls_networks_what_they_are_called():
    ax = plots.structures(NAMES, [[4, 8], [8, 2]], DENSE, labels=["first", "second"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["first", "second"]


@pytest.mark.parametrize(
    ("widths", "labels", "words"),
    [
        ([4, 8], None, "one entry a group"),
        ([[4, 8, 1]], None, "one entry a group"),
        (np.full((7, 2), 1), None, "from one to 6 networks"),
        ([[17, 8]], None, "network 0 keeps 17 of 16"),
        ([[4, 8]], ["a", "b"], "one text a network"),
    ],
)
def test_bad_input_is_named(widths, labels, words):
    with pytest.raises(ArgumentError, match=words):
        plots.structures(NAMES, widths, DENSE, labels=labels)
