"""What is observed: how outputs and targets become deviations and innovations without units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError
from optprune.training.assimilation.analysis import check_positive
from optprune.training.assimilation.noise import Noise

__all__ = ["BinaryCrossEntropy", "CrossEntropy", "Gaussian", "Observation", "Observed"]

_TOLERANCE = 0.01
"""How far probabilities may be from being at least 0 and summing to 1: half precision is."""


@dataclass(frozen=True, eq=False)
class Observed:
    """Observations of one batch in whitened units, where their errors have variance 1.

    Parameters
    ----------
    deviations : Tensor of float, shape (n_members, n_observations)
        Of the members' predictions from their mean.
    innovations : Tensor of float, shape (n_members, n_observations)
        Observations less each member's predictions.
    center : Tensor of float, shape (n_observations,)
        Observations less the predictions of the mean network.
    n_outputs : int
        Observations of one sample: observation i belongs to output ``i % n_outputs``.
    """

    deviations: torch.Tensor
    innovations: torch.Tensor
    center: torch.Tensor
    n_outputs: int

    @property
    def n_samples(self) -> int:
        """Samples in the batch."""
        return self.deviations.shape[1] // self.n_outputs


@runtime_checkable
class Observation(Protocol):
    """Says what of the outputs is observed, and with which errors."""

    def observe(
        self, predictions: torch.Tensor, center: torch.Tensor, targets: torch.Tensor
    ) -> Observed:
        """Set predictions against targets.

        Parameters
        ----------
        predictions : Tensor of float, shape (n_members, n_samples, ...)
            The outputs of each member.
        center : Tensor of float, shape (n_samples, ...)
            The outputs of the network with the mean weights.
        targets : Tensor, shape (n_samples, ...)
            Values, or the labels of classes.

        Returns
        -------
        Observed
            In whitened units.

        Raises
        ------
        TrainingError
            If outputs and targets do not fit together.
        """
        ...


@dataclass(frozen=True)
class Gaussian:
    """Targets are outputs with normal errors: regression, also on one-hot labels.

    Parameters
    ----------
    std : float or tuple of float, default 0.1
        Standard deviation of the errors, of all outputs or of each, in the units of the targets.
        It regularizes: the smaller, the closer the fit, and the less spread is left.
    covariance : tuple of tuple of float, optional
        Of the errors of one sample's outputs, in place of `std`; samples are independent.
    softmax : bool
        Whether the outputs are logits, and their softmax is set against the targets.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If `std` is not positive or `covariance` not positive definite.

    Notes
    -----
    Labels of classes become one-hot vectors of as many entries as there are outputs.
    """

    std: float | tuple[float, ...] = 0.1
    covariance: tuple[tuple[float, ...], ...] | None = None
    softmax: bool = False

    def __post_init__(self) -> None:
        values: Sequence[float] = self.std if isinstance(self.std, tuple) else (self.std,)
        if not values:
            raise ArgumentError("Gaussian: `std` must hold a number for each output, got none.")
        for value in values:
            check_positive("Gaussian", "std", value)
        if self.covariance is not None:
            try:
                rows = tuple(tuple(float(v) for v in row) for row in self.covariance)
            except (TypeError, ValueError) as error:
                raise ArgumentTypeError(
                    f"Gaussian: `covariance` must be rows of numbers, not {self.covariance!r}."
                ) from error
            if not rows or any(len(row) != len(rows) for row in rows):
                raise ArgumentError(
                    "Gaussian: `covariance` must have as many rows as columns, got rows of "
                    f"{[len(row) for row in rows]} numbers."
                )
            object.__setattr__(self, "covariance", rows)
            self._noise(len(rows), torch.zeros((), dtype=torch.float64))

    def observe(
        self, predictions: torch.Tensor, center: torch.Tensor, targets: torch.Tensor
    ) -> Observed:
        """Set outputs against targets; see `Observation.observe`."""
        outputs = predictions.reshape(*predictions.shape[:2], -1)
        middle = center.reshape(len(center), -1)
        if self.softmax:
            if center.dim() != 2 or center.shape[1] < 2:
                raise TrainingError(
                    "Gaussian(softmax=True) needs outputs of shape (n_samples, n_classes) with two "
                    f"classes or more, got {tuple(center.shape)}."
                )
            outputs, middle = outputs.softmax(-1), middle.softmax(-1)
        wanted = _values(targets, middle)
        noise = self._noise(middle.shape[1], middle)
        return Observed(
            noise.whiten(outputs - outputs.mean(0)).flatten(1),
            noise.whiten(wanted - outputs).flatten(1),
            noise.whiten(wanted - middle).flatten(),
            middle.shape[1],
        )

    def _noise(self, outputs: int, like: torch.Tensor) -> Noise:
        """Return the noise of one sample."""
        if self.covariance is not None:
            dense = torch.tensor(self.covariance, dtype=torch.float64)
            return Noise.of(dense, outputs, owner="Gaussian", like=like)
        if isinstance(self.std, tuple):
            variances = torch.tensor(self.std, dtype=torch.float64).square()
            return Noise.of(variances, outputs, owner="Gaussian", name="std", like=like)
        return Noise.of(float(self.std) ** 2, outputs, owner="Gaussian", name="std", like=like)


@dataclass(frozen=True)
class CrossEntropy:
    r"""Labels of classes under the softmax of the outputs, linearized anew at each analysis.

    Parameters
    ----------
    temperature : float, default 1
        The cross-entropy counts 1 / temperature; above 1 the labels are trusted less.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If `temperature` is not positive.
    TrainingError
        In a fit, if targets are neither labels of the classes that the network has outputs for nor
        their probabilities: not negative, with a sum of 1 for each sample, both within 0.01.

    Notes
    -----
    With logits z of the mean network, :math:`p = \mathrm{softmax}(z)` and the target distribution y
    (one-hot, or given), the cross-entropy has gradient :math:`p - y` and Hessian
    :math:`\mathrm{diag}(p) - p p^\top`. Whitened by a factor of that Hessian, the deviations of
    the logits are :math:`\sqrt{p_k} (\Delta z_k - p^\top \Delta z)` and the innovation is
    :math:`(y_k - p_k) / \sqrt{p_k}`, so that the analysis takes a Gauss-Newton step on the
    cross-entropy in the span of the members: pseudo-observations of the logits with error
    covariance :math:`(\mathrm{diag}(p) - p p^\top)^+` (the iteratively re-weighted least squares of
    logistic regression). Probabilities below 1e-6 count as 1e-6.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive("CrossEntropy", "temperature", self.temperature)

    def observe(
        self, predictions: torch.Tensor, center: torch.Tensor, targets: torch.Tensor
    ) -> Observed:
        """Set logits against labels; see `Observation.observe`."""
        if center.dim() != 2 or center.shape[1] < 2:
            raise TrainingError(
                "CrossEntropy needs outputs of shape (n_samples, n_classes) with two classes or "
                f"more, got {tuple(center.shape)}; Gaussian takes any."
            )
        chances = center.softmax(-1)
        wanted = _values(targets, chances)
        _check_probabilities(wanted)
        root = chances.clamp_min(1e-6).sqrt()
        moved = predictions - predictions.mean(0)
        deviations = root * (moved - (chances * moved).sum(-1, keepdim=True))
        innovation = (wanted - chances) / root
        factor = self.temperature**-0.5
        deviations = deviations.mul_(factor).flatten(1)
        innovation = innovation.mul_(factor).flatten()
        return Observed(deviations, innovation - deviations, innovation, center.shape[1])


@dataclass(frozen=True)
class BinaryCrossEntropy:
    r"""Each output is the logit of a yes or no of its own, linearized anew at each analysis.

    For several labels at once, and for classes one against the rest: as nothing mixes the outputs,
    `OutputBlocks` and `Mask` are exact with it wherever the network keeps outputs apart too.

    Parameters
    ----------
    temperature : float, default 1
        The cross-entropy counts 1 / temperature; above 1 the targets are trusted less.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If `temperature` is not positive.
    TrainingError
        In a fit, if targets are neither labels of the classes that the network has outputs for nor
        a probability for each output, within 0.01.

    Notes
    -----
    With logits z of the mean network, :math:`p = \sigma(z)` and targets y (labels become one-hot
    vectors), the sum over the outputs of their cross-entropies has gradient :math:`p - y` and
    Hessian :math:`\mathrm{diag}(v)`, :math:`v = p (1 - p)`: the whitened deviations are
    :math:`\sqrt{v} \, \Delta z` and the innovation is :math:`(y - p) / \sqrt{v}`, a Gauss-Newton
    step as with `CrossEntropy`. Variances below 1e-6 count as 1e-6.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive("BinaryCrossEntropy", "temperature", self.temperature)

    def observe(
        self, predictions: torch.Tensor, center: torch.Tensor, targets: torch.Tensor
    ) -> Observed:
        """Set logits against labels; see `Observation.observe`."""
        logits = center.reshape(len(center), -1)
        outputs = predictions.reshape(*predictions.shape[:2], -1)
        chances = logits.sigmoid()
        wanted = _values(targets, chances)
        low, high = float(wanted.min()), float(wanted.max())
        if low < -_TOLERANCE or high > 1 + _TOLERANCE:
            raise TrainingError(
                "BinaryCrossEntropy needs targets that are labels of classes, or a probability "
                f"from 0 to 1 for each output; data has values from {low:.4g} to {high:.4g}. Take "
                "Gaussian for values of another kind."
            )
        root = (chances * (1 - chances)).clamp_min(1e-6).sqrt()
        factor = self.temperature**-0.5
        deviations = (root * (outputs - outputs.mean(0))).mul_(factor).flatten(1)
        innovation = ((wanted - chances) / root).mul_(factor).flatten()
        return Observed(deviations, innovation - deviations, innovation, logits.shape[1])


def _values(targets: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Return targets in the shape of the outputs, labels as one-hot vectors.

    Raises
    ------
    TrainingError
        If they do not fit.
    """
    given = targets
    if not targets.is_floating_point() and targets.dim() == 1 and outputs.shape[1] > 1:
        labels = targets.long()
        if bool((labels < 0).any()) or bool((labels >= outputs.shape[1]).any()):
            raise TrainingError(
                f"data has labels from {int(labels.min())} to {int(labels.max())}, but the "
                f"network has outputs for the classes 0 to {outputs.shape[1] - 1}. Number the "
                "classes from 0, leave these samples out, or give the network more outputs."
            )
        given = torch.nn.functional.one_hot(labels, outputs.shape[1])
    found = given.to(outputs).reshape(len(given), -1)
    if found.shape != outputs.shape:
        raise TrainingError(
            f"data has targets of shape {tuple(targets.shape)}, which does not fit outputs of "
            f"shape {tuple(outputs.shape)}."
        )
    if not bool(torch.isfinite(found).all()):
        raise TrainingError("data has targets that are not finite: leave these samples out.")
    return found


def _check_probabilities(wanted: torch.Tensor) -> None:
    """Raise unless each row, shape (n_samples, n_classes), is a distribution over the classes.

    Raises
    ------
    TrainingError
        If one is not, beyond the tolerance.
    """
    totals, least = wanted.sum(-1), float(wanted.min())
    low, high = float(totals.min()), float(totals.max())
    if least < -_TOLERANCE or low < 1 - _TOLERANCE or high > 1 + _TOLERANCE:
        raise TrainingError(
            "CrossEntropy needs targets that are labels, or probabilities of the classes; data has "
            f"targets with a least value of {least:.4g}, and sums over the classes from {low:.4g} "
            f"to {high:.4g}. Give the softmax of logits, divide counts by their sum, or take "
            "Gaussian for values of another kind."
        )


def check_observation(owner: str, observation: object) -> None:
    """Raise unless something is an `Observation`.

    Raises
    ------
    ArgumentTypeError
        If it is none.
    """
    if isinstance(observation, type) or not isinstance(observation, Observation):
        raise ArgumentTypeError(
            f"{owner}: `observation` must be Gaussian(…), CrossEntropy(), BinaryCrossEntropy() or "
            f"an object with a method observe, not {observation!r}."
        )
