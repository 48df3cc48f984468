"""Costs of small networks, written down, what is chosen on them, and what brute force finds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import cvxpy as cp
import numpy as np
import numpy.typing as npt

from optprune.allocation import Program
from optprune.surgery import CostPolynomial

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


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


DENSE = (16, 32, 24, 48, 8)

COSTS = {
    "chain": chain_cost(DENSE),
    "residual": residual(),
    "triangle": triangle(),
    "concatenation": concatenation(),
}
"""Costs of every kind of network."""

SMALL = {
    "chain": chain_cost((8, 6, 7, 5)),
    "residual": residual((8, 9, 7)),
    "triangle": triangle(),
    "concatenation": concatenation(4, 6),
}
"""The same, small enough to try all structures."""


def both(dense: Sequence[int] = DENSE) -> dict[str, CostPolynomial]:
    """Return two costs of a chain."""
    return {"macs": chain_cost(dense), "parameters": parameters(dense)}


def fractions(costs: Mapping[str, CostPolynomial], *shares: float) -> dict[str, float]:
    """Return budgets that are shares of the dense costs."""
    return {
        name: share * cost.dense for (name, cost), share in zip(costs.items(), shares, strict=True)
    }


def importances(n: int, seed: int = 0, spread: float = 1.0) -> Floats:
    return np.random.default_rng(seed).lognormal(sigma=spread, size=n)


def options_of(cost: CostPolynomial, step: int = 1) -> list[Ints]:
    """Return all widths in steps, the dense ones among them."""
    return [np.arange(1, width + 1)[::-step][::-1] for width in cost.dense_widths]


def losses_of(options: Sequence[Ints], seed: int, noise: float = 0.05) -> list[Floats]:
    """Return tables of losses that fall with the width, but for noise."""
    generator = np.random.default_rng(seed)
    return [
        generator.random() * 3 * (1 / widths - 1 / widths[-1])
        + noise * generator.normal(size=len(widths))
        for widths in options
    ]


def everywhere(options: Sequence[Ints]) -> Ints:
    """Return all combinations of the options, shape (n, n_groups)."""
    return np.array(list(itertools.product(*options)), dtype=np.int64)


def structures(cost: CostPolynomial) -> Ints:
    """Return all widths that there are, shape (n, n_groups)."""
    return everywhere(options_of(cost))


def sums_of(tables: Sequence[Floats]) -> Floats:
    """Return the sum of a table's entries for all combinations, shape (n,)."""
    return np.array([sum(row) for row in itertools.product(*tables)])


def least_loss(
    costs: Mapping[str, CostPolynomial],
    budgets: Mapping[str, float],
    options: Sequence[Ints],
    losses: Sequence[Floats],
) -> float:
    """Return the least sum of losses within budgets, by trying all."""
    rows = everywhere(options)
    within = [costs[name](rows) <= budget for name, budget in budgets.items()]
    return float(sums_of(losses)[np.logical_and.reduce(within)].min())


def most_utility(program: Program, budgets: Mapping[str, float], options: Sequence[Ints]) -> float:
    """Return the most utility within budgets, by trying all."""
    losses = [-values for values in program.values(list(options))]
    return -least_loss(program.costs, budgets, options, losses)


def compilations(monkeypatch: Any) -> list[int]:
    """Return a list that grows by one whenever cvxpy compiles a problem."""
    compiled: list[int] = []
    construct = cp.Problem._construct_chain

    def counted(*args: Any, **kwargs: Any) -> Any:
        compiled.append(1)
        return construct(*args, **kwargs)

    monkeypatch.setattr(cp.Problem, "_construct_chain", counted)
    return compiled
