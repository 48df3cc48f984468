"""Least squares from moments, with a ridge that the data choose."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from optprune.errors import RecoveryError
from optprune.moments import Moments

__all__ = ["Solution", "solve"]

_LEAST_RIDGE = 1e-6  # single-precision products are no more certain than that
_MOST_RIDGE = 1.0


@dataclass(frozen=True)
class Solution:
    """What a least-squares fit found.

    Parameters
    ----------
    weight : Tensor of float64
        Shape ``(groups, outputs, columns)``.
    shift : Tensor of float64
        The intercept, shape ``(groups, outputs)``; zero where none is fitted.
    ridge : float
        The largest ridge of a group, as a fraction of the columns' variance.
    error : float
        Mean squared error that is left, summed over outputs.
    before : float
        Mean squared error with all weights zero, and no shift.
    """

    weight: torch.Tensor
    shift: torch.Tensor
    ridge: float
    error: float
    before: float


def solve(moments: Moments, *, ridge: float | None = None, intercept: bool = True) -> Solution:
    r"""Fit targets by rows.

    Parameters
    ----------
    moments : Moments
        Of rows and targets.
    ridge : float, optional
        What is added to the correlation matrix of the columns; None lets the data choose, infinity
        leaves all weights zero.
    intercept : bool
        Whether a constant is fitted too.

    Returns
    -------
    Solution

    Raises
    ------
    RecoveryError
        When the system is singular (with ``ridge=0``), or not finite.

    Notes
    -----
    With columns scaled to unit variance (a column without variance gets no weight), R their
    correlation matrix and c their covariances with the targets, the weights solve
    :math:`(R + \lambda I) w = c`. The ridge is that of Hoerl, Kennard and Baldwin, pooled over the
    outputs: :math:`\lambda = d \hat\sigma^2 / (n \|\hat w\|^2)` with the weights
    :math:`\hat w` and the residual variance :math:`\hat\sigma^2` of the fit without; with fewer
    than two rows a column, the variance of the targets stands for that of the residuals. It is at
    least 1e-6, which is as certain as single precision makes R, and at most 1. Cost:
    :math:`2 d^3 / 3` operations for d columns.

    References
    ----------
    .. [1] A. E. Hoerl, R. W. Kennard and K. F. Baldwin, Ridge regression: some simulations,
       Communications in Statistics 4(2), 105-123, 1975, doi:10.1080/03610927508827232.
    """
    count, columns = moments.count, moments.mean.shape[1]
    second, cross, targets = moments.second, moments.cross, moments.target_second
    raw = targets + count * moments.target_mean.square()
    if not intercept:
        second = second + count * moments.mean[:, :, None] * moments.mean[:, None, :]
        cross = cross + count * moments.mean[:, :, None] * moments.target_mean[:, None, :]
        targets = raw
    scale = (second.diagonal(dim1=1, dim2=2) / count).sqrt()
    floor = 1e-7 * scale.amax(1, keepdim=True)
    still = scale <= floor
    scale = torch.where(still, 1.0, scale)
    second = second / count / (scale[:, :, None] * scale[:, None, :])
    cross = cross / count / scale[:, :, None]
    second = second.masked_fill(still[:, :, None] | still[:, None, :], 0.0)
    cross = cross.masked_fill(still[:, :, None], 0.0)
    targets = targets / count
    # a column without variance is uncoupled
    diagonal = second.diagonal(dim1=1, dim2=2)
    diagonal += still

    if ridge is None:
        weight = _solved(second, cross, torch.full_like(scale[:, 0], _LEAST_RIDGE))
        left = (targets - (cross * weight).sum(1)).clamp_min(0)
        spare = count - columns - 1
        variance = left * count / spare if spare > columns else targets
        length = weight.square().sum((1, 2))
        ridges = columns * variance.sum(1) / (count * length.clamp_min(torch.finfo().tiny))
        ridges = ridges.clamp(_LEAST_RIDGE, _MOST_RIDGE)
    else:
        ridges = torch.full_like(scale[:, 0], ridge)
    infinite = ridge == math.inf
    weight = torch.zeros_like(cross) if infinite else _solved(second, cross, ridges)
    left = targets - 2 * (cross * weight).sum(1) + (weight * (second @ weight)).sum(1)
    weight = (weight / scale[:, :, None]).mT
    shift = torch.zeros_like(moments.target_mean)
    if intercept:
        shift = moments.target_mean - (weight @ moments.mean[:, :, None])[:, :, 0]
    return Solution(
        weight=weight,
        shift=shift,
        ridge=float(ridges.max()),
        error=float(left.clamp_min(0).sum()),
        before=float(raw.sum() / count),
    )


def _solved(second: torch.Tensor, cross: torch.Tensor, ridges: torch.Tensor) -> torch.Tensor:
    """Solve ``(second + ridge) weight = cross`` for every group."""
    system = second + torch.diag_embed(ridges[:, None].expand(-1, second.shape[1]))
    factor, failed = torch.linalg.cholesky_ex(system)
    if bool(failed.any()) or not bool(torch.isfinite(factor).all()):
        raise RecoveryError(
            "the least-squares system is singular: its inputs depend on each other, or are fewer "
            "than its unknowns"
        )
    weight = torch.cholesky_solve(cross, factor)
    if not bool(torch.isfinite(weight).all()):
        raise RecoveryError("the least-squares system has no finite solution")
    return weight
