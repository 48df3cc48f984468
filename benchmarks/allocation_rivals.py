"""Other ways to solve for widths under a budget: SciPy's SLSQP, projection, one share for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from allocation_instances import HALF, Floats, excess, instance
from rows import Row
from scipy.optimize import brentq, minimize

from optprune.allocation import Program
from optprune.allocation.geometric import pulled_back
from optprune.surgery import CostPolynomial

STARTS, ITERATIONS = 20, 200
"""Of SLSQP: how often it starts, and its iterations at most."""
FEASIBLE, NEAR = 1e-6, 1e-6
"""Relative excess over a budget, and relative distance from the best utility."""


def slsqp(
    objective: Callable[[Floats], float],
    slope: Callable[[Floats], Floats],
    room: Callable[[Floats], float],
    room_slope: Callable[[Floats], Floats],
    bounds: Sequence[tuple[float, float]],
    start: Floats,
) -> tuple[Floats, bool]:
    """Minimize where there is room, by SciPy's SLSQP; return the point and whether it converged."""
    room_in: Any = {"type": "ineq", "fun": room, "jac": room_slope}
    found = minimize(
        objective,
        start,
        jac=slope,
        bounds=bounds,
        constraints=room_in,
        method="SLSQP",
        # An accuracy of 1e-6, its default, is not enough for groups of little importance.
        options={"maxiter": ITERATIONS, "ftol": 1e-10},
    )
    return found.x, bool(found.success)


def exact(macs: CostPolynomial, budget: float, widths: Floats) -> Floats:
    """Pull back what is over by rounding, as Program's own points are."""
    least = np.ones(len(widths))
    widths = np.clip(widths, least, macs.dense_widths)
    return pulled_back({"macs": macs}, {"macs": budget}, least, widths)[0]


def weighted(
    macs: CostPolynomial, weights: Floats, budget: float, start: Floats
) -> tuple[Floats, bool]:
    """Maximize the weighted sum of log x by SLSQP; return the widths and whether it converged."""
    dense = macs.dense_widths.astype(np.float64)
    logs, converged = slsqp(
        lambda y: float(-weights @ y),
        lambda _: -weights,
        lambda y: float(np.log(budget / macs(dense * np.exp(y))[0])),
        lambda y: -macs.shares(dense * np.exp(y)),
        [(low, 0.0) for low in -np.log(dense)],
        np.maximum(start, -np.log(dense)),
    )
    return dense * np.exp(logs), converged


def rivalled(name: str) -> Row:
    """Let SLSQP solve the same program from several starts, in the same variables."""
    macs, importance = instance(name)
    weights = importance / importance.mean()
    dense, budget = macs.dense_widths, HALF * macs.dense
    own = Program({"macs": macs}, importance).solve({"macs": budget}).utility / importance.mean()
    generator = np.random.default_rng(0)
    starts = [np.zeros(len(dense))]
    starts += [np.log(0.05) * generator.random(len(dense)) for _ in range(STARTS - 1)]
    utilities, converged, seconds, over = [], [], [], []
    for start in starts:
        started = time.process_time()
        widths, success = weighted(macs, weights, budget, start)
        seconds.append(time.process_time() - started)
        converged.append(success)
        over.append(excess(macs, widths, budget))
        if np.isfinite(over[-1]) and over[-1] <= FEASIBLE:
            utilities.append(float(weights @ np.log(exact(macs, budget, widths) / dense)))
    best = max(utilities, default=-np.inf)
    plain, _ = weighted(macs, weights, budget, starts[0])
    scaled, _ = weighted(macs, 1e-8 * weights, budget, starts[0])
    return {
        "starts": STARTS,
        "converged": sum(converged),
        "feasible": len(utilities),
        "near": sum(each >= best - NEAR * abs(best) for each in utilities),
        "own": own,
        "best": best,
        "worst": min(utilities, default=-np.inf),
        "seconds": seconds,
        "scaled": float(np.abs(scaled - plain).max()),
    }


def projected(macs: CostPolynomial, budget: float) -> Floats:
    """Return the widths within a budget that are nearest to the dense ones, as ratios, by SLSQP."""
    dense = macs.dense_widths.astype(np.float64)

    def room_slope(x: Floats) -> Floats:
        return -macs.shares(dense * x) * float(macs(dense * x)[0]) / x / budget

    ratios, converged = slsqp(
        lambda x: float(((1 - x) ** 2).sum()),
        lambda x: 2 * (x - 1),
        lambda x: 1 - float(macs(dense * x)[0]) / budget,
        room_slope,
        [(1 / width, 1.0) for width in dense],
        np.ones(len(dense)),
    )
    if not converged:
        raise SystemExit("SLSQP did not find the projection")
    return exact(macs, budget, dense * ratios)


def uniform(macs: CostPolynomial, budget: float) -> Floats:
    """Return widths that are all the same share of the dense ones."""
    ratio = brentq(lambda r: float(macs(r * macs.dense_widths)[0]) - budget, 1e-3, 1.0)
    return np.asarray(ratio * macs.dense_widths, dtype=np.float64)
