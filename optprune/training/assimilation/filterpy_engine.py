"""The filter of filterpy: an independent implementation, for small networks."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from optprune.errors import ArgumentError, MissingDependencyError, TrainingError
from optprune.surgery.calling import Inputs, batch_size
from optprune.training.assimilation.ensemble import Ensemble
from optprune.training.assimilation.observation import Gaussian
from optprune.training.assimilation.report import Update

if TYPE_CHECKING:
    from optprune.training.assimilation.assimilating import Run
    from optprune.training.assimilation.enkf import EnKF

__all__ = ["LARGEST", "check_filterpy", "filterpy_update"]

LARGEST = 500
"""Parameters that filterpy's filter is used for at most."""


def check_filterpy(trainer: EnKF) -> None:
    """Raise unless filterpy can do what a trainer asks for.

    Raises
    ------
    ArgumentError
        If it cannot.
    MissingDependencyError
        If it is not installed.
    """
    try:
        import filterpy.kalman  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "EnKF: engine='filterpy' needs filterpy: pip install filterpy."
        ) from error
    asked = {
        "form": trainer.form != "perturbed",
        "localization": trainer.localization is not None,
        "inflation": trainer.inflation is not None,
        "observation": not isinstance(trainer.observation, Gaussian),
    }
    wrong = [name for name, is_wrong in asked.items() if is_wrong]
    if wrong:
        raise ArgumentError(
            "EnKF: engine='filterpy' knows perturbed Gaussian observations only, without "
            f"localization and inflation; got {', '.join(f'`{name}`' for name in wrong)}. Leave "
            "these out, or take engine='ensemble'."
        )


def filterpy_update(
    trainer: EnKF,
    run: Run,
    members: torch.Tensor,
    inputs: Inputs,
    targets: torch.Tensor,
    alpha: float,
) -> None:
    """Condition the members by filterpy, and give the network their mean.

    Parameters
    ----------
    trainer : EnKF
        Its observation gives the errors.
    run : Run
        The fit.
    members : Tensor of float, shape (n_members, n_parameters)
        The ensemble; not changed.
    inputs, targets
        The batch.
    alpha : float
        Factor on the covariance of the errors.

    Raises
    ------
    TrainingError
        If there are too many parameters.

    Notes
    -----
    In whitened units, so that the covariance of the errors is `alpha` times the identity. What
    filterpy draws comes from numpy's global generator, which is seeded for the call and put back.
    """
    from filterpy.kalman import EnsembleKalmanFilter

    state, size = run.state, members.shape[1]
    if size > LARGEST:
        raise TrainingError(
            f"engine='filterpy' is for at most {LARGEST} parameters, and {size:,} vary: it forms "
            "their covariance, and goes over the members in Python. Take engine='ensemble', which "
            "gives the same filter, or vary fewer parameters."
        )
    members, observed = trainer._observed(run, members, inputs, targets)
    n, count = observed.deviations.shape
    predicted = -observed.innovations.double().cpu().numpy()
    kept = np.random.get_state()  # noqa: NPY002 - filterpy draws from it
    np.random.seed(int(torch.randint(2**31, (), generator=state.generator)))  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            engine = EnsembleKalmanFilter(
                x=np.zeros(size),
                P=np.eye(size),
                dim_z=count,
                dt=1.0,
                N=n,
                hx=_Rows(predicted),
                fx=_stay,
            )
            engine.sigmas = members.double().cpu().numpy().copy()
            engine.x = engine.sigmas.mean(0)
            engine.update(np.zeros(count), alpha * np.eye(count))
    finally:
        np.random.set_state(kept)  # noqa: NPY002
    conditioned = torch.from_numpy(np.asarray(engine.sigmas)).to(members)
    state.tensors_kept["members"] = conditioned
    ensemble = Ensemble(state.network, state.layout, conditioned)
    state.layout.write(ensemble.mean, state.network)
    state.history.append(
        Update(
            inflation=alpha,
            misfit=float(observed.innovations.square().mean()),
            spread=ensemble.spread,
            members=n,
            samples=batch_size(inputs),
        )
    )


class _Rows:
    """Gives what each member predicts, in the order in which filterpy asks."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = iter(rows)

    def __call__(self, _: np.ndarray) -> np.ndarray:
        found: np.ndarray = next(self._rows)
        return found


def _stay(weights: np.ndarray, _: float) -> np.ndarray:
    """Forecast weights: they do not change."""
    return weights
