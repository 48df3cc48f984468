"""How an assimilation went."""

from __future__ import annotations

from dataclasses import dataclass

from optprune.training.assimilation.ensemble import Ensemble
from optprune.training.protocol import FitReport

__all__ = ["AssimilationReport", "Update"]


@dataclass(frozen=True)
class Update:
    """One analysis.

    Parameters
    ----------
    inflation : float
        Factor on the covariance of the observation errors.
    misfit : float
        Before it: the mean, over members and observations, of the squared innovation in units of
        the error's variance; about 1 where a model fits as well as the errors allow.
    spread : float
        After it: root mean square, over the parameters, of the members' standard deviation.
    members : int
        How many took part.
    samples : int
        In the batch.
    """

    inflation: float
    misfit: float
    spread: float
    members: int
    samples: int


@dataclass(frozen=True)
class AssimilationReport(FitReport):
    """How a fit by assimilation went.

    Parameters
    ----------
    history : tuple of Update
        Of each step.
    ensemble : Ensemble, optional
        The members at the end, or at the epoch that was best on held-out data; None for trainers
        that keep none.
    """

    history: tuple[Update, ...] = ()
    ensemble: Ensemble | None = None
