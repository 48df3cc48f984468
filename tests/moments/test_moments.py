"""Moments are those of all rows together, in whatever batches and order the rows come."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from optprune.errors import ArgumentError
from optprune.moments import Moments

GROUPS, COLUMNS, OUTPUTS = 2, 5, 3


def data(
    n: int = 200, offset: float = 3.0, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n, GROUPS, COLUMNS, dtype=torch.float64, generator=generator) + offset
    targets = torch.randn(n, GROUPS, OUTPUTS, dtype=torch.float64, generator=generator)
    targets = targets + rows[:, :, :OUTPUTS] - offset
    return rows.to(dtype), targets.to(dtype)


def direct(rows: torch.Tensor, targets: torch.Tensor) -> Moments:
    rows, targets = rows.double(), targets.double()
    mean, target_mean = rows.mean(0), targets.mean(0)
    x, t = rows - mean, targets - target_mean
    return Moments(
        len(rows),
        mean,
        torch.einsum("ngi,ngj->gij", x, x),
        target_mean,
        torch.einsum("ngi,ngo->gio", x, t),
        t.square().sum(0),
    )


def close(found: Moments, expected: Moments, rtol: float = 1e-9) -> None:
    assert found.count == expected.count
    for name in ("mean", "second", "target_mean", "cross", "target_second"):
        a, b = getattr(found, name), getattr(expected, name)
        assert float((a - b).abs().max()) <= rtol * float(b.abs().max()), name


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_batches_and_their_order_do_not_matter(sizes: list[int], seed: int) -> None:
    rows, targets = data(sum(sizes) + 2)
    parts = list(
        zip(
            rows.split([*sizes, 2]),
            targets.split([*sizes, 2]),
            strict=True,
        )
    )
    order = torch.randperm(len(parts), generator=torch.Generator().manual_seed(seed)).tolist()
    found = Moments.empty(GROUPS, COLUMNS, OUTPUTS)
    for index in order:
        found.add(*parts[index])
    close(found, direct(rows, targets))


def test_moments_of_parts_merge() -> None:
    rows, targets = data()
    found = Moments.of(rows[:30], targets[:30])
    found.merge(Moments.of(rows[30:], targets[30:]))
    found.merge(Moments.empty(GROUPS, COLUMNS, OUTPUTS))
    close(found, direct(rows, targets))


def test_more_rows_than_a_block_are_added_up() -> None:
    rows, targets = data(10_000)
    close(Moments.of(rows, targets), direct(rows, targets))


def test_single_precision_products_lose_only_their_own_rounding() -> None:
    rows, targets = data(20_000, offset=100.0, dtype=torch.float32)
    # a mean of 100 deviations costs digits of a raw second moment, but not of a centered one
    close(Moments.of(rows, targets), direct(rows, targets), rtol=1e-6)
    raw = (rows[:, 0].T @ rows[:, 0]).double() - len(rows) * torch.outer(
        rows[:, 0].double().mean(0), rows[:, 0].double().mean(0)
    )
    exact = direct(rows, targets).second[0]
    assert float((raw - exact).abs().max()) > 1e-4 * float(exact.abs().max())


def test_shapes_that_do_not_fit_are_refused() -> None:
    rows, targets = data(10)
    moments = Moments.of(rows, targets)
    with pytest.raises(ArgumentError, match="rows and targets must have the shapes"):
        moments.add(rows[:, :, :2], targets)
    with pytest.raises(ArgumentError, match="rows and targets must have the shapes"):
        moments.add(rows[:5], targets)


def test_memory_depends_on_columns_only() -> None:
    assert Moments.of(*data(10)).bytes == Moments.of(*data(1000)).bytes
