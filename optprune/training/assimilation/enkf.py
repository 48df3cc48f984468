"""The ensemble Kalman filter: observations as they arrive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from optprune.errors import ArgumentError
from optprune.surgery.calling import Inputs, call, evaluating
from optprune.training.assimilation.assimilating import Run, batches, check_network
from optprune.training.assimilation.coefficients import check_count
from optprune.training.assimilation.ensemble import Ensemble
from optprune.training.assimilation.filterpy_engine import check_filterpy, filterpy_analysis
from optprune.training.assimilation.observation import Observed
from optprune.training.assimilation.smoothing import Smoothing
from optprune.training.assimilation.state import AssimilationState
from optprune.training.hooks import Hooks

__all__ = ["EnKF"]


@dataclass(frozen=True, kw_only=True)
class EnKF(Smoothing):
    r"""Ensemble Kalman filter: a batch of observations at a time, each used as it arrives.

    Parameters
    ----------
    members, observation, spread, parameters, localization, form, solver, energy, inflation
        As for `ESMDA`.
    held_out, patience, vectorized, hooks, checkpoint, checkpoint_every, progress
        As for `ESMDA`. `assimilate` calls no hooks, and refuses them.
    passes : int, default 1
        Passes over the data.
    batch_size : int, default 1
        Samples of one analysis.
    tempered : bool, default True
        Whether the covariance of the errors is multiplied by `passes`, so that the data counts
        once in all. Without it the data counts `passes` times, and too little spread is left.
    engine : {"ensemble", "filterpy"}
        Ours, in the space of the members; or filterpy's ``EnsembleKalmanFilter``, an independent
        implementation for comparison: it forms the covariance of all parameters, goes from member
        to member in Python, and is refused beyond 500 parameters. It knows perturbed observations
        and `Gaussian` only, without localization or inflation.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If a parameter cannot be used.
    MissingDependencyError
        If `engine` is "filterpy" and it is not installed.

    Notes
    -----
    Weights do not change between observations, so that the filter's forecast is the identity. For
    a linear model and many members, the order and the size of the batches do not matter. The order
    is drawn anew for each pass where `batch_size` is less than the data; `assimilate` takes
    batches in the order in which they are handed over.

    References
    ----------
    .. [1] G. Burgers, P. J. van Leeuwen and G. Evensen, Analysis scheme in the ensemble Kalman
       filter, Monthly Weather Review 126, 1998 (perturbed observations).
    .. [2] C. Chen et al., A novel neural network training framework with data assimilation,
       arXiv:2010.02626, 2020 (networks; settings not published).
    """

    passes: int = 1
    batch_size: int = 1
    tempered: bool = True
    engine: Literal["ensemble", "filterpy"] = "ensemble"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("passes", self.passes)
        check_count("batch_size", self.batch_size)
        if self.engine not in ("ensemble", "filterpy"):
            raise ArgumentError(
                f"EnKF: `engine` must be 'ensemble' or 'filterpy', not {self.engine!r}."
            )
        if self.engine == "filterpy":
            check_filterpy(self)

    def assimilate(
        self,
        ensemble: Ensemble,
        inputs: Inputs,
        targets: torch.Tensor,
        *,
        outputs: Callable[[nn.Module, Inputs], torch.Tensor] = call,
        generator: torch.Generator,
    ) -> Ensemble:
        """Take in one batch of a stream of observations.

        Parameters
        ----------
        ensemble : Ensemble
            As ``Ensemble.draw`` or an earlier call returned it; not changed, but its network is
            given the mean of the members.
        inputs : Tensor, tuple of Tensor, or dict of str to Tensor
            Of the batch.
        targets : Tensor, shape (n_samples, ...)
            Of the batch.
        outputs : callable
            ``outputs(network, inputs)``; by default what the network returns.
        generator : torch.Generator
            On the CPU.

        Returns
        -------
        Ensemble
            Conditioned on the batch.

        Raises
        ------
        TrainingError
            As in `fit`.
        ArgumentError
            As in `fit`, and where there are hooks: there is no loss here, nor a last step.
        """
        if self.hooks != Hooks():
            raise ArgumentError(
                "EnKF: `assimilate` calls no hooks: it knows neither a loss nor how many steps "
                "there are. Leave `hooks` out, and change the members between two calls."
            )
        network, layout = ensemble.network, ensemble.layout
        check_network(network)
        scales = layout.scales(self.spread, owner="EnKF").to(ensemble.members)
        state = AssimilationState(network, layout, generator, {})
        layout.write(ensemble.mean, network)
        with torch.no_grad(), evaluating(network):
            members = ensemble.members.clone()
            members, _, observed = self._observe(state, members, inputs, targets, outputs)
            self._condition(state, members, observed, 1.0, scales)
        return Ensemble(network, layout, state.tensors_kept["members"])

    def _passes(self) -> int:
        return self.passes

    def _steps(self, samples: int) -> int:
        return -(-samples // self.batch_size)

    def _pass(self, run: Run) -> str | None:
        state, alpha = run.state, float(self.passes) if self.tempered else 1.0
        for inputs, targets in batches(run.train, self.batch_size, state.generator):
            members = state.tensors_kept["members"]
            members, observed, step = self._observe_in(run, members, inputs, targets)
            self._condition(state, members, observed, alpha, run.scales)
            stopped = self._stepped(state, step)
            if stopped is not None:
                return stopped
        return None

    def _analyze(
        self, state: AssimilationState, members: torch.Tensor, observed: Observed, alpha: float
    ) -> torch.Tensor:
        if self.engine == "filterpy":
            return filterpy_analysis(members, observed, alpha, state.generator)
        return super()._analyze(state, members, observed, alpha)
