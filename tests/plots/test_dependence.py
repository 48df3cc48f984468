from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

import optprune.plots as plots
from optprune.errors import ArgumentError


def table(count: int) -> pd.DataFrame:
    places = np.arange(count)
    names = [f"layer{index}.conv" for index in places]
    values = np.exp(-np.abs(places[:, None] - places) / 4)
    return pd.DataFrame(values, index=names, columns=names)


def names(labels) -> list[str]:
    return [label.get_text() for label in labels]


def test_the_cells_are_the_values_on_a_fixed_scale():
    shown = table(5)
    image = plots.dependence(shown).images[0]
    np.testing.assert_array_equal(image.get_array(), shown)
    assert image.get_clim() == (0, 1)


def test_few_numbers_are_written_and_both_sides_named():
    ax = plots.dependence(table(3))
    assert names(ax.texts)[:3] == ["1.00", "0.78", "0.61"]
    assert names(ax.get_xticklabels()) == names(ax.get_yticklabels()) == list(table(3))


def test_numbers_are_legible_on_dark_cells():
    ax = plots.dependence(table(3))
    assert to_rgba(ax.texts[0].get_color()) == to_rgba("white")
    assert to_rgba(ax.texts[2].get_color()) == to_rgba("black")


def test_negative_values_are_drawn_as_zero():
    shown = table(2)
    shown.iloc[0, 1] = shown.iloc[1, 0] = -0.03
    assert names(plots.dependence(shown).texts)[1] == "0.00"


@pytest.mark.parametrize(("count", "step"), [(40, 1), (53, 2), (100, 3)])
def test_of_many_rows_some_are_named(count, step):
    ax = plots.dependence(table(count))
    assert not ax.texts
    assert names(ax.get_yticklabels()) == list(table(count))[::step]


@pytest.mark.parametrize("count", [1, 2, 9, 53])
def test_all_names_are_inside_the_picture_and_none_overlap(count):
    ax = plots.dependence(table(count))
    ax.figure.canvas.draw()
    whole = ax.figure.bbox
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert all(whole.x0 <= b.x0 and whole.y0 <= b.y0 for b in boxes)
        assert all(b.x1 <= whole.x1 and b.y1 <= whole.y1 for b in boxes)
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))


def test_it_draws_on_given_axes_with_a_given_title():
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    assert plots.dependence(table(3), title="mine", ax=ax) is ax
    assert ax.get_title(loc="left") == "mine"


def test_bad_tables_are_named():
    with pytest.raises(ArgumentError, match="0 rows"):
        plots.dependence(pd.DataFrame())
    with pytest.raises(ArgumentError, match="2 rows and 3 columns"):
        plots.dependence(table(3).iloc[:2])
    with pytest.raises(ArgumentError, match="same names"):
        plots.dependence(table(3).iloc[::-1])
    with pytest.raises(ArgumentError, match="finite"):
        plots.dependence(table(3) * np.nan)
    with pytest.raises(ArgumentError, match="hold numbers"):
        plots.dependence(table(3).astype(str) + "x")
