"""Normal equations are solved, or it is told why not."""

from __future__ import annotations

import pytest
import torch

from optprune.errors import RecoveryError, RecoveryWarning
from optprune.moments import Moments
from optprune.recovery import LeastSquares
from optprune.recovery.solving import solve
from tests.recovery.cases import cut_and_context, settled, task


def test_singular_systems_fall_back_with_a_reason() -> None:
    the_task = task()
    with torch.no_grad():
        the_task.network.inner.weight[1] = the_task.network.inner.weight[0]
        the_task.network.inner.bias[1] = the_task.network.inner.bias[0]
    the_task = task(settled(the_task.network, the_task.train.inputs))
    small, context = cut_and_context(the_task, inner=6)
    before = small.outer.weight.detach().clone()
    with pytest.warns(RecoveryWarning, match="leaves layer 'outer' as it was: .*singular"):
        LeastSquares(ridge=0.0).recover(small, context)
    assert torch.equal(small.outer.weight, before)
    # the ridge that the data choose is never zero
    LeastSquares().recover(small, context)
    assert not torch.equal(small.outer.weight, before)


def test_a_ridge_makes_up_for_what_rounding_has_made_singular() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(400, 1, 3, generator=generator, dtype=torch.float64)
    rows = torch.cat([rows, rows[:, :, :1]], 2)
    targets = rows @ torch.tensor([[1.0], [2.0], [3.0], [1.0]], dtype=torch.float64)
    moments = Moments.of(rows, targets)
    moments.second[0, 0, 0] *= 1 - 2e-5  # as sums in single precision may come out
    solution, _ = solve(moments)
    assert 1e-6 < solution.ridge <= 1e-3
    assert solution.error < 1e-3 * solution.before
    with pytest.raises(RecoveryError, match="singular"):
        solve(moments, ridge=1e-6)
