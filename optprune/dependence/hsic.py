"""The Hilbert-Schmidt independence criterion (HSIC), biased and unbiased, and normalized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch

from optprune.dependence.stack import GramStack
from optprune.errors import ArgumentError

__all__ = ["Estimator", "center", "center_", "fewest", "hsic", "hsic_of_stack", "normalized"]

Estimator: TypeAlias = Literal["unbiased", "biased"]


def fewest(estimator: Estimator) -> int:
    """Return the samples that an estimator needs at least."""
    return 4 if estimator == "unbiased" else 2


def center(gram: torch.Tensor, estimator: Estimator) -> torch.Tensor:
    """Center a copy of a Gram matrix; see `center_`."""
    return center_(gram.clone(), estimator)


def center_(gram: torch.Tensor, estimator: Estimator) -> torch.Tensor:
    r"""Center a Gram matrix in place, so that products of two such measure dependence.

    Parameters
    ----------
    gram : Tensor of float64
        Symmetric, shape ``(n, n)``; n at least 4 for the unbiased estimator.
    estimator : {"unbiased", "biased"}
        Which centering.

    Returns
    -------
    Tensor of float64
        `gram`, which is now: biased, :math:`H K H` with :math:`H = I - 1 1^T / n`. Unbiased: the
        diagonal is zero, and off it

        .. math:: U_{ij} = K_{ij} - \frac{k_i + k_j}{n - 2} + \frac{\sum_l k_l}{(n - 1)(n - 2)},
                  \qquad k_i = \sum_{l \ne i} K_{il}

        Where nothing but rounding is left, zeros.

    References
    ----------
    .. [1] G. J. Székely and M. L. Rizzo, Partial distance correlation with methods for
       dissimilarities, The Annals of Statistics 42(6), 2382-2412, 2014, doi:10.1214/14-AOS1255
       (U-centering).
    """
    n = len(gram)
    if estimator == "unbiased":
        gram.fill_diagonal_(0)
        sums = gram.sum(0)
        part = (sums - sums.sum() / (2 * (n - 1))) / (n - 2)
    else:
        means = gram.mean(0)
        part = means - means.mean() / 2
    size = torch.linalg.vector_norm(gram)
    gram.sub_(part[:, None]).sub_(part)
    if estimator == "unbiased":
        gram.fill_diagonal_(0)
    rounding = n * torch.finfo(gram.dtype).eps
    return gram.mul_(torch.linalg.vector_norm(gram) > rounding * size)


def hsic(grams: Sequence[torch.Tensor], estimator: Estimator = "unbiased") -> torch.Tensor:
    r"""Return the HSIC of all pairs of representations.

    Parameters
    ----------
    grams : sequence of Tensor of float64
        A Gram matrix of each representation on the same n samples, shape ``(n, n)`` each.
    estimator : {"unbiased", "biased"}
        Unbiased: :math:`\langle U_i, U_j \rangle / (n (n - 3))`, zero on average where two
        representations are independent. Biased:
        :math:`\langle H K_i H, H K_j H \rangle / (n - 1)^2`, which is never negative and of the
        order 1 / n then; normalized it nears 1 where there are more features than samples.

    Returns
    -------
    Tensor of float64
        Shape ``(m, m)``, symmetric. On its diagonal, zero for a constant representation and
        positive for others, with both estimators: it is a squared norm.

    Raises
    ------
    ArgumentError
        When the matrices are not square and of one size, or there are fewer samples than the
        estimator needs (4 unbiased, 2 biased).

    Notes
    -----
    Centered and stacked as rows, all are compared by one product of cost :math:`m^2 n^2`.

    References
    ----------
    .. [1] A. Gretton, O. Bousquet, A. Smola and B. Schölkopf, Measuring statistical dependence
       with Hilbert-Schmidt norms, ALT 2005, doi:10.1007/11564089_7.
    .. [2] L. Song, A. Smola, A. Gretton, J. Bedo and K. Borgwardt, Feature selection via
       dependence maximization, Journal of Machine Learning Research 13, 1393-1434, 2012 (the
       unbiased estimator; in the form of products of U-centered matrices after [3]_).
    .. [3] G. J. Székely and M. L. Rizzo, The Annals of Statistics 42(6), 2014,
       doi:10.1214/14-AOS1255.
    """
    shapes = {tuple(gram.shape) for gram in grams}
    n = len(grams[0]) if len(shapes) == 1 and grams[0].dim() == 2 else 0
    if shapes != {(n, n)}:
        raise ArgumentError(
            "grams must be square matrices on the same samples, at least one; got the shapes "
            f"{sorted(shapes)}."
        )
    if n < fewest(estimator):
        raise ArgumentError(
            f"the {estimator} estimator of HSIC needs {fewest(estimator)} samples or more and "
            f"grams have {n}: give more samples"
            f"{', or take the biased one' if estimator == 'unbiased' else ''}."
        )
    stack = GramStack(len(grams), n, grams[0].device)
    for index, gram in enumerate(grams):
        stack.add(index, gram)
    return hsic_of_stack(stack, estimator)


def hsic_of_stack(stack: GramStack, estimator: Estimator) -> torch.Tensor:
    """Return the HSIC of all pairs in a stack of Gram matrices, which are centered in place.

    Parameters
    ----------
    stack : GramStack
        Of enough samples; afterwards it holds the centered matrices.
    estimator : {"unbiased", "biased"}
        See `hsic`.

    Returns
    -------
    Tensor of float64
        Shape ``(m, m)``.
    """
    n = stack.samples
    stack.apply(lambda gram: center_(gram, estimator))
    products = stack.products()
    pairs = n * (n - 3) if estimator == "unbiased" else (n - 1) ** 2
    return (products + products.T) / (2 * pairs)


def normalized(values: torch.Tensor) -> torch.Tensor:
    r"""Return normalized HSIC, also known as centered kernel alignment (CKA).

    Parameters
    ----------
    values : Tensor of float64
        The HSIC of all pairs, shape ``(m, m)``.

    Returns
    -------
    Tensor of float64
        :math:`h_{ij} / \sqrt{h_{ii} h_{jj}}` in [-1, 1], in [0, 1] with the biased estimator; 1 on
        the diagonal. A constant representation (:math:`h_{ii} = 0`) has 0 with all, itself too.

    References
    ----------
    .. [1] S. Kornblith, M. Norouzi, H. Lee and G. Hinton, Similarity of neural network
       representations revisited, ICML 2019, arXiv:1905.00414.
    """
    size = values.diagonal().clamp_min(0).sqrt()
    varies = size > 0
    scale = torch.where(varies, 1 / size.where(varies, torch.ones_like(size)), 0)
    found = (values * scale[:, None] * scale).clamp_(-1, 1)
    found.diagonal().copy_(varies)
    return found
