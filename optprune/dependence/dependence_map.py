"""The dependence between all groups of a network, its inputs and its labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch

from optprune.dependence.hsic import Estimator, normalized
from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["DependenceMap"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class DependenceMap:
    """How much the representations of groups tell of each other, of the inputs and of the labels.

    Made by `Dependence.measure`.

    Parameters
    ----------
    names : tuple of str
        The groups, in the network's order.
    hsic : ndarray of float64
        HSIC of all pairs, not normalized: the inputs first, then the groups, then the labels where
        they are known; shape ``(n_groups + 2, n_groups + 2)``, or one less without labels. The
        representations of inputs and groups are scaled, so that rows compare.
    samples : int
        Samples that it was estimated on.
    kernel : {"linear", "gaussian"}
        The kernel.
    estimator : {"unbiased", "biased"}
        The estimator.
    features : {"pooled", "flattened"}
        The features of a group.

    Raises
    ------
    ArgumentError
        When `hsic` has another shape.
    """

    names: tuple[str, ...]
    hsic: _Floats
    samples: int
    kernel: Literal["linear", "gaussian"] = "linear"
    estimator: Estimator = "unbiased"
    features: Literal["pooled", "flattened"] = "pooled"

    def __post_init__(self) -> None:
        rows = len(self.names) + 1
        if self.hsic.shape not in ((rows, rows), (rows + 1, rows + 1)):
            raise ArgumentError(
                f"hsic must have a row and a column for the inputs, the {rows - 1} groups and, "
                f"where known, the labels; got shape {self.hsic.shape}."
            )

    @property
    def labelled(self) -> bool:
        """Whether the labels of the samples are known."""
        return len(self.hsic) == len(self.names) + 2

    @cached_property
    def normalized(self) -> _Floats:
        """Normalized HSIC, in the order and shape of `hsic`, read-only.

        In [-1, 1], in [0, 1] with the biased estimator; 1 on the diagonal. A representation that is
        the same for all samples has 0 with all, itself too.
        """
        values: _Floats = normalized(torch.from_numpy(self.hsic.copy())).numpy()
        values.flags.writeable = False
        return values

    @property
    def between(self) -> _Floats:
        """Normalized HSIC between the groups, shape ``(n_groups, n_groups)``."""
        own = slice(1, 1 + len(self.names))
        return self.normalized[own, own]

    @property
    def with_inputs(self) -> _Floats:
        """Normalized HSIC of each group with the inputs, shape ``(n_groups,)``."""
        return self.normalized[0, 1 : 1 + len(self.names)]

    @property
    def with_labels(self) -> _Floats | None:
        """Normalized HSIC of each group with the labels, shape ``(n_groups,)``; None without."""
        return self.normalized[-1, 1 : 1 + len(self.names)] if self.labelled else None

    @property
    def frame(self) -> pd.DataFrame:
        """Normalized HSIC as a table: ``(inputs)``, the groups by name, ``(labels)`` if known."""
        import pandas as pd

        names = ["(inputs)", *self.names, *(["(labels)"] if self.labelled else [])]
        return pd.DataFrame(self.normalized, index=names, columns=names)

    def importance(self, beta: float = 1.0) -> _Floats:
        r"""Return how much each group says that the others do not say.

        Parameters
        ----------
        beta : float
            How strongly dependence counts; not negative. At 0 all groups that vary are equal.

        Returns
        -------
        ndarray of float64, shape (n_groups,)
            In [0, 1]; 0 for a group that is the same for all samples, and so says nothing.

        Raises
        ------
        ArgumentError
            When `beta` is negative or not finite.

        Notes
        -----
        With :math:`s_g = \sum_{h \ne g} \max(0, \mathrm{nHSIC}_{gh})` and its mean
        :math:`\bar s` over the groups that vary, the importance is
        :math:`\exp(-\beta s_g / \bar s)`; 1 for all where :math:`\bar s = 0`. An estimate below
        zero is noise around zero.

        The paper divides by the sum of all n values instead, with :math:`\beta'` from 231 to 2000:
        since :math:`\beta' s_g / (n \bar s) = \beta s_g / \bar s` for :math:`\beta = \beta' / n`,
        it is the same rule, but :math:`\beta` does not depend on the number of groups.

        References
        ----------
        .. [1] X. Zheng, Y. Ma, T. Xi, G. Zhang, E. Ding, Y. Li, J. Chen, Y. Tian and R. Ji, An
           information theory-inspired strategy for automatic network pruning, arXiv:2108.08532,
           2021.
        """
        _check_beta(beta)
        varies = np.diagonal(self.between) > 0
        others = np.maximum(self.between, 0) * ~np.eye(len(self.names), dtype=np.bool_)
        sums = others.sum(1)
        mean = sums[varies].mean() if varies.any() else 0.0
        relative = sums / mean if mean > 0 else np.zeros_like(sums)
        return np.asarray(np.exp(-beta * relative) * varies, dtype=np.float64)

    def relevance(self, beta: float = 1.0) -> _Floats:
        r"""Return how much each group says about the labels, less what it repeats of the inputs.

        Parameters
        ----------
        beta : float
            The price of what is kept of the inputs; not negative.

        Returns
        -------
        ndarray of float64, shape (n_groups,)
            ``with_labels - beta * with_inputs``.

        Raises
        ------
        ArgumentError
            When `beta` is negative or not finite, or no labels are known.

        Notes
        -----
        The information bottleneck with HSIC in place of mutual information: a good representation
        keeps of the inputs what tells the labels, and no more. Usually early groups are near the
        inputs and late ones near the labels. The paper trains layers by it and puts its factor on
        the labels instead.

        References
        ----------
        .. [1] W.-D. K. Ma, J. P. Lewis and W. B. Kleijn, The HSIC bottleneck: deep learning without
           back-propagation, AAAI 2020, arXiv:1908.01580.
        """
        _check_beta(beta)
        if self.with_labels is None:
            raise ArgumentError(
                "relevance needs labels, and the samples were taken from the calibration split, "
                "which has none: give Task(train=...) and measure again."
            )
        return self.with_labels - beta * self.with_inputs

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw normalized HSIC as a heat map, the inputs first and the labels last.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from optprune.plots import dependence

        return dependence(self.frame, ax=ax)

    def __repr__(self) -> str:
        return (
            f"DependenceMap({len(self.names)} groups, {self.samples} samples, {self.kernel}, "
            f"{self.estimator}, {self.features}{'' if self.labelled else ', without labels'})"
        )


def _check_beta(beta: float) -> None:
    """Raise unless a factor is a number that is not negative."""
    if not 0 <= beta < float("inf"):
        raise ArgumentError(f"beta must be a finite number of at least 0, got {beta!r}.")
