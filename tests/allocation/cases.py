"""Costs of small networks, written down, and what brute force finds on them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from optprune.surgery import CostPolynomial

Floats = npt.NDArray[np.float64]


def one_hot(n: int, *groups: int) -> Floats:
    slopes = np.zeros(n)
    slopes[list(groups)] = 1
    return slopes


def polynomial(dense: Sequence[int], terms: Any, unit: str = "MACs") -> CostPolynomial:
    """Return a cost of terms: a coefficient and factors, each a tuple (constant, groups)."""
    n = len(dense)
    built = [
        (value, [(float(constant), one_hot(n, *groups)) for constant, groups in factors])
        for value, factors in terms
    ]
    return CostPolynomial.from_terms(built, np.array(dense, dtype=np.int64), unit)


def chain_cost(dense: Sequence[int], seed: int = 0) -> CostPolynomial:
    """Return a chain: fixed input, every group feeds the next, fixed output."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 40, len(dense) + 1).tolist()
    terms: list[Any] = [(3 * sizes[0], [(0, [0])])]
    terms += [(sizes[g], [(0, [g - 1]), (0, [g])]) for g in range(1, len(dense))]
    terms.append((10 * sizes[-1], [(0, [len(dense) - 1])]))
    return polynomial(dense, terms)


def parameters(dense: Sequence[int]) -> CostPolynomial:
    """Return the weights of a chain, with biases."""
    last = len(dense) - 1
    terms: list[Any] = [(27, [(0, [0])]), (1, [(10, []), (1, [last])])]
    terms += [(9, [(0, [g - 1]), (0, [g])]) for g in range(1, len(dense))]
    terms += [(1, [(0, [g])]) for g in range(len(dense))]
    return polynomial(dense, terms, "parameters")


def residual(dense: Sequence[int] = (8, 12, 10)) -> CostPolynomial:
    """Return a stream (group 0) with two branches of one group each, and a tied square."""
    return polynomial(
        dense,
        [
            (9, [(0, [0])]),
            (36, [(0, [0]), (0, [1])]),
            (36, [(0, [1]), (0, [0])]),
            (20, [(0, [0]), (0, [2])]),
            (5, [(0, [0]), (0, [0])]),
            (4, [(0, [2])]),
            (100, []),
        ],
    )


def triangle(dense: Sequence[int] = (6, 7, 8)) -> CostPolynomial:
    """Return three groups of which each meets both others, and all three at once."""
    return polynomial(
        dense,
        [
            (7, [(0, [0]), (0, [1])]),
            (3, [(0, [1]), (0, [2])]),
            (5, [(0, [0]), (0, [2])]),
            (1, [(0, [0]), (0, [1]), (0, [2])]),
        ],
    )


def concatenation(n: int = 6, width: int = 8) -> CostPolynomial:
    """Return a dense block: every layer reads all groups before it."""
    terms: list[Any] = [(3, [(0, [0])])]
    terms += [(4 + g, [(2, list(range(g))), (0, [g])]) for g in range(1, n)]
    terms.append((5, [(2, list(range(n))), (0, list(range(n // 2)))]))
    return polynomial([width] * n, terms)


def everywhere(options: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Return all combinations of the options, shape (n, n_groups)."""
    return np.array(list(itertools.product(*options)), dtype=np.int64)


def least_loss(
    cost: CostPolynomial, budget: float, options: Sequence[Any], losses: Sequence[Floats]
) -> float:
    """Return the least sum of losses within a budget, by trying all."""
    rows = everywhere(options)
    sums = np.array([sum(row) for row in itertools.product(*losses)])
    return float(sums[cost(rows) <= budget].min())
