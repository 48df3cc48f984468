from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import optprune.plots as plots
from optprune.errors import ArgumentError

X = np.linspace(-1, 1, 9)
Y = np.sin(np.pi * X)


def members(count: int = 5, spread: float = 0.1) -> np.ndarray:
    return Y + spread * np.random.default_rng(0).standard_normal((count, 1))


def line(ax, label: str):
    return next(found for found in ax.lines if found.get_label() == label)


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def segments(ax) -> np.ndarray:
    return np.stack(ax.collections[0].get_segments())


def test_data_true_function_mean_and_every_member_are_drawn():
    ax = plots.ensemble(X, Y, members(), true=Y)
    np.testing.assert_array_equal(line(ax, "data (9)").get_xydata(), np.c_[X, Y])
    np.testing.assert_array_equal(line(ax, "true function").get_xydata(), np.c_[X, Y])
    np.testing.assert_allclose(line(ax, "mean").get_ydata(), members().mean(axis=0))
    np.testing.assert_array_equal(segments(ax)[:, :, 1], members())
    assert legend(ax) == [
        "data (9)",
        "true function",
        "members (5)",
        "mean",
        "mean ± 2 standard deviations",
    ]


def test_the_band_is_two_standard_deviations_on_either_side():
    ax = plots.ensemble(X, Y, members())
    band = ax.collections[1].get_paths()[0].vertices
    width = 2 * members().std(axis=0, ddof=1)
    for x, mean, half in zip(X, members().mean(axis=0), width, strict=True):
        edges = np.unique(band[band[:, 0] == x, 1].round(12))
        np.testing.assert_allclose(edges[[0, -1]], [mean - half, mean + half], atol=1e-11)


def test_predictions_may_stand_between_the_data_in_any_order():
    between = np.array([0.5, -0.5, 0.0])
    ax = plots.ensemble(X, Y, [[5.0, -5.0, 0.0]], true=2 * between, inputs_between=between)
    np.testing.assert_array_equal(line(ax, "member").get_xydata(), [(-0.5, -5), (0, 0), (0.5, 5)])
    np.testing.assert_array_equal(
        line(ax, "true function").get_xydata(), [(-0.5, -1), (0, 0), (0.5, 1)]
    )


def test_columns_and_tensors_are_drawn_as_vectors_and_arrays():
    column = torch.tensor(X[:, None])
    answers = torch.tensor(members()[:, :, None])
    ax = plots.ensemble(column, torch.tensor(Y[:, None]), answers, true=Y[:, None])
    np.testing.assert_array_equal(segments(ax)[:, :, 1], members())


def test_a_member_that_diverged_is_left_out_and_counted():
    answers = members()
    answers[2, 3], answers[4, 0] = np.nan, np.inf
    ax = plots.ensemble(X, Y, answers)
    assert len(segments(ax)) == 3
    np.testing.assert_allclose(line(ax, "mean").get_ydata(), answers[[0, 1, 3]].mean(axis=0))
    assert "members (3 of 5)" in legend(ax)


def test_a_single_member_has_no_band():
    ax = plots.ensemble(X, Y, members(1))
    assert not ax.collections
    assert legend(ax) == ["data (9)", "member"]


def test_of_many_members_some_are_drawn_and_all_counted():
    ax = plots.ensemble(X, Y, members(1000))
    assert len(segments(ax)) == 200
    np.testing.assert_array_equal(segments(ax)[[0, -1], :, 1], members(1000)[[0, -1]])
    assert "members (1000)" in legend(ax)
    np.testing.assert_allclose(line(ax, "mean").get_ydata(), members(1000).mean(axis=0))


def test_a_wide_ensemble_does_not_flatten_the_data():
    near = plots.ensemble(X, Y, members(spread=0.1)).get_ylim()
    far = plots.ensemble(X, Y, members(spread=1e3)).get_ylim()
    assert near[0] < -1
    assert near[1] > 1
    assert far[1] - far[0] < 2.5 * (Y.max() - Y.min())


def test_a_narrow_picture_holds_the_whole_band():
    ax = plots.ensemble(X, Y, members(spread=0.2))
    band = ax.collections[1].get_paths()[0].vertices[:, 1]
    low, high = ax.get_ylim()
    assert low < band.min()
    assert high > band.max()


def test_it_draws_on_given_axes_with_given_texts():
    ax = Figure().add_subplot()
    found = plots.ensemble(X, Y, members(), title="mine", x_label="t / s", y_label="u / V", ax=ax)
    assert found is ax
    assert (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel()) == (
        "mine",
        "t / s",
        "u / V",
    )


class TestPanels:
    def test_there_is_one_an_iteration_on_common_scales(self):
        given = [members(5, spread) for spread in (0.5, 0.2, 0.1, 0.05, 0.01)]
        axes = plots.ensembles(X, Y, given, true=Y)
        titles = [ax.get_title(loc="left") for ax in axes]
        assert titles == [f"iteration {index}" for index in range(5)]
        assert len({ax.get_ylim() for ax in axes}) == len({ax.get_xlim() for ax in axes}) == 1
        for ax, answers in zip(axes, given, strict=True):
            np.testing.assert_array_equal(segments(ax)[:, :, 1], answers)
        assert {ax.figure for ax in axes} == {axes[0].figure}

    @pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 12])
    def test_all_texts_are_inside_the_picture(self, count: int):
        axes = plots.ensembles(X, Y, np.stack([members()] * count), true=Y)
        figure = axes[0].figure
        figure.canvas.draw()
        whole, shown = figure.bbox, figure.get_tightbbox().padded(-1 / 72)
        dpi = figure.dpi
        assert whole.x0 <= shown.x0 * dpi
        assert whole.y0 <= shown.y0 * dpi
        assert shown.x1 * dpi <= whole.x1
        assert shown.y1 * dpi <= whole.y1

    def test_one_legend_counts_the_members_of_all(self):
        lost = members()
        lost[0] = np.nan
        (found,) = plots.ensembles(X, Y, [lost, members()])[0].figure.legends
        assert "members (4 to 5 of 5)" in [text.get_text() for text in found.get_texts()]

    def test_only_the_border_of_the_picture_bears_texts(self):
        axes = plots.ensembles(X, Y, [members()] * 5)
        assert [bool(ax.get_ylabel()) for ax in axes] == [True, False, False, True, False]
        assert [bool(ax.get_xlabel()) for ax in axes] == [False, False, True, True, True]

    def test_titles_and_axes_may_be_given(self):
        given = list(Figure().subplots(1, 2))
        axes = plots.ensembles(
            X, Y, [members(), members(1)], titles=["prior", "posterior"], axes=given
        )
        assert axes == given
        assert [ax.get_title(loc="left") for ax in axes] == ["prior", "posterior"]
        assert len(legend(axes[0])) == 4
        assert axes[1].get_ylabel() == "y"

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"predictions": []}, r"1 to 12 arrays, one a panel, got 0\."),
            ({"predictions": [members()] * 30}, r"got 30; choose some.*predictions\[::3\]"),
            ({"titles": ["one"]}, "`titles` are 1 for 2 panels"),
            ({"axes": []}, "`axes` are 0 for 2 panels"),
            ({"predictions": [members(), members()[:, 1:]]}, r"`predictions\[1\]` .* not \(5, 8\)"),
        ],
        ids=["none", "many", "titles", "axes", "shape"],
    )
    def test_bad_input_is_named(self, changes, words):
        arguments = {"predictions": [members(), members()], **changes}
        with pytest.raises(ArgumentError, match=words):
            plots.ensembles(X, Y, **arguments)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"targets": Y[1:]}, "`inputs` are 9 and `targets` 8"),
        ({"inputs": np.zeros((9, 2))}, r"`inputs` must have shape .* not \(9, 2\)"),
        ({"inputs": [], "targets": []}, "at least one value"),
        ({"targets": Y * np.nan}, "`targets` must hold finite numbers"),
        ({"targets": ["a"] * 9}, "`targets` must be an array of numbers"),
        ({"predictions": Y}, r"\(n_members, 9\), .* not \(9,\)"),
        ({"predictions": members() * np.nan}, "no member with finite values only, of 5"),
        (
            {"predictions": torch.zeros(2, 9, requires_grad=True)},
            "a tensor on the CPU without gradients",
        ),
        ({"true": [1.0]}, "`true` has 1 values for 9 points"),
        ({"inputs_between": [0.0, 1.0]}, r"\(n_members, 2\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_bad_input_is_named(changes, words):
    arguments = {"inputs": X, "targets": Y, "predictions": members(), **changes}
    with pytest.raises(ArgumentError, match=words):
        plots.ensemble(**arguments)
