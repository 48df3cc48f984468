"""The filter of filterpy: an independent implementation, for small networks."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from optprune.errors import ArgumentError, MissingDependencyError, TrainingError
from optprune.training.assimilation.observation import Gaussian, Observed

if TYPE_CHECKING:
    from optprune.training.assimilation.enkf import EnKF

__all__ = ["LARGEST", "check_filterpy", "filterpy_analysis"]

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


def filterpy_analysis(
    members: torch.Tensor, observed: Observed, alpha: float, generator: torch.Generator
) -> torch.Tensor:
    """Condition an ensemble by filterpy.

    Parameters
    ----------
    members : Tensor of float, shape (n_members, n_parameters)
        The ensemble; not changed.
    observed : Observed
        The observations, in whitened units.
    alpha : float
        Factor on the covariance of their errors.
    generator : torch.Generator
        On the CPU; gives the seed of what filterpy draws.

    Returns
    -------
    Tensor, shape (n_members, n_parameters)
        The conditioned ensemble.

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

    n, size = members.shape
    if size > LARGEST:
        raise TrainingError(
            f"engine='filterpy' is for at most {LARGEST} parameters, and {size:,} vary: it forms "
            "their covariance, and goes over the members in Python. Take engine='ensemble', which "
            "gives the same filter, or vary fewer parameters."
        )
    count = observed.deviations.shape[1]
    predicted = -observed.innovations.double().cpu().numpy()
    kept = np.random.get_state()  # noqa: NPY002 - filterpy draws from it
    np.random.seed(int(torch.randint(2**31, (), generator=generator)))  # noqa: NPY002
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
    return torch.from_numpy(np.asarray(engine.sigmas)).to(members)


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
