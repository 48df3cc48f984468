"""Lower convex hulls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from optprune.allocation.hulls import lower_hull


@pytest.mark.parametrize("seed", range(5))
def test_the_hull_is_the_greatest_convex_function_below(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = np.sort(generator.random(40))
    values = generator.normal(size=40) + 8 * (x - 0.4) ** 2
    kept = lower_hull(x, values)
    assert kept[0] == 0
    assert kept[-1] == 39
    assert (np.diff(np.diff(values[kept]) / np.diff(x[kept])) > 0).all()
    assert (np.interp(x, x[kept], values[kept]) <= values + 1e-12).all()
    assert set(kept) <= set(ConvexHull(np.stack([x, values], axis=1)).vertices)


def test_points_on_a_line_are_left_out() -> None:
    assert lower_hull(np.arange(4.0), np.arange(4.0)).tolist() == [0, 3]
    assert lower_hull(np.arange(4.0), np.zeros(4)).tolist() == [0, 3]


def test_of_equal_places_the_least_counts() -> None:
    assert lower_hull(np.array([0.0, 0.0, 1.0]), np.array([2.0, 1.0, 3.0])).tolist() == [1, 2]


def test_one_point_is_its_own_hull() -> None:
    assert lower_hull(np.array([3.0]), np.array([1.0])).tolist() == [0]
