"""Gram matrices: how alike the samples are to each other in a representation.

All are float64 and on the device of what they are made of. Features are taken around their means,
which no measure of dependence sees and which costs digits otherwise.
"""

from __future__ import annotations

import torch

from optprune.errors import ArgumentError

__all__ = ["category_gram", "gaussian_gram", "linear_gram", "to_gaussian"]

_COLUMNS = 4096  # columns of one product, so that no second copy of wide features is made
_SAME = 1e-12  # of the mean squared distance: below it two samples are the same but for rounding


def linear_gram(features: torch.Tensor) -> torch.Tensor:
    r"""Return the inner products of samples around their mean.

    Parameters
    ----------
    features : Tensor
        Shape ``(n, d)``, floating-point.

    Returns
    -------
    Tensor of float64
        Shape ``(n, n)``, :math:`X X^T` with X the features around their means. A feature that
        varies by no more than the rounding of its type counts as constant: it adds nothing.

    Raises
    ------
    ArgumentError
        When `features` is no matrix, or holds values that are not finite.

    Notes
    -----
    Cost :math:`2 n^2 d`; memory :math:`16 n^2` bytes and some of 4096 columns.
    """
    if features.dim() != 2 or not features.is_floating_point():
        raise ArgumentError(
            "features must be a floating-point matrix of shape (samples, features), got "
            f"{features.dtype} of shape {tuple(features.shape)}."
        )
    samples = len(features)
    gram = torch.zeros((samples, samples), dtype=torch.float64, device=features.device)
    rounding = 8 * torch.finfo(features.dtype).eps
    for part in torch.split(features, _COLUMNS, dim=1):
        columns = part.double()
        size = torch.linalg.vector_norm(columns, dim=0)
        columns = columns - columns.mean(0)
        columns *= torch.linalg.vector_norm(columns, dim=0) > rounding * size
        gram += columns @ columns.T
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
        Inner products of samples, shape ``(n, n)``.

    Returns
    -------
    Tensor of float64
        Shape ``(n, n)``, :math:`\exp(-d_{ij}^2 / 2 \sigma^2)` with
        :math:`d_{ij}^2 = G_{ii} + G_{jj} - 2 G_{ij}`. Where all samples are the same, ones.

    Notes
    -----
    :math:`\sigma` is the median of :math:`d_{ij}` over the pairs :math:`i < j` whose distance is
    not zero; the lower of the two in the middle where their number is even. Pairs at distance zero
    are left out since they may be more than half: labels of two classes, a layer that is silent for
    most samples.

    References
    ----------
    .. [1] A. Gretton, K. Fukumizu, C. H. Teo, L. Song, B. Schölkopf and A. J. Smola, A kernel
       statistical test of independence, NeurIPS 2007 (the median as width of the kernel; leaving
       out equal pairs is ours).
    """
    size = gram.diagonal()
    squared = (size[:, None] + size - 2 * gram).clamp_min_(0).fill_diagonal_(0)
    # inner products are taken around the mean, so that the trace measures the distances
    same = squared <= _SAME * size.mean()
    squared.masked_fill_(same, 0)
    pairs = squared[torch.ones_like(same).triu_(1) & ~same]
    if not len(pairs):
        return torch.ones_like(gram)
    return (squared / (-2 * pairs.median())).exp_()
