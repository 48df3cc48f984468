from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import optprune.plots as plots
from optprune.errors import ArgumentError


def table(n_groups: int = 2) -> pd.DataFrame:
    rows = [
        (f"g{g}", width, n, 0.1 * width, 0.2 * width * (1 + g), 0.05 if n > 1 else np.nan)
        for g in range(n_groups)
        for width, n in ((2, 1), (4, 9))
    ]
    frame = pd.DataFrame(rows, columns=["group", "width", "rows", "mean", "adjusted", "error"])
    frame.attrs["metric"] = "loss"
    return frame


def panels(ax):
    return [panel for panel in ax.figure.axes if panel.get_visible()]


def test_a_panel_for_every_group_on_one_scale():
    drawn = panels(plots.effects(table(4)))
    assert [panel.get_title("left") for panel in drawn] == ["g0", "g1", "g2", "g3"]
    assert len({panel.get_ylim() for panel in drawn}) == 1


def test_points_are_adjusted_means_and_larger_with_more_rows_behind_them():
    points = panels(plots.effects(table()))[1].collections[-1]
    np.testing.assert_allclose(points.get_offsets(), [(2, 0.8), (4, 1.6)])
    small, large = points.get_sizes()
    assert small < large


def test_what_the_picture_is_about_is_written_on_it():
    figure = plots.effects(table()).figure
    assert "loss" in figure.get_suptitle()
    assert "correlation" in figure.get_suptitle()
    assert figure.get_supylabel() == "loss"


def test_of_many_groups_those_that_vary_most_are_drawn():
    ax = plots.effects(table(14))
    titles = [panel.get_title("left") for panel in panels(ax)]
    assert titles == [f"g{g}" for g in range(2, 14)]
    assert "12 of 14 groups" in ax.figure.get_suptitle()


@pytest.mark.parametrize("frame", [table().iloc[:0], table().drop(columns="error")])
def test_a_table_that_is_none_is_an_error(frame):
    with pytest.raises(ArgumentError, match=r"result\.effects"):
        plots.effects(frame)
