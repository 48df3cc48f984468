"""Least squares: every layer behind a cut is fitted to what the dense network answered."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

from torch import nn

from optprune.errors import ArgumentError, RecoveryError, RecoveryWarning, TaskError
from optprune.moments import Sample
from optprune.recovery.forward_fit import fit_forward
from optprune.recovery.layer_fit import LayerFit
from optprune.recovery.memory import FitMemory
from optprune.recovery.protocol import RecoveryContext
from optprune.recovery.response import respond
from optprune.recovery.symmetric_fit import dense_moments, fit_symmetric

__all__ = ["LeastSquares"]


@dataclass(frozen=True)
class LeastSquares:
    r"""Refits the layers behind a cut in closed form, from unlabelled samples, without gradients.

    Channels that left were not independent of those that stayed: the weights of every consumer
    (convolution, grouped and depthwise convolution, linear layer) are fitted anew so that, on what
    still reaches it, the layer answers as it did in the dense network.

    Parameters
    ----------
    statistics : {"asymmetric", "symmetric"}
        ``"asymmetric"`` fits front to back on what the pruned network itself delivers, so that a
        layer makes up for the errors of all layers before it: for networks that are kept.
        ``"symmetric"`` takes the moments of the dense network's inputs once, after which a
        candidate costs solves of sub-blocks and no forward pass: for use inside a search.
    samples : int
        Calibration samples, at most; where there are more, a random subset.
    positions : int or None
        Output positions of a sample and layer that become rows, at most; None for all.
    ridge : float or None
        What is added to the correlation matrix of a layer's inputs; None lets the data choose, an
        infinite one keeps the weights and fits the intercepts alone.
    rescale : bool
        Whether the variance of each output is put back to that of the dense network (CaP); the
        reconstruction is a little worse then.
    branches : bool
        Whether the last layer of a residual branch makes up for what the shortcut has lost
        (asymmetric statistics only).
    refinements : int
        How often each layer is fitted again, after the linear fit, to what the activation behind it
        lets through; 0 for the linear fit only (asymmetric statistics only, and none with
        ``rescale=True``).
    seed : int
        Draws samples and positions: the same for every candidate.

    Raises
    ------
    ArgumentError
        When an argument has a value that cannot be used.

    Notes
    -----
    With the inputs x of a layer in the pruned network, its present weights W and bias b, and the
    dense layer's answer y at the outputs that stayed, the fit is

    .. math:: \min_{\Delta, c} \sum_n \| y_n - (W + \Delta) x_n - b - c \|^2
              + \lambda \, n \sum_j s_j^2 \| \Delta_j \|^2

    (:math:`s_j^2`: variance of input j). The ridge draws towards the present weights, and so a
    network that lost nothing stays as it is. The intercept c goes into the bias, or, where there is
    none, into the running mean of the batch normalization that follows; where there is none either,
    none is fitted. At the end of a residual branch y is
    :math:`Y_1 - Y_1' + Y_2`: what the shortcut lost is added to the target.

    Where an activation that clips (ReLU, ReLU6, hardtanh, clamp) takes a layer's outputs, behind
    the normalization or the addition of a shortcut, an answer beyond its bounds is as good as any
    other there. With z the dense network's value in front of the activation and :math:`\hat z` the
    present one, a refinement takes z as target where it is within the bounds, and
    :math:`\hat z`, or the bound where that is nearer to z, where it is beyond one; the layer is
    then fitted to these targets with the ridge and the moments of the linear fit. The squared
    distance to the targets never rises; it ends early when it falls no more. What is fitted is the
    nonlinear, asymmetric reconstruction of [3]_; the alternation is ours. A layer that has nothing
    to make up for is not refined, nor one whose rows take more than 1 GiB: ``LayerFit.refined``
    tells how many refinements were made. ``LayerFit.after`` is the error of the linear fit.

    Cost: asymmetric, one forward pass of the pruned network (and one of the dense, once); for a
    layer with d input columns and o outputs :math:`n d^2 + d^3` operations, and :math:`2 n d o` for
    each refinement. Networks whose activations take more than 2 GiB for all samples take a pass to
    every layer, which bounds the memory.

    A fit explains less variance than there was, and a batch normalization in training mode scales
    that up again: a network that is trained further, or recalibrated, starts from somewhat less
    than what was repaired. With symmetric statistics errors add up from layer to layer, and
    `BatchNorm` after the fit takes most of that back:
    ``Pipeline((LeastSquares("symmetric"), BatchNorm()))`` is for use inside a search.

    Where two candidates in turn differ late only, the layers in front of the change are taken over
    from the first: they are the same, bit for bit.

    Layers that are not fitted keep their weights: those that are called several times or share
    their weights, and those that compute in their own way. A system that is singular falls back in
    the same way, with a `RecoveryWarning`; `fit` returns what happened to every layer.

    References
    ----------
    .. [1] Y. He, X. Zhang and J. Sun, Channel pruning for accelerating very deep neural networks,
       ICCV 2017, arXiv:1707.06168.
    .. [2] Z. Xie, Y. Fu, S. Tian, J. Zhou and D. Chen, Pruning with compensation: efficient channel
       pruning for deep convolutional neural networks, 2021, arXiv:2108.13728.
    .. [3] X. Zhang, J. Zou, K. He and J. Sun, Accelerating very deep convolutional networks for
       classification and detection, TPAMI 2016, arXiv:1505.06798.
    """

    statistics: Literal["asymmetric", "symmetric"] = "asymmetric"
    samples: int = 1024
    positions: int | None = 16
    ridge: float | None = None
    rescale: bool = False
    branches: bool = True
    refinements: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.statistics not in ("asymmetric", "symmetric"):
            raise ArgumentError(
                f"statistics must be 'asymmetric' or 'symmetric', got {self.statistics!r}."
            )
        if self.ridge is not None and not (
            isinstance(self.ridge, (int, float)) and self.ridge >= 0
        ):
            raise ArgumentError(f"ridge must be None or a number ≥ 0, got {self.ridge!r}.")
        if (
            isinstance(self.refinements, bool)
            or not isinstance(self.refinements, int)
            or self.refinements < 0
        ):
            raise ArgumentError(f"refinements must be an integer ≥ 0, got {self.refinements!r}.")
        _ = self.sample

    @property
    def sample(self) -> Sample:
        """The rows that are looked at."""
        return Sample(self.samples, self.positions, seed=self.seed)

    def recover(self, network: nn.Module, context: RecoveryContext) -> None:
        """Fit the network in place; see `optprune.recovery.Recovery.recover`.

        Raises
        ------
        RecoveryError
            When the task has no calibration split of two samples or more.
        """
        for fit in self.fit(network, context):
            if fit.failed:
                warnings.warn(
                    f"LeastSquares leaves layer {fit.layer!r} as it was: {fit.reason}.",
                    RecoveryWarning,
                    stacklevel=2,
                )

    def fit(self, network: nn.Module, context: RecoveryContext) -> list[LayerFit]:
        """Fit the network in place and tell what happened to every layer.

        Parameters
        ----------
        network : nn.Module
            The small network.
        context : RecoveryContext
            Task, graph, structure and meters.

        Returns
        -------
        list of LayerFit
            In the order of the layers' calls.

        Raises
        ------
        RecoveryError
            When the task has no calibration split of two samples or more.
        """
        shared, task, sample = context.shared, context.task, self.sample
        try:
            response = (
                shared.once(("response", sample), lambda meter: respond(task, sample, meter))
                if self.statistics == "asymmetric"
                else None
            )
            if response is not None:
                return fit_forward(
                    network,
                    context,
                    response,
                    shared.once(("fits", self), lambda _: FitMemory()),
                    ridge=self.ridge,
                    rescale=self.rescale,
                    branches=self.branches,
                    refinements=self.refinements,
                )
            moments = shared.once(
                ("moments", sample), lambda meter: dense_moments(task, sample, meter)
            )
        except TaskError as error:
            raise RecoveryError(f"LeastSquares: {error}") from error
        return fit_symmetric(network, context, moments, ridge=self.ridge, rescale=self.rescale)
