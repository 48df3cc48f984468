"""What a structure costs: polynomials in the kept widths.

Every cost is a sum of terms; a term is a coefficient times a product of affine forms in the
widths, one form for each dimension that a structure can narrow:

    cost(w) = sum_t  c_t * prod_f (a_tf + b_tf . w)

A convolution's MACs, for example, are (output positions × kernel size) · (kept outputs) · (kept
inputs). The terms are read off the same trace that finds the groups. All coefficients are
non-negative: the polynomials are posynomials, monotone in every width, and `monomials` hands them
over as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError

__all__ = ["FAMILIES", "CostPolynomial", "Costs"]

FAMILIES = ("convolution", "linear", "attention")
"""Families of operations that have MACs."""


@dataclass(frozen=True, eq=False)
class CostPolynomial:
    """A cost as a polynomial in the widths of the groups.

    Parameters
    ----------
    coefficients : ndarray of float64, shape (n_terms,)
        Coefficient of every term.
    constants : ndarray of float64, shape (n_factors, n_terms)
        Constant part of each affine factor (units that are always kept).
    slopes : ndarray of float64, shape (n_factors, n_terms, n_groups)
        How much each kept unit of a group adds to the factor.
    dense_widths : ndarray of int64, shape (n_groups,)
        Widths of the dense network.
    unit : str
        What is counted: ``"MACs"`` (of one sample), ``"parameters"``, or ``"bytes"`` (of one
        sample).
    """

    coefficients: npt.NDArray[np.float64]
    constants: npt.NDArray[np.float64]
    slopes: npt.NDArray[np.float64]
    dense_widths: npt.NDArray[np.int64]
    unit: str

    def __call__(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Evaluate the cost of a whole population at once.

        Parameters
        ----------
        widths : array_like, shape (n, n_groups) or (n_groups,)
            Kept units of every group.

        Returns
        -------
        ndarray of float64, shape (n,)
            The cost of every row, in `unit`. One row gives an array of length one.

        Raises
        ------
        ArgumentError
            If `widths` has another number of columns than there are groups.
        """
        rows = np.atleast_2d(np.asarray(widths, dtype=np.float64))
        n_groups = len(self.dense_widths)
        if rows.ndim != 2 or rows.shape[1] != n_groups:
            raise ArgumentError(
                f"widths must have shape (n, {n_groups}), a column for each group; "
                f"got {rows.shape}."
            )
        product = np.broadcast_to(self.coefficients, (len(rows), len(self.coefficients)))
        for constant, slope in zip(self.constants, self.slopes, strict=True):
            product = product * (constant + rows @ slope.T)
        return np.asarray(product.sum(axis=1), dtype=np.float64)

    @property
    def dense(self) -> float:
        """The cost of the dense network, in `unit`."""
        return float(self(self.dense_widths)[0])

    def per_group(self) -> npt.NDArray[np.float64]:
        """What is saved, as a fraction of dense, when one group alone is narrowed to one unit.

        Returns
        -------
        ndarray of float64, shape (n_groups,)
        """
        n_groups = len(self.dense_widths)
        if n_groups == 0 or self.dense == 0:
            return np.zeros(n_groups)
        rows = np.tile(self.dense_widths, (n_groups, 1))
        np.fill_diagonal(rows, 1)
        return np.asarray(1 - self(rows) / self.dense, dtype=np.float64)

    def shares(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return each group's share of the cost: the derivative of log cost by log width.

        Parameters
        ----------
        widths : array_like, shape (n_groups,)
            Units of every group, not necessarily whole.

        Returns
        -------
        ndarray of float64, shape (n_groups,)
            ``w[g] * dF/dw[g] / F``; zeros where the cost is zero. A product of two groups counts in
            both, so that shares need not add up to 1.

        Raises
        ------
        ArgumentError
            If `widths` has another shape.
        """
        at = np.asarray(widths, dtype=np.float64)
        if at.ndim != 1:
            raise ArgumentError(f"widths must have one dimension, a width a group; got {at.shape}.")
        total = float(self(at)[0])
        if total <= 0:
            return np.zeros(len(self.dense_widths))
        factors = self.constants + self.slopes @ at
        products = self.coefficients * factors.prod(axis=0)
        gradient = np.tensordot(products / factors, self.slopes, axes=2)
        return np.asarray(gradient * at / total, dtype=np.float64)

    def monomials(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Expand into monomials, for convex programs in the logarithms of the widths.

        Returns
        -------
        coefficients : ndarray of float64, shape (n_monomials,)
            All positive.
        exponents : ndarray of int64, shape (n_monomials, n_groups)
            ``cost(w) = sum_m coefficients[m] * prod_g w[g] ** exponents[m, g]``.
        """
        table: dict[tuple[int, ...], float] = {}
        for term, coefficient in enumerate(self.coefficients):
            partial: dict[tuple[int, ...], float] = {(): float(coefficient)}
            for constant, slope in zip(self.constants, self.slopes, strict=True):
                grown: dict[tuple[int, ...], float] = {}
                for groups, value in partial.items():
                    if constant[term]:
                        grown[groups] = grown.get(groups, 0.0) + value * float(constant[term])
                    for group in np.flatnonzero(slope[term]):
                        key = tuple(sorted((*groups, int(group))))
                        grown[key] = grown.get(key, 0.0) + value * float(slope[term, group])
                partial = grown
            for groups, value in partial.items():
                table[groups] = table.get(groups, 0.0) + value
        positive = [(groups, value) for groups, value in sorted(table.items()) if value > 0]
        exponents = np.zeros((len(positive), len(self.dense_widths)), dtype=np.int64)
        for row, (groups, _) in enumerate(positive):
            np.add.at(exponents[row], list(groups), 1)
        return np.array([value for _, value in positive]), exponents

    @classmethod
    def from_terms(
        cls,
        terms: Sequence[tuple[float, Sequence[tuple[float, npt.NDArray[np.float64]]]]],
        dense_widths: npt.NDArray[np.int64],
        unit: str,
    ) -> CostPolynomial:
        """Build from terms: a coefficient and its affine factors ``(constant, slopes)``.

        Factors without slopes are multiplied into the coefficient, and terms with the same factors
        are added up.
        """
        merged: dict[bytes, tuple[float, list[tuple[float, npt.NDArray[np.float64]]]]] = {}
        for coefficient, factors in terms:
            value, live = float(coefficient), []
            for constant, slope in factors:
                if slope.any():
                    live.append((float(constant), slope))
                else:
                    value *= constant
            if value == 0:
                continue
            live.sort(key=lambda factor: (factor[0], factor[1].tobytes()))
            key = b"".join(np.float64(c).tobytes() + s.tobytes() for c, s in live)
            merged[key] = (merged.get(key, (0.0, live))[0] + value, live)
        depth = max((len(live) for _, live in merged.values()), default=0)
        constants = np.ones((depth, len(merged)))
        slopes = np.zeros((depth, len(merged), len(dense_widths)))
        for column, (_, live) in enumerate(merged.values()):
            for row, (constant, slope) in enumerate(live):
                constants[row, column] = constant
                slopes[row, column] = slope
        coefficients = np.array([value for value, _ in merged.values()], dtype=np.float64)
        return cls(coefficients, constants, slopes, dense_widths, unit)

    @classmethod
    def total(cls, polynomials: Iterable[CostPolynomial]) -> CostPolynomial:
        """Add polynomials of the same groups and the same unit (at least one)."""
        summands = list(polynomials)
        terms = [
            (
                float(coefficient),
                list(zip(each.constants[:, term].tolist(), each.slopes[:, term], strict=True)),
            )
            for each in summands
            for term, coefficient in enumerate(each.coefficients)
        ]
        return cls.from_terms(terms, summands[0].dense_widths, summands[0].unit)


@dataclass(frozen=True, eq=False)
class Costs:
    """The costs that are read off a trace.

    Parameters
    ----------
    families : mapping of str to CostPolynomial
        Multiply–accumulate operations of one sample (FLOPs = 2 × MACs; what a pass computes once
        for all, such as a table of positions, is divided among the samples of the example), by
        `FAMILIES`:
        ``"convolution"``; ``"linear"`` (matrix products with a weight, or with another tensor that
        does not depend on the input); ``"attention"`` (products of two activations). All are there,
        with zero MACs where the network has no such operation.
    parameters : CostPolynomial
        Elements of all parameters; a parameter that is shared counts once.
    activation_bytes : CostPolynomial
        Bytes of all tensors that one sample's forward pass computes (results that are views of, or
        written into, an earlier tensor count nothing), at the precision of the traced example.
    """

    families: Mapping[str, CostPolynomial]
    parameters: CostPolynomial
    activation_bytes: CostPolynomial

    @cached_property
    def macs(self) -> CostPolynomial:
        """MACs of all families together, of one sample."""
        return CostPolynomial.total(self.families.values())
