from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import optprune.plots as plots
from optprune.errors import ArgumentError


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "group": ["stem", "layer1.conv1", "fc"],
            "width": [16, 32, 10],
            "macs_share": [0.25, 0.75, np.nan],
            "members": [("stem.weight", "bn.weight"), ("layer1.conv1.weight",), ("fc.weight",)],
            "frozen": [False, False, True],
            "reason": ["", "", "output of the network"],
            "line": [None, None, None],
        }
    )


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_every_cell_is_written(table):
    written = texts(plots.groups(table))
    for text in ("stem", "32", "25.0%", "75.0%", "stem.weight, bn.weight", "yes", "no"):
        assert text in written


def test_columns_without_content_are_left_out(table):
    assert "line" not in texts(plots.groups(table))


def test_only_the_columns_asked_for_are_drawn(table):
    written = texts(plots.groups(table, columns=["group", "width"]))
    assert "25.0%" not in written
    assert "stem" in written


def test_long_texts_go_on_in_the_next_line(table):
    table["reason"] = "a reason that goes on and on and does not come to an end at all"
    written = texts(plots.groups(table, wrap=30))
    assert any("\n" in text for text in written)


def test_endless_texts_are_cut_off_and_say_so(table):
    table["members"] = ", ".join(f"layer{index}.weight" for index in range(100))
    written = texts(plots.groups(table, lines=2))
    cut = [text for text in written if text.startswith("layer0.weight")]
    assert all(text.count("\n") == 1 and text.endswith(", …") for text in cut)
    assert len(cut) == 3


def test_texts_do_not_overlap(table):
    ax = plots.groups(table)
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[index + 1 :])


def test_bad_input_is_named(table):
    with pytest.raises(ArgumentError, match="no column 'widht'"):
        plots.groups(table, columns=["widht"])
    with pytest.raises(ArgumentError, match="no row"):
        plots.groups(table.iloc[:0])
