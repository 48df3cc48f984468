"""Measured latencies as a posynomial in the widths, so that a convex program can bound them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from optprune.errors import ArgumentError
from optprune.formulation.candidate import Candidate
from optprune.formulation.proposal import Proposal
from optprune.optimizers.parameters import check_at_least
from optprune.recovery import Nothing
from optprune.surgery import CostPolynomial

if TYPE_CHECKING:
    from optprune.formulation import Metric, Problem
    from optprune.meter import Meter

__all__ = ["LatencyModel", "fit_latency"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LatencyModel:
    """A posynomial that was fitted to measured latencies.

    Parameters
    ----------
    polynomial : CostPolynomial
        Milliseconds as a function of the widths; no coefficient is negative.
    widths : ndarray of int64, shape (n, n_groups)
        The structures that were measured.
    measured : ndarray of float64, shape (n,)
        Their latencies in milliseconds.
    held_out : ndarray of float64, shape (n,)
        What models predict that were fitted without the structure in question.
    """

    polynomial: CostPolynomial
    widths: npt.NDArray[np.int64]
    measured: _Floats
    held_out: _Floats

    @property
    def error(self) -> float:
        """Median relative error on structures that the fit had not seen."""
        return float(np.median(self._errors))

    @property
    def worst(self) -> float:
        """Largest relative error on structures that the fit had not seen."""
        return float(self._errors.max())

    @property
    def _errors(self) -> _Floats:
        return np.abs(self.held_out - self.measured) / self.measured


def fit_latency(
    problem: Problem,
    latency: Metric,
    *,
    structures: int = 48,
    folds: int = 4,
    seed: int = 0,
    meter: Meter | None = None,
) -> LatencyModel:
    r"""Measure some structures and fit a posynomial to their latencies.

    Parameters
    ----------
    problem : Problem
        Its network, space and device.
    latency : Metric
        ``op.metrics.latency``, or another one of milliseconds.
    structures : int
        Structures that are measured: half of them uniform, half drawn at random, and the dense one.
    folds : int
        Parts for the held-out predictions.
    seed : int
        Draws structures and parts.
    meter : Meter, optional
        Counts the passes.

    Returns
    -------
    LatencyModel

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a number cannot be used, or a measurement is not positive.

    Notes
    -----
    The basis is what the time of a pass is made of: a constant (calls), the MACs of each operation
    and the bytes of its activations, which are the terms :math:`\varphi_t` of the cost polynomials.
    With the measured times :math:`\tau_i` at the widths :math:`w_i`, non-negative least squares on
    the relative error,

    .. math:: \min_{c \ge 0} \sum_i \Bigl(\frac{\sum_t c_t \varphi_t(w_i)}{\tau_i} - 1\Bigr)^2 ,

    keeps the fit a posynomial, and most coefficients at zero. Steps that hardware makes (a width
    beyond a multiple of its block) are outside of what a posynomial can follow, and count as error.
    """
    check_at_least("fit_latency", "folds", folds, 2)
    check_at_least("fit_latency", "structures", structures, 2 * folds)
    space, graph = problem.bound_space, problem.graph
    generator = np.random.default_rng(seed)
    even = np.linspace(0.1, 1.0, structures // 2)
    points = np.concatenate([space.uniform(even), space.sample(generator, structures - len(even))])
    found = [graph.full(), *space.decode(points)]
    widths = np.array([structure.widths for structure in found], dtype=np.int64)
    measured = np.array(
        [
            latency(Candidate(problem, Proposal(structure), seed, meter, recovery=Nothing()))
            for structure in found
        ]
    )
    if not (np.isfinite(measured) & (measured > 0)).all():
        raise ArgumentError(
            f"fit_latency: the metric {latency.name!r} must give positive numbers; it gave "
            f"{measured.min():g}."
        )
    terms = _terms(graph.costs.macs, graph.costs.activation_bytes, graph.widths)
    basis = np.stack([term(widths) for term in terms], axis=1)
    parts = np.arange(len(found)) % folds
    generator.shuffle(parts)
    held_out = np.empty(len(found))
    for part in range(folds):
        seen = parts != part
        held_out[~seen] = basis[~seen] @ _fitted(basis[seen], measured[seen])
    coefficients = _fitted(basis, measured)
    polynomial = CostPolynomial.from_terms(
        [
            (float(c * t.coefficients[0]), _factors(t))
            for c, t in zip(coefficients, terms, strict=True)
            if c > 0
        ],
        graph.widths,
        "ms",
    )
    return LatencyModel(polynomial, widths, measured, held_out)


def _fitted(basis: _Floats, measured: _Floats) -> _Floats:
    """Return the non-negative coefficients of least relative error."""
    rows = basis / measured[:, None]
    scale = np.maximum(rows.max(axis=0), np.finfo(np.float64).tiny)
    coefficients, _ = nnls(rows / scale, np.ones(len(rows)))
    return np.asarray(coefficients / scale, dtype=np.float64)


def _terms(
    macs: CostPolynomial, activations: CostPolynomial, dense: npt.NDArray[np.int64]
) -> list[CostPolynomial]:
    """Return a constant, and every term of two costs as a polynomial of its own."""
    constant = CostPolynomial.from_terms([(1.0, [])], dense, "ms")
    return [
        constant,
        *(
            CostPolynomial(
                cost.coefficients[at : at + 1],
                cost.constants[:, at : at + 1],
                cost.slopes[:, at : at + 1],
                dense,
                "ms",
            )
            for cost in (macs, activations)
            for at in range(len(cost.coefficients))
        ),
    ]


def _factors(term: CostPolynomial) -> list[tuple[float, _Floats]]:
    """Return the affine factors of a polynomial of one term."""
    return [
        (float(constant[0]), slope[0])
        for constant, slope in zip(term.constants, term.slopes, strict=True)
    ]
