r"""Coefficients of multiple data assimilation: the same data several times, each time less trusted.

Assimilating data n times with its error covariance multiplied by :math:`\alpha_i` each gives, for
a linear model, the posterior of one assimilation, if and only if :math:`\sum 1 / \alpha_i = 1`
(Emerick and Reynolds 2013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch

from optprune.errors import ArgumentError, ArgumentTypeError

__all__ = ["Coefficients", "adaptive_coefficient", "coefficients"]

Coefficients: TypeAlias = Literal["constant", "decreasing", "adaptive"] | tuple[float, ...]


def coefficients(kind: Coefficients, assimilations: int, ratio: float = 2.0) -> tuple[float, ...]:
    r"""Return inflation coefficients whose inverses sum to 1.

    Parameters
    ----------
    kind : {"constant", "decreasing"} or tuple of float
        All :math:`\alpha_i = n`; each a `ratio` less than the one before, so that the first steps,
        where a model is least linear, are the shortest; or the coefficients themselves.
    assimilations : int
        How many; not used for a tuple.
    ratio : float
        For "decreasing": above 1.

    Returns
    -------
    tuple of float
        In the order of use.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If an argument cannot be used, or the inverses of given coefficients do not sum to 1 within
        1e-6.
    """
    if isinstance(kind, tuple):
        if not kind or not all(
            isinstance(a, (int, float)) and not isinstance(a, bool) for a in kind
        ):
            raise ArgumentTypeError(f"`coefficients` must be numbers, not {kind!r}.")
        if not all(0 < a < math.inf for a in kind):
            raise ArgumentError(f"`coefficients` must be positive, got {kind!r}.")
        total = math.fsum(1 / a for a in kind)
        if abs(total - 1) > 1e-6:
            right = tuple(float(f"{a * total:.10g}") for a in kind)
            raise ArgumentError(
                f"the inverses of `coefficients` must sum to 1, or the data counts {total:.10g} "
                f"times; {kind!r} multiplied by {total:.10g} would do: {right!r}."
            )
        return tuple(float(a) for a in kind)
    check_count("assimilations", assimilations)
    if kind == "constant":
        return (float(assimilations),) * assimilations
    if kind == "decreasing":
        if isinstance(ratio, bool) or not isinstance(ratio, (int, float)):
            raise ArgumentTypeError(f"`ratio` must be a number, not {ratio!r}.")
        if not 1 < ratio < math.inf:
            raise ArgumentError(f"`ratio` must be a number above 1, got {ratio!r}.")
        try:
            inverses = [float(ratio) ** i for i in range(assimilations)]
            return tuple(math.fsum(inverses) / inverse for inverse in inverses)
        except OverflowError as error:
            raise ArgumentError(
                f"`assimilations` = {assimilations} coefficients, each {ratio:g} times less than "
                "the one before, are beyond what a float holds: take fewer."
            ) from error
    raise ArgumentError(
        f"`coefficients` must be 'constant', 'decreasing', 'adaptive' or a tuple, not {kind!r}."
    )


def adaptive_coefficient(innovations: torch.Tensor, spent: float) -> float:
    r"""Return the next coefficient by the data misfit controller.

    Parameters
    ----------
    innovations : Tensor of float, shape (n_members, n_observations)
        Observations less predictions, whitened.
    spent : float
        Sum of the inverses of the coefficients so far, below 1.

    Returns
    -------
    float
        :math:`1/\alpha = \min(\max(d / (2 \bar\Phi), \sqrt{d / (2 \mathrm{Var} \Phi)}),
        1 - \text{spent})` with the misfits :math:`\Phi_j = \|R_j\|^2 / 2` of the members and d
        observations [1]_.

    References
    ----------
    .. [1] M. A. Iglesias and Y. Yang, Adaptive regularisation for ensemble Kalman inversion,
       Inverse Problems 37, 2021, doi:10.1088/1361-6420/abd29b.
    """
    left = 1 - spent
    misfits = 0.5 * innovations.double().square().sum(1)
    count = innovations.shape[1]
    mean, variance = float(misfits.mean()), float(misfits.var())
    by_mean = count / (2 * mean) if mean > 0 else math.inf
    by_variance = math.sqrt(count / (2 * variance)) if variance > 0 else math.inf
    step = max(by_mean, by_variance)
    # What would be left for one more step, rounding aside, is taken at once.
    return 1 / left if step >= left * (1 - 1e-9) else 1 / step


def check_count(name: str, value: object, least: int = 1) -> None:
    """Raise unless something is a whole number of at least `least`.

    Raises
    ------
    ArgumentError
        If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ArgumentError(f"`{name}` must be a whole number of at least {least}, got {value!r}.")


def inverse_sum(values: Sequence[float]) -> float:
    """Return the sum of the inverses."""
    return math.fsum(1 / value for value in values)
