from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, Rectangle

import optprune.plots as plots
from optprune.errors import ArgumentError
from optprune.plots.picture import MUTED

COLUMNS = ["group", "width", "frozen", "module", "tensor", "dim", "per_unit", "role"]


@pytest.fixture
def table() -> pd.DataFrame:
    """Two convolutions, the first with bias and norm, and a linear layer after flattening."""
    rows = [
        ("conv1", 16, False, "conv1", "conv1.weight", 0, 1, "out"),
        ("conv1", 16, False, "conv1", "conv1.bias", 0, 1, "out"),
        ("conv1", 16, False, "norm", "norm.weight", 0, 1, "norm"),
        ("conv1", 16, False, "conv2", "conv2.weight", 1, 1, "in"),
        ("conv2", 32, False, "conv2", "conv2.weight", 0, 1, "out"),
        ("conv2", 32, False, "", "scale", 0, 1, "norm"),
        ("conv2", 32, False, "head", "head.weight", 1, 9, "in"),
        ("head", 10, True, "head", "head.weight", 0, 1, "out"),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def marks(ax) -> list[Circle | Rectangle]:
    return [patch for patch in ax.patches if patch.get_edgecolor()[3] and patch.get_zorder() == 2]


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def labels(ticks) -> list[str]:
    return [label.get_text() for label in ticks]


def many(n_layers: int, n_groups: int) -> pd.DataFrame:
    rows = [
        (f"g{i % n_groups}", 8, False, f"layer{i}", f"layer{i}.weight", 0, 1, "out")
        for i in range(max(n_layers, n_groups))
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_layers_are_rows_and_groups_are_columns_in_the_order_of_the_table(table):
    ax = plots.coupling(table)
    assert labels(ax.get_yticklabels()) == ["conv1", "norm", "conv2", "scale", "head"]
    assert labels(ax.get_xticklabels()) == ["conv1", "conv2", "head"]
    low, high = ax.get_ylim()
    assert low > high, "the first layer stands on top"


def test_widths_stand_in_the_heads_and_dimensions_in_the_marks(table):
    written = texts(plots.coupling(table))
    assert written[:3] == ["16", "32", "10"]
    assert sorted(written[3:]) == ["0", "0", "0", "0", "0", "1", "1", "×9"]


def test_a_weight_and_its_bias_are_one_mark(table):
    assert len(marks(plots.coupling(table))) == len(table) - 1


def test_roles_have_marks_of_their_own(table):
    shapes = marks(plots.coupling(table))
    filled = [m for m in shapes if m.get_facecolor() == m.get_edgecolor()]
    assert sum(isinstance(mark, Circle) for mark in shapes) == 2
    assert len(filled) == 3
    assert all(isinstance(mark, Rectangle) for mark in filled)


def test_frozen_groups_are_grey_and_the_others_are_not(table):
    ax = plots.coupling(table)
    colors = [to_hex(mark.get_edgecolor()) for mark in marks(ax)]
    assert colors.count(MUTED.lower()) == 1
    assert "frozen" in labels(ax.get_legend().get_texts())
    assert "frozen" not in labels(plots.coupling(table[:5]).get_legend().get_texts())


def test_two_dimensions_of_one_group_stand_beside_each_other(table):
    square = table[:1].copy()
    square = pd.concat([square, square.assign(dim=1, role="in")])
    first, second = (mark.get_x() for mark in marks(plots.coupling(square)))
    assert second > first


def test_the_title_counts(table):
    assert plots.coupling(table).get_title("left") == "2 groups to narrow, 1 frozen, 5 layers"
    assert plots.coupling(table[:2]).get_title("left") == "1 group to narrow, 1 layer"
    assert plots.coupling(table, title="mine").get_title("left") == "mine"


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (60, 40), (60, 2), (40, 40)])
@pytest.mark.parametrize("prefix", ["", "stages.0.block.", "WWW.mmmm."])
def test_everything_is_within_the_picture_and_nothing_overlaps(size, prefix):
    table = many(*size)
    for column in ("group", "module"):
        table[column] = prefix + table[column]
    ax = plots.coupling(table)
    ax.figure.canvas.draw()
    everything = [ax.title, ax._left_title, *ax.get_xticklabels(), *ax.get_yticklabels(), *ax.texts]
    boxes = [text.get_window_extent() for text in everything if text.get_text()]
    boxes.append(ax.get_legend().get_window_extent())
    width, height = ax.figure.bbox.width, ax.figure.bbox.height
    for box in boxes:
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1
    written = [text.get_window_extent() for text in (*ax.get_yticklabels(), *ax.texts)]
    assert not any(a.overlaps(b) for i, a in enumerate(written) for b in written[i + 1 :])


@pytest.mark.parametrize("size", [(61, 5), (41, 41)])
def test_more_than_can_be_read_is_refused_with_what_to_do(size):
    with pytest.raises(ArgumentError, match=r"cannot be read in one picture.*Draw a part"):
        plots.coupling(many(*size))


def test_bad_input_is_named(table):
    with pytest.raises(ArgumentError, match="no column 'role'"):
        plots.coupling(table.drop(columns="role"))
    with pytest.raises(ArgumentError, match="no row"):
        plots.coupling(table[:0])
    with pytest.raises(ArgumentError, match="got 'inwards'"):
        plots.coupling(table.assign(role="inwards"))


def test_axes_of_ones_own_are_drawn_on(table):
    own = plots.coupling(table).figure.add_subplot()
    assert plots.coupling(table, ax=own) is own
