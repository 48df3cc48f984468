"""Options that are left away are in no better choice."""

from __future__ import annotations

import numpy as np
import pytest

from optprune.allocation.certificate import certify
from optprune.allocation.choosing import _Search

from .cases import SMALL, losses_of, options_of, structures, sums_of


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SMALL)
def test_what_is_left_away_is_in_no_better_choice(name: str, seed: int) -> None:
    cost = SMALL[name]
    options = options_of(cost)
    values = [-table for table in losses_of(options, seed, 0.1)]
    budgets = {"macs": 0.35 * cost.dense}
    rows = structures(cost)
    totals = sums_of(values)[cost(rows) <= budgets["macs"]]
    rows = rows[cost(rows) <= budgets["macs"]]

    near = 0.6 * cost.dense_widths
    groups = np.repeat(np.arange(len(options)), cost.dense_widths)
    logs = np.log(np.concatenate(options) / near[groups])
    known = certify({"macs": cost}, budgets, near, groups, logs, np.concatenate(values))
    search = _Search({"macs": cost}, budgets, options, values, known.bound)
    charges = known.multipliers
    search.visit(np.zeros(len(options), dtype=np.int64), charges)
    search.leave_away(np.split(known.regrets, np.cumsum(cost.dense_widths)[:-1]))
    check(search, rows, totals)
    before = sum(map(len, search.options))
    search.eliminate(charges, 10**6)
    check(search, rows, totals)
    assert sum(map(len, search.options)) <= before < sum(map(len, options))


def check(search: _Search, rows: np.ndarray, totals: np.ndarray) -> None:
    assert search.bound >= totals.max() - 1e-9
    for better in rows[totals > search.value + 1e-9]:
        pairs = zip(better, search.options, strict=True)
        assert all(width in kept for width, kept in pairs)
