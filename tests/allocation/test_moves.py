"""Local search: changes are priced exactly, and no budget is ever broken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optprune.allocation import moves as moves_module
from optprune.allocation.moves import Moves

from .cases import SMALL, both, fractions, losses_of, options_of, parameters


@pytest.mark.parametrize("name", SMALL)
def test_changes_are_priced_exactly(name: str) -> None:
    cost = SMALL[name]
    costs = {"macs": cost, "weights": parameters(cost.dense_widths.tolist())}
    options = options_of(cost)
    moves = Moves(costs, fractions(costs, 0.5, 0.9), options, [np.sqrt(w) for w in options])
    moves.exchange(bound=np.inf)
    widths = widths_of(moves, options)
    assert moves.fits
    for number, each in enumerate(costs.values()):
        assert moves._spent[number] == pytest.approx(each(widths)[0], rel=1e-12)
        for flat, change in enumerate(moves._change[number]):
            other = widths.copy()
            other[moves._group[flat]] = moves._width[flat]
            assert change == pytest.approx(each(other)[0] - each(widths)[0], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_exchanges_break_no_budget_and_lose_nothing(seed: int) -> None:
    costs = both((8, 6, 7, 5, 9))
    budgets = fractions(costs, 0.4, 0.5)
    options = options_of(costs["macs"])
    values = [-table for table in losses_of(options, seed)]
    moves = Moves(costs, budgets, options, values)
    moves.fill()
    filled = moves.value
    moves.exchange(bound=sum(table.max() for table in values))
    assert moves.value >= filled
    for name, budget in budgets.items():
        assert costs[name](widths_of(moves, options))[0] <= budget


def test_what_is_over_is_narrowed_until_it_fits() -> None:
    cost = SMALL["residual"]
    options = options_of(cost)
    moves = Moves({"m": cost}, {"m": 0.3 * cost.dense}, options, [np.log(w) for w in options])
    moves.start(np.array([len(widths) - 1 for widths in options]))
    assert not moves.fits
    moves.shrink()
    assert moves.fits
    assert cost(widths_of(moves, options))[0] <= 0.3 * cost.dense


def test_exchanges_end_at_the_goal_and_with_the_work(monkeypatch: Any) -> None:
    cost = SMALL["chain"]
    options = options_of(cost)
    values = [-table for table in losses_of(options, 1)]
    tried: list[int] = []
    take = Moves._exchanged

    def counted(self: Moves, *args: Any) -> bool:
        tried.append(1)
        return take(self, *args)

    monkeypatch.setattr(Moves, "_exchanged", counted)
    moves = Moves({"m": cost}, {"m": 0.3 * cost.dense}, options, values)
    moves.fill()
    moves.exchange(bound=moves.value + 1.0, enough=1.0)
    assert not tried
    monkeypatch.setattr(moves_module, "_MOST_WORK", 0)
    moves.exchange(bound=np.inf)
    assert not tried


def widths_of(moves: Moves, options: Any) -> Any:
    return np.array([w[at] for w, at in zip(options, moves.chosen, strict=True)], dtype=float)
