"""Gram matrices: how alike the samples are to each other in a representation.

All are float64 and on the device of what they are made of. Features are taken around their means,
which no measure of dependence sees and which costs digits otherwise.
"""

from __future__ import annotations

import numpy as np
import torch

from optprune.errors import ArgumentError

__all__ = ["category_gram", "gaussian_gram", "kernel_of_distances", "linear_gram", "to_gaussian"]

_COLUMNS = 4096  # columns of one product, so that no second copy of wide features is made
_ROWS = 128  # rows of one product: of what lies below the diagonal, little is computed
_SAME = 1e-12  # of the mean squared distance: below it two samples are the same but for rounding


def linear_gram(features: torch.Tensor, *, out: torch.Tensor | None = None) -> torch.Tensor:
    r"""Return the inner products of samples around their mean.

    Parameters
    ----------
    features : Tensor
        Shape ``(n, d)``, floating-point.
    out : Tensor of float64, optional
        Where to write them, shape ``(n, n)``; memory that is used again is faster than new one.

    Returns
    -------
    Tensor of float64
        Shape ``(n, n)``, :math:`X X^T` with X the features around their means. A feature that
        varies by no more than the rounding of its type counts as constant: it adds nothing.

    Raises
    ------
    ArgumentError
        When `features` is no matrix, or holds values that are not finite, or `out` has another
        shape or type.

    Notes
    -----
    Cost :math:`n^2 d` where n is large; memory :math:`8 n^2` bytes and some of 4096 columns.
    """
    if features.dim() != 2 or not features.is_floating_point():
        raise ArgumentError(
            "features must be a floating-point matrix of shape (samples, features), got "
            f"{features.dtype} of shape {tuple(features.shape)}."
        )
    samples = len(features)
    if out is not None and (out.shape != (samples, samples) or out.dtype != torch.float64):
        raise ArgumentError(
            f"out must be float64 of shape ({samples}, {samples}), got {out.dtype} of shape "
            f"{tuple(out.shape)}."
        )
    gram = features.new_empty((samples, samples), dtype=torch.float64) if out is None else out
    gram.zero_()
    rounding = 8 * torch.finfo(features.dtype).eps
    for part in torch.split(features, _COLUMNS, dim=1):
        columns = part.to(torch.float64, copy=True)
        means = columns.mean(0)
        columns -= means
        spread = torch.stack([rows.square().sum(0) for rows in torch.split(columns, _ROWS)]).sum(0)
        varies = spread > rounding**2 * (spread + samples * means**2)
        if not bool(varies.all()):
            columns *= varies
        for first in range(0, samples, _ROWS):
            rows = columns[first : first + _ROWS]
            gram[first : first + _ROWS, first:].addmm_(rows, columns[first:].T)
    for first in range(_ROWS, samples, _ROWS):
        gram[first:, first - _ROWS : first] = gram[first - _ROWS : first, first:].T
    if not bool(torch.isfinite(gram.diagonal()).all()):
        raise ArgumentError("features must be finite, and so must be their squares.")
    return gram


def category_gram(categories: torch.Tensor) -> torch.Tensor:
    """Return in how many columns two samples have the same category.

    Parameters
    ----------
    categories : Tensor
        Shape ``(n, columns)``, of integers or booleans: class labels, tokens.

    Returns
    -------
    Tensor of float64
        Shape ``(n, n)``: the inner products of the columns as one-hot vectors.

    Raises
    ------
    ArgumentError
        When `categories` is no matrix.
    """
    if categories.dim() != 2:
        raise ArgumentError(
            f"categories must have shape (samples, columns), got {tuple(categories.shape)}."
        )
    samples = len(categories)
    gram = torch.zeros((samples, samples), dtype=torch.float64, device=categories.device)
    for column in categories.unbind(1):
        gram += column[:, None] == column
    return gram


def gaussian_gram(features: torch.Tensor) -> torch.Tensor:
    """Return the Gaussian kernel of features; see `to_gaussian`.

    Parameters
    ----------
    features : Tensor
        Shape ``(n, d)``, floating-point.

    Returns
    -------
    Tensor of float64
        Shape ``(n, n)``.

    Raises
    ------
    ArgumentError
        When `features` is no matrix, or holds values that are not finite.
    """
    return to_gaussian(linear_gram(features))


def to_gaussian(gram: torch.Tensor) -> torch.Tensor:
    r"""Return the Gaussian kernel on the distances that belong to inner products.

    Parameters
    ----------
    gram : Tensor of float64
        Inner products of samples around their mean, shape ``(n, n)``.

    Returns
    -------
    Tensor of float64
        Shape ``(n, n)``, see `kernel_of_distances` for
        :math:`d_{ij}^2 = G_{ii} + G_{jj} - 2 G_{ij}`.
    """
    size = gram.diagonal()
    squared = (gram * -2).add_(size[:, None]).add_(size).fill_diagonal_(0)
    return kernel_of_distances(squared, float(size.mean()))


def kernel_of_distances(squared: torch.Tensor, spread: float) -> torch.Tensor:
    r"""Turn squared distances between samples into a Gaussian kernel, in place.

    Parameters
    ----------
    squared : Tensor of float64
        Of any shape: every pair as often as any other, and zeros for samples with themselves.
    spread : float
        The mean squared distance of the samples from their mean.

    Returns
    -------
    Tensor of float64
        `squared`, which is now :math:`\exp(-d_{ij}^2 / 2 \sigma^2)`. Where all samples are the
        same, ones.

    Notes
    -----
    :math:`\sigma` is the median of :math:`d_{ij}` over the pairs whose distance is not zero; the
    lower of the two in the middle where their number is even. Pairs at distance zero are left out
    since they may be more than half: labels of two classes, a layer that is silent for most
    samples.

    References
    ----------
    .. [1] A. Gretton, K. Fukumizu, C. H. Teo, L. Song, B. Schölkopf and A. J. Smola, A kernel
       statistical test of independence, NeurIPS 2007 (the median as width of the kernel; leaving
       out equal pairs is ours).
    """
    torch.threshold_(squared, _SAME * spread, 0.0)
    apart = int(squared.count_nonzero())
    if not apart:
        return squared.fill_(1)
    median = _smallest(squared, squared.numel() - apart + (apart - 1) // 2)
    return squared.div_(-2 * median).exp_()


def _smallest(values: torch.Tensor, place: int) -> float:
    """Return the value at a place, from 0, in ascending order."""
    if values.device.type == "cpu":  # NumPy takes a sixth of torch's time
        return float(np.partition(values.numpy(), place, axis=None)[place])
    return float(values.flatten().kthvalue(place + 1).values)
