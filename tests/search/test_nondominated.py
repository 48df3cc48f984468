from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optprune.errors import ArgumentError
from optprune.search import hypervolume, nondominated
from optprune.search.nondominated import reference_point

coordinates = st.integers(0, 4).map(float) | st.just(float("nan"))


@given(st.lists(st.tuples(coordinates, coordinates, coordinates), max_size=12))
def test_what_is_kept_is_what_nothing_dominates(points: list[tuple[float, ...]]) -> None:
    values = np.array(points).reshape(len(points), 3)
    finite = np.isfinite(values).all(axis=1)

    def beaten(i: int) -> bool:
        return any(
            finite[j]
            and (values[j] <= values[i]).all()
            and ((values[j] < values[i]).any() or j < i)
            for j in range(len(values))
            if j != i
        )

    expected = {i for i in range(len(values)) if finite[i] and not beaten(i)}
    kept = nondominated(values)
    assert set(kept.tolist()) == expected
    assert (np.diff(values[kept, 0]) >= 0).all()


def test_of_equal_points_the_first_is_kept() -> None:
    assert nondominated(np.array([[1.0, 2.0], [0.5, 3.0], [1.0, 2.0]])).tolist() == [1, 0]


def test_nothing_is_kept_of_nothing() -> None:
    assert nondominated(np.empty((0, 2))).tolist() == []
    assert nondominated(np.full((3, 2), np.nan)).tolist() == []


def test_the_hypervolume_of_two_boxes_is_their_union() -> None:
    values = np.array([[0.2, 0.6], [0.6, 0.2], [np.nan, 0.0], [2.0, 0.0]])
    assert hypervolume(values, np.ones(2)) == pytest.approx(0.8 * 0.4 * 2 - 0.4 * 0.4)


def test_the_hypervolume_of_nothing_is_nothing() -> None:
    assert hypervolume(np.empty((0, 2)), np.ones(2)) == 0.0


def test_a_reference_is_filled_with_the_worst_seen() -> None:
    values = np.array([[0.2, 3.0], [0.6, np.nan]])
    assert reference_point([0.9, np.nan], values).tolist() == [0.9, 3.0]
    with pytest.raises(ArgumentError, match="2 coordinates"):
        reference_point([1.0], values)
