"""Least squares from moments, with a ridge that the data choose."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from optprune.errors import RecoveryError
from optprune.moments import Moments

__all__ = ["Solution", "System", "solve"]

_LEAST_RIDGE = 1e-6  # single-precision products are no more certain than that
_MOST_RIDGE = 1.0
_ROUNDING = 1e-3  # the most that rounding is taken to have made of a singular system


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
    errors : Tensor of float64
        Mean squared error of each output that is left, shape ``(groups, outputs)``.
    before : float
        Mean squared error with all weights zero, and no shift.
    """

    weight: torch.Tensor
    shift: torch.Tensor
    ridge: float
    errors: torch.Tensor
    before: float

    @property
    def error(self) -> float:
        """Mean squared error that is left, summed over outputs."""
        return float(self.errors.sum())


@dataclass(frozen=True)
class System:
    """The normal equations of some rows with their ridge, factored once for any targets.

    Parameters
    ----------
    second : Tensor of float64
        Correlations of the columns, shape ``(groups, columns, columns)``.
    factor : Tensor of float64 or None
        Cholesky factor of these plus the ridge; None for an infinite one.
    scale : Tensor of float64
        What the columns were divided by, shape ``(groups, columns)``.
    still : Tensor of bool
        Columns without variance, shape ``(groups, columns)``.
    ridge : float
        The largest ridge of a group, as a fraction of the columns' variance.
    intercept : bool
        Whether a constant is fitted too.
    """

    second: torch.Tensor
    factor: torch.Tensor | None
    scale: torch.Tensor
    still: torch.Tensor
    ridge: float
    intercept: bool

    def solve(self, moments: Moments) -> Solution:
        """Fit the targets of moments whose rows are those of this system.

        Raises
        ------
        RecoveryError
            When there is no finite solution.
        """
        cross, targets, raw = _centered(moments, self.scale, self.still, self.intercept)
        weight = torch.zeros_like(cross) if self.factor is None else _solved(self.factor, cross)
        left = targets - 2 * (cross * weight).sum(1) + (weight * (self.second @ weight)).sum(1)
        weight = (weight / self.scale[:, :, None]).mT
        shift = torch.zeros_like(moments.target_mean)
        if self.intercept:
            shift = moments.target_mean - (weight @ moments.mean[:, :, None])[:, :, 0]
        return Solution(
            weight=weight,
            shift=shift,
            ridge=self.ridge,
            errors=left.clamp_min(0),
            before=float(raw.sum() / moments.count),
        )


def solve(
    moments: Moments, *, ridge: float | None = None, intercept: bool = True
) -> tuple[Solution, System]:
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
    solution : Solution
        What was found.
    system : System
        Fits other targets by the same rows, with the same ridge.

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
    least 1e-6, which is as certain as single precision makes R (ten times as much, up to 1e-3, for
    as long as R is not positive definite with it), and at most 1. Cost: :math:`2 d^3 / 3`
    operations for d columns.

    References
    ----------
    .. [1] A. E. Hoerl, R. W. Kennard and K. F. Baldwin, Ridge regression: some simulations,
       Communications in Statistics 4(2), 105-123, 1975, doi:10.1080/03610927508827232.
    """
    count, columns = moments.count, moments.mean.shape[1]
    second = moments.second
    if not intercept:
        second = second + count * moments.mean[:, :, None] * moments.mean[:, None, :]
    scale = (second.diagonal(dim1=1, dim2=2) / count).sqrt()
    floor = 1e-7 * scale.amax(1, keepdim=True)
    still = scale <= floor
    scale = torch.where(still, 1.0, scale)
    second = second / count / (scale[:, :, None] * scale[:, None, :])
    second = second.masked_fill(still[:, :, None] | still[:, None, :], 0.0)
    # a column without variance is uncoupled
    diagonal = second.diagonal(dim1=1, dim2=2)
    diagonal += still

    if ridge is None:
        cross, targets, _ = _centered(moments, scale, still, intercept)
        lightly, least = _least_factor(second)
        weight = _solved(lightly, cross)
        left = (targets - (cross * weight).sum(1)).clamp_min(0)
        spare = count - columns - 1
        variance = left * count / spare if spare > columns else targets
        length = weight.square().sum((1, 2))
        ridges = columns * variance.sum(1) / (count * length.clamp_min(torch.finfo().tiny))
        ridges = ridges.clamp(least, _MOST_RIDGE)
    else:
        ridges = torch.full_like(scale[:, 0], ridge)
    factor = None if ridge == math.inf else _factor(second, ridges)
    system = System(second, factor, scale, still, float(ridges.max()), intercept)
    return system.solve(moments), system


def _centered(
    moments: Moments, scale: torch.Tensor, still: torch.Tensor, intercept: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what the scaled columns and the targets have in common, and the targets' squares.

    Returns
    -------
    cross : Tensor of float64, shape (groups, columns, outputs)
    targets : Tensor of float64, shape (groups, outputs)
        Mean square of each target; around its mean when an intercept is fitted.
    raw : Tensor of float64, shape (groups, outputs)
        Sum of the squares of each target.
    """
    count, cross, targets = moments.count, moments.cross, moments.target_second
    raw = targets + count * moments.target_mean.square()
    if not intercept:
        cross = cross + count * moments.mean[:, :, None] * moments.target_mean[:, None, :]
        targets = raw
    cross = cross / count / scale[:, :, None]
    return cross.masked_fill(still[:, :, None], 0.0), targets / count, raw


def _least_factor(second: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Return the factor with the least ridge that makes up for rounding, and this ridge."""
    least = _LEAST_RIDGE
    while True:
        try:
            return _factor(second, torch.full_like(second[:, 0, 0], least)), least
        except RecoveryError:
            if least >= _ROUNDING:
                raise
        least *= 10


def _factor(second: torch.Tensor, ridges: torch.Tensor) -> torch.Tensor:
    """Return the Cholesky factor of ``second + ridge`` for every group."""
    system = second + torch.diag_embed(ridges[:, None].expand(-1, second.shape[1]))
    factor: torch.Tensor
    factor, failed = torch.linalg.cholesky_ex(system)
    if bool(failed.any()) or not bool(torch.isfinite(factor).all()):
        raise RecoveryError(
            "the least-squares system is singular: its inputs depend on each other, or are fewer "
            "than its unknowns"
        )
    return factor


def _solved(factor: torch.Tensor, cross: torch.Tensor) -> torch.Tensor:
    """Solve the factored systems."""
    weight = torch.cholesky_solve(cross, factor)
    if not bool(torch.isfinite(weight).all()):
        raise RecoveryError("the least-squares system has no finite solution")
    return weight
