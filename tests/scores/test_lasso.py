"""The LASSO path satisfies its conditions, and ranks units by when they enter."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, ScoreWarning
from optprune.scores import L1, ScoreContext
from optprune.scores.lasso import Lasso, lasso_path, lasso_support
from optprune.surgery import trace
from optprune.testing import check_score
from tests.scores.test_compensation import chain, scored, task

ALL = Lasso(positions=None)


def columns(n: int = 8, rows: int = 300, seed: int = 0) -> npt.NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((n, n)) * (0.2 + np.arange(n) / n)
    return generator.standard_normal((rows, n)) @ mixing / np.sqrt(rows)


@pytest.mark.parametrize("seed", range(5))
def test_the_path_satisfies_the_kkt_conditions(seed: int) -> None:
    z = columns(seed=seed)
    y = z.sum(1)
    penalties, coefficients = lasso_path(z.T @ z, z.T @ y)
    # also between the knots, where it is linear
    middle = (penalties[1:] + penalties[:-1]) / 2
    between = (coefficients[1:] + coefficients[:-1]) / 2
    for penalty, beta in zip([*penalties, *middle], [*coefficients, *between], strict=True):
        slope = z.T @ (y - z @ beta)
        assert np.abs(slope).max() <= penalty + 1e-9
        active = beta != 0
        np.testing.assert_allclose(slope[active], penalty * np.sign(beta[active]), atol=1e-9)


def test_from_the_largest_correlation_on_nothing_is_kept() -> None:
    z = columns()
    y = z.sum(1)
    penalties, coefficients = lasso_path(z.T @ z, z.T @ y)
    assert penalties[0] == pytest.approx(np.abs(z.T @ y).max())
    assert not coefficients[0].any()
    # without a penalty the target is met
    np.testing.assert_allclose(z @ coefficients[-1], y, atol=1e-9)


def collinear(seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return columns that a common factor ties, and a target with coefficients of both signs."""
    generator = np.random.default_rng(seed)
    common = generator.standard_normal((300, 1)) * generator.choice([1, 0.5, -1], 12)
    z = generator.standard_normal((300, 12)) + 10 * common
    return z, z @ generator.standard_normal(12)


def test_a_support_has_the_size_that_is_asked_for_also_where_columns_leave_again() -> None:
    falls = 0
    for seed in range(10):
        z, y = collinear(seed)
        gram, cross = z.T @ z, z.T @ y
        _, path = lasso_path(gram, cross)
        sizes = ((path[1:] != 0) | (path[:-1] != 0)).sum(1)
        falls += bool((np.diff(sizes) < 0).any())
        for count in range(1, 13):
            assert lasso_support(gram, cross, count).sum() == count
    assert falls


def test_of_duplicates_one_is_kept() -> None:
    z = columns(5)
    z = np.hstack([z, z[:, :1]])
    support = lasso_support(z.T @ z, z.T @ z.sum(1), 5)
    assert support[[0, 5]].sum() == 1
    assert support[1:5].all()


@pytest.mark.parametrize("count", [0, 9])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    z = columns()
    with pytest.raises(ArgumentError, match="between 1 and 8"):
        lasso_support(z.T @ z, z.T @ z.sum(1), count)


@pytest.mark.filterwarnings("error")
def test_it_keeps_the_rules_of_a_score() -> None:
    check_score(Lasso())
    check_score(ALL)


def test_the_first_to_enter_is_the_column_most_correlated_with_the_answer() -> None:
    the_task = task(chain())
    graph, importance, meter = scored(the_task, ALL)
    shares = importance[graph.group("0").slice]
    network, calibration = the_task.network, the_task.calibration
    assert calibration is not None
    with torch.no_grad():
        hidden = network[1](network[0](calibration.inputs))  # type: ignore[index]
        layer = network[2]  # type: ignore[index]
        parts = torch.stack(
            [
                nn.functional.conv2d(hidden[:, [u]], layer.weight[:, [u]]).movedim(1, -1)
                for u in range(6)
            ]
        ).reshape(6, -1, 4)
        parts = parts - parts.mean(1, keepdim=True)
        norms = layer.weight.square().sum((0, 2, 3)).sqrt()
        answer = parts.sum(0)
        correlations = ((parts * answer).sum((1, 2)) / norms).numpy()
    assert shares.max() == 1
    assert shares.argmax() == np.abs(correlations).argmax()
    assert meter.forward_samples == 80


def test_a_unit_that_says_nothing_never_enters() -> None:
    network = chain(8)
    first, second = network[0], network[2]
    with torch.no_grad():
        first.weight[6] = 0  # type: ignore[index,operator]
        second.weight[:, 3] = 0  # type: ignore[index,operator]
    graph, importance, _ = scored(task(network), ALL)
    shares = importance[graph.group("0").slice]
    assert shares[6] == 0
    assert shares[3] == 0
    assert (np.delete(shares, [3, 6]) > 0).all()


def test_groups_without_a_consumer_are_told_and_scored_otherwise() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(36, 6)
            self.matrix = nn.Parameter(torch.randn(6, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.first(x.flatten(1))) @ self.matrix

    torch.manual_seed(0)
    the_task = task(Bare())
    with pytest.warns(ScoreWarning, match=r"no consumer of the groups 'first'; .* L1"):
        graph, importance, _ = scored(the_task, ALL)
    expected = L1()(the_task.network, graph, ScoreContext(the_task))
    np.testing.assert_array_equal(importance, expected)


def test_it_says_what_it_lacks() -> None:
    the_task = task(chain())
    graph = trace(the_task.network, the_task.example)
    with pytest.raises(ArgumentError, match=r"ScoreContext\(task="):
        ALL(the_task.network, graph, ScoreContext())
