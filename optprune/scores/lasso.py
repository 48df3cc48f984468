"""The LASSO score: units that enter the regularization path early stay longest."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.moments import unit_gram
from optprune.scores.consumers import Consumer, ConsumerScore
from optprune.surgery import ChannelGroup

__all__ = ["Lasso", "lasso_path", "lasso_support"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Lasso(ConsumerScore):
    r"""How early a unit enters the LASSO path of what its consumers answer.

    Parameters
    ----------
    samples : int
        Calibration samples, at most.
    positions : int or None
        Output positions of a sample and layer, at most; None for all.
    seed : int
        Draws samples and positions.
    otherwise : Score
        For groups that no convolution or linear layer consumes, of which a `ScoreWarning` tells.

    Raises
    ------
    ArgumentError
        When a number cannot be used.

    Notes
    -----
    With the contribution :math:`Z_u` of unit u to the outputs of the group's consumers (centered;
    each consumer relative to the variance of its outputs), scaled by :math:`\|W_u\|_F` as if all
    had weights of norm 1, and their sum Y, the coefficients

    .. math:: \min_\beta \tfrac12 \mathrm{E} \| Y - \sum_u \beta_u Z_u / \|W_u\|_F \|^2
              + \lambda \|\beta\|_1

    are followed over all λ. The problem is solved in its Gram form, whose size is the number of
    units; the exact, piecewise linear path (LARS) takes the place of the published bisection over
    λ. The score of a unit is the λ at which it enters first, as a fraction of the λ at which the
    first unit enters; a unit that never does has 0. A coefficient may leave the path again, so
    that the units of a given number need not be the first that entered: `lasso_support` gives
    those. Among duplicates one enters.

    References
    ----------
    .. [1] Y. He, X. Zhang and J. Sun, Channel pruning for accelerating very deep neural networks,
       ICCV 2017, arXiv:1707.06168.
    .. [2] B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, Least angle regression, Annals of
       Statistics 32(2), 407-499, 2004, doi:10.1214/009053604000000067.
    """

    def of_group(self, consumers: Sequence[Consumer], group: ChannelGroup) -> _Floats | None:
        """Follow the path of a group's units; see `ConsumerScore.of_group`."""
        return _entries(*_normalized(consumers, range(group.start, group.stop)))


def lasso_path(gram: npt.ArrayLike, cross: npt.ArrayLike) -> tuple[_Floats, _Floats]:
    r"""Follow the coefficients of a LASSO from no penalty that matters to none.

    Parameters
    ----------
    gram : array_like of float, shape (n, n)
        Inner products :math:`Z^T Z` of the columns, positive semidefinite.
    cross : array_like of float, shape (n,)
        Inner products :math:`Z^T Y` of the columns with the target.

    Returns
    -------
    penalties : ndarray of float64, shape (n_knots,)
        The λ between which the path is linear, falling from the least that leaves all at zero.
    coefficients : ndarray of float64, shape (n_knots, n)
        At these λ, the minimizers of :math:`\tfrac12 \|Y - Z\beta\|^2 + \lambda\|\beta\|_1`.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lars_path_gram

    inner = np.asarray(gram, dtype=np.float64)
    with warnings.catch_warnings():
        # of columns that depend on each other the path takes one, and says so
        warnings.simplefilter("ignore", ConvergenceWarning)
        penalties, _, coefficients = lars_path_gram(
            np.asarray(cross, dtype=np.float64),
            inner,
            n_samples=1,
            method="lasso",
            max_iter=8 * len(inner),
        )
    return np.asarray(penalties), np.asarray(coefficients).T


def lasso_support(gram: npt.ArrayLike, cross: npt.ArrayLike, count: int) -> npt.NDArray[np.bool_]:
    """Return the columns that a LASSO keeps at the largest penalty that keeps so many.

    Parameters
    ----------
    gram, cross : array_like of float, shape (n, n) and (n,)
        As in `lasso_path`.
    count : int
        How many to keep, from 1 to n.

    Returns
    -------
    ndarray of bool, shape (n,)
        Exactly `count` are True; where dependent columns never enter the path, the first of them
        fill up.

    Raises
    ------
    ArgumentError
        If `count` is out of range.
    """
    _, coefficients = lasso_path(gram, cross)
    n = coefficients.shape[1]
    if not 1 <= count <= n:
        raise ArgumentError(
            f"count must lie between 1 and {n}, the number of columns; got {count}."
        )
    supports = _supports(coefficients)
    sizes = supports.sum(1)
    reached = np.flatnonzero(sizes >= count)
    support = np.array(supports[reached[0] if len(reached) else sizes.argmax()])
    support[np.flatnonzero(~support)[: count - int(support.sum())]] = True
    return support


def _supports(coefficients: _Floats) -> npt.NDArray[np.bool_]:
    """Return what is not zero between each knot and the next, shape (n_knots - 1, n)."""
    moved = np.asarray(coefficients != 0)
    return np.asarray(moved[1:] | moved[:-1]) if len(moved) > 1 else moved


def _entries(gram: _Floats, cross: _Floats) -> _Floats:
    """Return the penalty at which each column enters first, as a fraction of the first of all."""
    penalties, coefficients = lasso_path(gram, cross)
    entries = np.zeros(len(gram))
    if penalties[0] <= 0:
        return entries
    for penalty, column in zip(penalties[::-1], _knots_before(coefficients)[::-1], strict=True):
        entries[column] = penalty / penalties[0]
    return entries


def _knots_before(coefficients: _Floats) -> npt.NDArray[np.bool_]:
    """Mark, for each knot, the columns that are not zero just below it."""
    moved = np.asarray(coefficients != 0)
    return np.vstack([moved[1:], moved[-1:]])


def _normalized(consumers: Sequence[Consumer], units: range) -> tuple[_Floats, _Floats]:
    """Return inner products of the units' contributions, as if all had weights of norm 1.

    With each other, and with the sum of all as they are.
    """
    gram = np.zeros((len(units), len(units)))
    norms = np.zeros(len(units))
    for known, owners in consumers:
        own = unit_gram(known, owners, units)
        variance = float(own.sum())
        if variance <= 0:
            continue
        gram += own / variance
        weight = known.layer.weight.double().square().sum((0, 1)).cpu().numpy()
        columns = np.repeat(owners.astype(np.int64), known.layer.kernel)
        inside = np.isin(columns, units)
        norms += (
            np.bincount(columns[inside] - units.start, weight[inside], minlength=len(units))
            / variance
        )
    scale = np.sqrt(np.where(norms > 0, norms, 1.0))
    return gram / np.outer(scale, scale), gram.sum(1) / scale
