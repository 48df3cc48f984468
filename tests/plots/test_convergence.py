from __future__ import annotations

import numpy as np
import pytest

import optprune.plots as plots
from optprune.errors import ArgumentError


def test_the_line_is_the_best_so_far():
    ax = plots.convergence([3.0, 4.0, 1.0, 2.0])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [3, 3, 1, 1])
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [1, 2, 3, 4])


def test_maximized_values_climb():
    ax = plots.convergence([3.0, 4.0, 1.0, 5.0], direction="maximize")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [3, 4, 4, 5])


def test_nothing_is_drawn_before_something_was_found():
    ax = plots.convergence([np.nan, np.nan, 2.0, np.nan, 1.0])
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [3, 4, 5])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [2, 2, 1])


def test_seeds_give_their_median_and_range():
    ax = plots.convergence(np.array([[3.0, 1.0], [5.0, 2.0], [9.0, 8.0]]))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [5, 2])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (1, 9)


def test_a_mapping_gives_one_line_a_name():
    ax = plots.convergence({"NSGA2": [2.0, 1.0], "Random": [[3.0, 2.0, 2.0], [2.0, 2.0, 1.0]]})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["NSGA2", "Random"]


@pytest.mark.parametrize(
    ("values", "changes", "words"),
    [
        ([], {}, "at least one value"),
        (np.zeros((2, 2, 2)), {}, r"\(2, 2, 2\)"),
        ({"Random": []}, {}, "'Random'"),
        ([1.0], {"direction": "down"}, "direction"),
        ([1.0, 2.0], {"x": [1.0]}, "one position a value"),
    ],
)
def test_bad_input_is_named(values, changes, words):
    with pytest.raises(ArgumentError, match=words):
        plots.convergence(values, **changes)
