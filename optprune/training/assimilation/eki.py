"""Ensemble Kalman inversion with fresh members: a Gauss-Newton method without gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from optprune.errors import ArgumentError
from optprune.surgery.calling import batch_size
from optprune.training.assimilation.analysis import check_positive, mean_weights
from optprune.training.assimilation.assimilating import Assimilating, Run, batches, record
from optprune.training.assimilation.coefficients import check_count
from optprune.training.assimilation.ensemble import deviations
from optprune.training.assimilation.layout import Layout
from optprune.training.assimilation.observation import Observed

__all__ = ["EKI"]

_RISE, _LEAST = 1.1, 1e-6
"""How far the loss of a batch may rise in a step: as a factor, and beside it."""
_GROW, _SHRINK = 4.0, 0.8
"""Factors on the damping after a step that was taken back, and after any other."""


@dataclass(frozen=True, kw_only=True)
class EKI(Assimilating):
    r"""Ensemble Kalman inversion around the mean, with members that are drawn anew for each batch.

    An optimizer rather than a filter: no posterior comes out, but as new members bring new
    directions, it is not held in the span of one ensemble, and learns from scratch what `ESMDA`
    cannot.

    Parameters
    ----------
    members, observation, spread, parameters, localization
        As for `ESMDA`; for labels, ``CrossEntropy()`` is the observation to take.
    held_out, patience, vectorized, checkpoint, checkpoint_every, progress
        As for `ESMDA`.
    hooks
        As for `ESMDA`, but there are no members to shift: the mean goes on from the weights that a
        hook leaves, and what is kept of the step before, for `momentum`, stays. A step that was
        taken back is a step as well.
    epochs : int, default 10
        Passes over the data.
    batch_size : int, optional
        Samples of one step; all by default.
    damping : float, default 1
        Weight of the prior around the present mean: the larger, the shorter the steps. It is
        raised fourfold after a step that was taken back, and falls by a fifth with each other step,
        to this value at the least.
    momentum : float, default 0.9
        Fraction of the step before that is added to each step, in [0, 1).
    weight_decay : float, default 0
        Pulls weights towards zero: half of it times the square of each parameter with at least two
        dimensions is added to the misfit of a sample, as in `optprune.training.SGD`.
    schedule : {"constant", "cosine"}
        The spread over the steps: the same throughout, or down to a tenth along half a cosine. The
        length of a step falls with its square.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If a parameter cannot be used.

    Notes
    -----
    Each step draws deviations :math:`\Delta` around the mean m, computes the deviations A and
    innovations r of the mean in whitened units, and moves by

    .. math:: v \leftarrow \mu v + r A^\top (A A^\top + (n - 1) \lambda I)^{-1} \Delta, \qquad
        m \leftarrow m + v :

    the Levenberg-Marquardt step on the batch in a random subspace of n - 1 dimensions, with
    derivatives by differences over the spread. Where the loss of the batch is higher after a step
    than before by more than a tenth of it, the step is taken back, and v is zero. Weight decay adds
    observations of the weights themselves, that they are zero [4]_. Kovachki and Stuart [1]_ bring
    momentum and mini-batches to ensemble Kalman inversion of networks, Haber et al. [2]_ draw the
    members anew, and Guth et al. [3]_ discuss its regularization; the combination here, taking
    steps back, and the linearization of the cross-entropy, are ours.

    References
    ----------
    .. [1] N. B. Kovachki and A. M. Stuart, Ensemble Kalman inversion: a derivative-free technique
       for machine learning tasks, Inverse Problems 35, 2019, arXiv:1808.03620.
    .. [2] E. Haber, F. Lucka and L. Ruthotto, Never look back: a modified EnKF method and its
       application to the training of neural networks without back propagation, 2018,
       arXiv:1805.08034.
    .. [3] P. A. Guth, C. Schillings and S. Weissmann, Ensemble Kalman filter for neural
       network-based one-shot inversion, 2020, arXiv:2005.02039.
    .. [4] N. K. Chada, A. M. Stuart and X. T. Tong, Tikhonov regularization within ensemble Kalman
       inversion, SIAM Journal on Numerical Analysis 58, 2020, arXiv:1901.10382.
    """

    epochs: int = 10
    batch_size: int | None = None
    damping: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("epochs", self.epochs)
        if self.batch_size is not None:
            check_count("batch_size", self.batch_size)
        check_positive("EKI", "damping", self.damping)
        if not 0 <= self.momentum < 1:
            raise ArgumentError(
                f"EKI: `momentum` must be at least 0 and below 1, got {self.momentum!r}."
            )
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ArgumentError(
                f"EKI: `weight_decay` must not be negative, got {self.weight_decay!r}."
            )
        if self.schedule not in ("constant", "cosine"):
            raise ArgumentError(
                f"EKI: `schedule` must be 'constant' or 'cosine', not {self.schedule!r}."
            )

    def _begin(
        self,
        network: nn.Module,
        layout: Layout,
        generator: torch.Generator,  # noqa: ARG002 - nothing is drawn before the first step
    ) -> dict[str, torch.Tensor]:
        """Stand still, at the network's own weights."""
        mean = layout.flat(network)
        damping = torch.tensor(self.damping, dtype=torch.float64)
        return {"mean": mean, "velocity": torch.zeros_like(mean), "damping": damping}

    def _passes(self) -> int:
        return self.epochs

    def _steps(self, samples: int) -> int:
        return 1 if self.batch_size is None else -(-samples // self.batch_size)

    def _follow(
        self, kept: dict[str, torch.Tensor], weights: torch.Tensor, changed: torch.Tensor
    ) -> None:
        """Go on from the weights of the network."""
        kept["mean"][changed] = weights[changed]

    def _pass(self, run: Run) -> str | None:
        state, kept = run.state, run.state.tensors_kept
        decaying = _decaying(state.layout).to(kept["mean"])
        for inputs, targets in batches(run.train, self.batch_size, state.generator):
            fraction = self._fraction(len(state.losses), run.steps)
            mean = kept["mean"]
            drawn = mean + deviations(self.members, fraction * run.scales, state.generator)
            members, observed, seen = self._observe_in(run, drawn, inputs, targets)
            damping = float(kept["damping"])
            step = self._step(members, mean, observed, state.layout, damping, decaying)
            velocity = kept["velocity"].mul_(self.momentum).add_(step)
            state.layout.write(mean + velocity, state.network)
            after = float(run.loss(run.outputs(state.network, inputs), targets))
            run.meter.forward(batch_size(inputs))
            if after <= _RISE * state.losses[-1] + _LEAST:
                mean.add_(velocity)
                kept["damping"].mul_(_SHRINK).clamp_(min=self.damping)
            else:
                velocity.zero_()
                state.layout.write(mean, state.network)
                kept["damping"].mul_(_GROW)
            record(state, damping, members, observed)
            stopped = self._stepped(state, seen)
            if stopped is not None:
                return stopped
        return None

    def _fraction(self, done: int, steps: int) -> float:
        """Return the spread of a step as a fraction of the first."""
        if self.schedule == "constant":
            return 1.0
        return 0.1 + 0.9 * (1 + math.cos(math.pi * done / steps)) / 2

    def _step(
        self,
        members: torch.Tensor,
        mean: torch.Tensor,
        observed: Observed,
        layout: Layout,
        damping: float,
        decaying: torch.Tensor,
    ) -> torch.Tensor:
        """Return how the mean moves, shape (n_parameters,)."""
        varied = members - members.mean(0)
        # One over the standard deviation of the observations that weights are zero.
        decay = decaying * (self.weight_decay * observed.n_samples) ** 0.5
        step = torch.zeros_like(mean)
        for block in self._blocks(layout, members, observed):
            heard, root = block.heard()
            deviating, center = observed.deviations[:, heard] * root, observed.center[heard] * root
            index = block.index
            moving = varied if self.localization is None else varied[:, index]
            if self.weight_decay > 0:
                deviating = torch.cat([deviating, moving * decay[index]], dim=1)
                center = torch.cat([center, -mean[index] * decay[index]])
            weights = mean_weights(deviating, center, damping=damping)
            step[index] = weights.to(varied.dtype) @ moving
        return step


def _decaying(layout: Layout) -> torch.Tensor:
    """Return 1 for the numbers of parameters that decay, 0 for others, shape (n_parameters,)."""
    found = torch.zeros(layout.size)
    for _, shape, place in layout.slices():
        found[place] = float(len(shape) > 1)
    return found
