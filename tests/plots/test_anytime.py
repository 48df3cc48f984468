from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import optprune.plots as plots
from optprune.errors import ArgumentError
from optprune.plots.picture import COLORS


def table(name="A", runs=3, costs=(1.0, 2.0, 3.0), ends=3.0, **columns) -> pd.DataFrame:
    costs = np.array(costs)
    curves = {name: top / (costs + 1) for name, top in (("lower", 2), ("median", 4), ("upper", 6))}
    given = {**curves, **columns}
    return pd.DataFrame(
        {
            "optimizer": name,
            "cost": costs,
            **given,
            "runs": runs,
            "running": (costs < ends).astype(float),
        }
    )


def labelled(ax, name):
    return next(line for line in ax.lines if line.get_label() == name)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_line_is_the_median_and_the_band_the_quartiles():
    ax = plots.anytime(table())
    np.testing.assert_allclose(labelled(ax, "A").get_xydata(), [(1, 2), (2, 4 / 3), (3, 1)])
    band = ax.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose((band[:, 1].min(), band[:, 1].max()), (0.5, 3))
    assert ax.get_title("left") == "Median and quartiles of 3 runs"


def test_an_optimizer_that_ended_goes_on_as_a_thin_line_from_a_marker():
    short = table("Short", costs=(1.0, 3.0), ends=1.0, median=[5.0, 5.0], upper=[6.0, 6.0])
    ax = plots.anytime(pd.concat([table(), short]))
    np.testing.assert_allclose(labelled(ax, "Short").get_xydata(), [(1, 5)])
    (marker,) = [line for line in ax.lines if line.get_xydata().tolist() == [[1, 5]]][1:]
    assert marker.get_marker() != "None"
    (held,) = [line for line in ax.lines if line.get_xydata().tolist() == [[1, 5], [3, 5]]]
    assert held.get_linewidth() < labelled(ax, "Short").get_linewidth()
    assert legend(ax) == ["A", "Short", "all its runs have ended"]


def test_a_band_whose_worse_side_is_unknown_goes_on_to_the_frame():
    unknown = [np.nan, np.nan, 0.9]
    ax = plots.anytime(table(upper=unknown, median=[np.nan, 1.0, 0.5]))
    assert ax.collections[0].get_paths()[0].vertices[:, 1].max() == ax.get_ylim()[1]
    down = table(lower=unknown, median=[np.nan, 1.0, 1.0], upper=[1.0, 2.0, 2.0])
    ax = plots.anytime(down, direction="maximize")
    assert ax.collections[0].get_paths()[0].vertices[:, 1].min() == ax.get_ylim()[0]


def test_nothing_stands_where_even_the_better_quartile_is_unknown():
    nothing = [np.nan, 2.0, 2.0]
    ax = plots.anytime(table(lower=nothing, median=nothing, upper=nothing))
    assert ax.collections[0].get_paths()[0].vertices[:, 0].min() == 2


def test_one_run_has_no_band():
    ax = plots.anytime(table(runs=1))
    assert not ax.collections
    assert ax.get_title("left") == "One run each"


def test_many_optimizers_show_their_quartiles_at_the_end_only():
    many = pd.concat([table(name) for name in "ABCDEF"])
    assert not plots.anytime(many).collections
    assert len(plots.anytime(many, bands=True).collections) == 6


def test_no_value_at_all_is_said():
    nothing = [np.nan] * 3
    ax = plots.anytime(table(lower=nothing, median=nothing, upper=nothing))
    assert [text.get_text() for text in ax.texts] == ["no run found a value"]


def test_an_optimizer_has_its_color_whoever_else_is_drawn():
    names = ["C", "B", "A"]
    both = plots.anytime(pd.concat([table("A"), table("B")]), optimizers=names)
    alone = plots.anytime(table("A"), optimizers=names)
    assert labelled(both, "A").get_color() == labelled(alone, "A").get_color() == COLORS[2]
    assert legend(both) == ["B", "A"]


def test_more_optimizers_than_colors_differ_in_their_lines():
    names = [f"m{i:02}" for i in range(14)]
    ax = plots.anytime(pd.concat([table(name) for name in names]))
    looks = {(labelled(ax, n).get_color(), str(labelled(ax, n).get_linestyle())) for n in names}
    assert len(looks) == 14


@pytest.mark.parametrize(
    ("costs", "scale"),
    [((1.0, 20.0), "linear"), ((1.0, 300.0), "log"), ((0.0, 1.0, 300.0), "symlog")],
)
def test_costs_that_span_much_are_logarithmic_with_a_place_for_zero(costs, scale):
    flat = [1.0] * len(costs)
    frame = table(costs=costs, lower=flat, median=flat, upper=flat)
    assert plots.anytime(frame).get_xscale() == scale
    assert plots.anytime(frame, log_x=False).get_xscale() == "linear"


def test_texts_come_from_the_table_or_are_given():
    frame = table()
    frame.attrs.update(problem="digits", measure="test_error", cost="seconds")
    ax = plots.anytime(frame)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("seconds", "test error")
    assert ax.get_title("left") == "digits: median and quartiles of 3 runs"
    ax = plots.anytime(frame, x_label="x", y_label="y", title="mine", ax=ax)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title("left")) == ("x", "y", "mine")


def test_legend_and_titles_are_inside_the_picture_and_off_the_axes():
    ax = plots.anytime(pd.concat([table(f"a long name of an optimizer {i}") for i in range(9)]))
    figure = ax.figure
    figure.canvas.draw()
    box = ax.get_legend().get_window_extent()
    assert box.x1 <= figure.bbox.x1
    assert not box.overlaps(ax.get_window_extent())


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda t: t.drop(columns="median"), {}, "must have rows and the columns"),
        (lambda t: t.iloc[:0], {}, "0 rows"),
        (lambda t: t, {"direction": "down"}, "direction"),
        (lambda t: t, {"optimizers": ["B"]}, "lacks 'A'"),
    ],
)
def test_bad_input_is_named(change, options, words):
    with pytest.raises(ArgumentError, match=words):
        plots.anytime(change(table()), **options)
