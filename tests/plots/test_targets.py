from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import optprune.plots as plots
from optprune.errors import ArgumentError


def table(name="A", ends=3.0) -> pd.DataFrame:
    costs = np.array([1.0, 2.0, 3.0])
    running = (costs < ends).astype(float)
    return pd.DataFrame(
        {"optimizer": name, "cost": costs, "share": [0.1, 0.5, 0.5], "runs": 2, "running": running}
    )


def test_the_line_is_the_share():
    ax = plots.targets(table())
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [(1, 0.1), (2, 0.5), (3, 0.5)])
    assert ax.lines[0].get_drawstyle() == "steps-post"
    low, high = ax.get_ylim()
    assert low < 0
    assert high > 1


def test_the_end_of_the_runs_is_marked():
    ax = plots.targets(pd.concat([table(), table("B", ends=2.0)]))
    drawn = [line.get_xydata().tolist() for line in ax.lines]
    assert [[2, 0.5], [3, 0.5]] in drawn
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["A", "B", "all its runs have ended"]


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda t: t.drop(columns="share"), {}, "must have rows and the columns"),
        (lambda t: t.iloc[:0], {}, "0 rows"),
        (lambda t: t, {"optimizers": ["B"]}, "lacks 'A'"),
    ],
)
def test_bad_input_is_named(change, options, words):
    with pytest.raises(ArgumentError, match=words):
        plots.targets(change(table()), **options)
