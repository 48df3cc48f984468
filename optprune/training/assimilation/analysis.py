r"""One analysis of ensemble Kalman methods, in the space of the members.

Let :math:`\Theta` (n × p) hold the members, one in a row, Y (n × d) what they predict,
:math:`\Delta` their deviations from the mean, and

.. math::
    A = \Delta Y (\alpha C_D)^{-1/2}, \qquad
    R_j = (\alpha C_D)^{-1/2} (d + \sqrt\alpha e_j - Y_j), \quad e_j \sim N(0, C_D).

The Kalman update :math:`\Theta_j + C_{MD} (C_{DD} + \alpha C_D)^{-1} (d + \sqrt\alpha e_j - Y_j)`
with covariances of the ensemble is then

.. math::
    \Theta \leftarrow \Theta + R A^\top (A A^\top + (n - 1) I)^{-1} \Delta\Theta ,

since :math:`A^\top (A A^\top + c I)^{-1} = (A^\top A + c I)^{-1} A^\top`. All is in matrices of
n × n but three products: :math:`A A^\top` and :math:`R A^\top` (2 n² d) and the last one (n² p);
with fewer observations than members the system that is solved is d × d, by the right-hand side.
The cost is linear in the observations and in the parameters; nothing of p × d, p² or d² is made.

References
----------
.. [1] A. A. Emerick and A. C. Reynolds, Ensemble smoother with multiple data assimilation,
   Computers & Geosciences 55, 2013, doi:10.1016/j.cageo.2012.03.011.
.. [2] G. Evensen, Data Assimilation: The Ensemble Kalman Filter, 2nd ed., Springer 2009.
.. [3] B. R. Hunt, E. J. Kostelich and I. Szunyogh, Efficient data assimilation for spatiotemporal
   chaos: a local ensemble transform Kalman filter, Physica D 230, 2007,
   doi:10.1016/j.physd.2006.11.008 (symmetric square root; weights of observations).
.. [4] P. Sakov and P. R. Oke, A deterministic formulation of the ensemble Kalman filter,
   Tellus A 60, 2008, doi:10.1111/j.1600-0870.2007.00299.x (DEnKF).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch

from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError
from optprune.training.assimilation.noise import Noise

__all__ = ["FORMS", "SOLVERS", "Form", "Solver", "analysis", "apply", "mean_weights", "transform"]

Form: TypeAlias = Literal["perturbed", "etkf", "denkf"]
Solver: TypeAlias = Literal["cholesky", "svd"]

FORMS: tuple[Form, ...] = ("perturbed", "etkf", "denkf")
SOLVERS: tuple[Solver, ...] = ("cholesky", "svd")

_COLUMNS = {"cpu": 1 << 11, "cuda": 1 << 18}
"""Parameters that are updated at a time: on a CPU so few that they stay in its cache."""


def analysis(
    members: torch.Tensor,
    predictions: torch.Tensor,
    observed: torch.Tensor,
    covariance: float | torch.Tensor,
    *,
    inflation: float = 1.0,
    form: Form = "perturbed",
    solver: Solver = "cholesky",
    energy: float = 1.0,
    generator: torch.Generator | None = None,
    block: int | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Condition an ensemble on observations.

    Parameters
    ----------
    members : Tensor of float, shape (n_members, n_parameters)
        The ensemble; at least two members. Not changed, unless it is `out` too.
    predictions : Tensor of float, shape (n_members, n_observations)
        What each member predicts for the observations.
    observed : Tensor of float, shape (n_observations,)
        The observations.
    covariance : float or Tensor, shape (n_observations,) or (n_observations, n_observations)
        Of their errors: one variance, one for each, or a dense matrix.
    inflation : float, default 1
        Factor :math:`\alpha` on the covariance, for multiple data assimilation; positive.
    form : {"perturbed", "etkf", "denkf"}
        Each member with observations perturbed by errors of its own, which is random; the
        deviations by the symmetric square root [1]_, which has the exact covariance of the Kalman
        update; or the deviations by half of the gain [2]_, which is close to it for small gains.
    solver : {"cholesky", "svd"}
        By the Gram matrix of the whitened deviations (2 n² d), or by their singular values (about
        6 n² d), which also bears tiny errors of observations and can be truncated.
    energy : float, default 1
        For "svd": the least number of singular values is kept that has this share of their sum.
    generator : torch.Generator, optional
        On the CPU; draws the perturbations, by default torch's global one.
    block : int, optional
        Parameters that are updated at a time: memory beside the ensemble is n × block. By default
        what is fast on the device.
    out : Tensor, shape (n_members, n_parameters), optional
        Where to write; may be `members`.

    Returns
    -------
    Tensor, shape (n_members, n_parameters)
        The conditioned ensemble, of the type of `members`.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If an argument cannot be used: fewer than two members, shapes that do not fit, values that
        are not finite, a covariance that is not positive definite.

    References
    ----------
    .. [1] B. R. Hunt, E. J. Kostelich and I. Szunyogh, Efficient data assimilation for
       spatiotemporal chaos: a local ensemble transform Kalman filter, Physica D 230, 2007,
       doi:10.1016/j.physd.2006.11.008.
    .. [2] P. Sakov and P. R. Oke, A deterministic formulation of the ensemble Kalman filter,
       Tellus A 60, 2008, doi:10.1111/j.1600-0870.2007.00299.x.
    """
    owner = "analysis"
    n = _check_ensemble(owner, members, predictions, observed)
    alpha = check_positive(owner, "inflation", inflation)
    if block is not None and (isinstance(block, bool) or not isinstance(block, int) or block < 1):
        raise ArgumentError(f"{owner}: `block` must be a positive integer, got {block!r}.")
    if out is not None and (out.shape, out.dtype) != (members.shape, members.dtype):
        raise ArgumentError(f"{owner}: `out` must be of the shape and type of `members`.")
    noise = Noise.of(covariance, observed.numel(), owner=owner, like=predictions)
    scale = alpha**-0.5
    deviations = noise.whiten(predictions - predictions.mean(0)).mul_(scale)
    innovations = noise.whiten(observed - predictions).mul_(scale)
    if form == "perturbed":
        innovations += perturbations(n, observed.numel(), like=innovations, generator=generator)
    matrix = transform(deviations, innovations, form=form, solver=solver, energy=energy)
    return apply(matrix, members, block=block, out=out)


def perturbations(
    members: int, observations: int, *, like: torch.Tensor, generator: torch.Generator | None
) -> torch.Tensor:
    """Draw errors of observations in whitened units, with a mean of exactly zero over the members.

    Parameters
    ----------
    members, observations : int
        How many.
    like : Tensor
        Gives device and type.
    generator : torch.Generator, optional
        On the CPU, so that a seed gives the same numbers on every device.

    Returns
    -------
    Tensor, shape (members, observations)
        Centered, so that their covariance with a divisor of n - 1, which the analysis takes, has
        the expectation of the identity.
    """
    drawn = torch.randn(members, observations, generator=generator, dtype=like.dtype)
    drawn -= drawn.mean(0)
    return drawn.to(like.device)


def transform(
    deviations: torch.Tensor,
    innovations: torch.Tensor,
    *,
    form: Form = "perturbed",
    solver: Solver = "cholesky",
    energy: float = 1.0,
) -> torch.Tensor:
    """Return the matrix that turns the ensemble into the conditioned one.

    Parameters
    ----------
    deviations : Tensor of float, shape (n_members, n_observations)
        Of the predictions from their mean, whitened: A.
    innovations : Tensor of float, shape (n_members, n_observations)
        Observations less predictions, whitened: R; with errors of their own for
        ``form="perturbed"``. Otherwise only their mean counts.
    form, solver, energy
        See `analysis`.

    Returns
    -------
    Tensor of float64, shape (n_members, n_members)
        T: row j has the weights of all members in the new member j.

    Raises
    ------
    ArgumentError
        If `form`, `solver` or `energy` cannot be used.
    TrainingError
        If values are so large that the system cannot be solved.
    """
    _check_form(form, solver, energy)
    n = len(deviations)
    eye = torch.eye(n, dtype=torch.float64, device=deviations.device)
    center = eye - 1.0 / n
    given = innovations if form == "perturbed" else innovations.mean(0, keepdim=True)
    spectral = _spectrum(deviations, form, solver, energy)
    if spectral is None:
        weights = _gain(deviations, given, n - 1)
        half = _gain(deviations, deviations, n - 1) if form == "denkf" else eye
    else:
        vectors, values = spectral
        right = (given @ deviations.T).double()
        weights = ((right @ vectors) / (values + (n - 1))) @ vectors.T
        shrunk = values / (values + (n - 1))
        half = (vectors * shrunk) @ vectors.T
    if form == "perturbed":
        return eye + weights @ center
    if form == "denkf":
        spread = eye - 0.5 * half
    else:
        assert spectral is not None
        root = (1 + values / (n - 1)).rsqrt() - 1
        spread = eye + (vectors * root) @ vectors.T
    return 1.0 / n + (weights + spread) @ center


def mean_weights(
    deviations: torch.Tensor, innovation: torch.Tensor, *, damping: float = 1.0
) -> torch.Tensor:
    """Return how far the mean moves along each member's deviation.

    Parameters
    ----------
    deviations : Tensor of float, shape (n_members, n_observations)
        Of the predictions, whitened: A.
    innovation : Tensor of float, shape (n_observations,)
        Observations less the mean's predictions, whitened.
    damping : float, default 1
        Weight of the prior.

    Returns
    -------
    Tensor of float64, shape (n_members,)
        :math:`r A^T (A A^T + (n - 1) damping I)^{-1}`.

    Raises
    ------
    TrainingError
        If values are so large that the system cannot be solved.
    """
    return _gain(deviations, innovation[None], (len(deviations) - 1) * damping)[0]


def apply(
    matrix: torch.Tensor,
    members: torch.Tensor,
    *,
    block: int | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Multiply an ensemble by a matrix of members, some parameters at a time.

    Parameters
    ----------
    matrix : Tensor of float, shape (n_new, n_members)
        As `transform` returns it.
    members : Tensor of float, shape (n_members, n_parameters)
        The ensemble.
    block : int, optional
        Parameters at a time; by default what is fast on the device.
    out : Tensor, shape (n_new, n_parameters), optional
        Where to write; may be `members` where ``n_new == n_members``.

    Returns
    -------
    Tensor, shape (n_new, n_parameters)
        Of the type of `members`.

    Notes
    -----
    In less than float64, the identity is added apart from the product, so that parameters that
    hardly move are not rounded.
    """
    change = matrix.clone()
    square = len(matrix) == len(members)
    if square:
        change.diagonal().sub_(1.0)
    change = change.to(members.dtype)
    if out is None:
        out = torch.empty(len(matrix), members.shape[1], dtype=members.dtype, device=members.device)
    if block is None:
        block = _COLUMNS.get(members.device.type, max(_COLUMNS.values()))
    for start in range(0, members.shape[1], block):
        part = members[:, start : start + block].clone()
        target = out[:, start : start + block]
        if square:
            target.copy_(part).addmm_(change, part)
        else:
            target.copy_(change @ part)
    return out


def check_positive(owner: str, name: str, value: object) -> float:
    """Return a positive finite number.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ArgumentTypeError(f"{owner}: `{name}` must be a number, not {value!r}.")
    if not 0 < value < float("inf"):
        raise ArgumentError(f"{owner}: `{name}` must be a positive number, got {value!r}.")
    return float(value)


def _spectrum(
    deviations: torch.Tensor, form: Form, solver: Solver, energy: float
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return eigenvectors and eigenvalues of A Aᵀ; or None where these are not needed."""
    if solver == "svd":
        vectors, singular, _ = torch.linalg.svd(deviations, full_matrices=False)
        vectors, singular = vectors.double(), singular.double()
        if energy < 1:
            share = singular.cumsum(0) / singular.sum().clamp_min(torch.finfo(torch.float64).tiny)
            kept = int((share < energy).sum()) + 1
            vectors, singular = vectors[:, :kept], singular[:kept]
        return vectors, singular.square()
    if form == "etkf":
        values, vectors = torch.linalg.eigh((deviations @ deviations.T).double())
        return vectors, values.clamp_min_(0)
    return None


def _gain(deviations: torch.Tensor, given: torch.Tensor, ridge: float) -> torch.Tensor:
    """Return R Aᵀ (A Aᵀ + c I)⁻¹ in float64, by the smaller of A Aᵀ and Aᵀ A.

    Parameters
    ----------
    deviations : Tensor of float, shape (n_members, n_observations)
        A.
    given : Tensor of float, shape (n_rows, n_observations)
        R.
    ridge : float
        c, positive.

    Returns
    -------
    Tensor of float64, shape (n_rows, n_members)
    """
    few = deviations.shape[1] < len(deviations)
    gram = (deviations.T @ deviations if few else deviations @ deviations.T).double()
    gram.diagonal().add_(ridge)
    if few:
        return _solved(gram, given.double()) @ deviations.double().T
    return _solved(gram, (given @ deviations.T).double())


def _solved(matrix: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return ``right @ inverse(matrix)`` of a positive definite matrix."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed) or not bool(torch.isfinite(factor).all()):
        raise TrainingError(
            "The analysis cannot be solved: predictions differ by too much for the errors of the "
            "observations, or are not finite. Take a smaller spread, larger errors, or "
            "solver='svd'."
        )
    return torch.cholesky_solve(right.T, factor).T


def _check_form(form: str, solver: str, energy: float) -> None:
    if form not in FORMS:
        raise ArgumentError(f"`form` must be one of {', '.join(map(repr, FORMS))}, not {form!r}.")
    if solver not in SOLVERS:
        raise ArgumentError(f"`solver` must be 'cholesky' or 'svd', not {solver!r}.")
    if not 0 < energy <= 1:
        raise ArgumentError(f"`energy` must be above 0 and at most 1, got {energy!r}.")
    if energy < 1 and solver != "svd":
        raise ArgumentError(f"energy={energy} needs singular values: give solver='svd'.")


def _check_ensemble(
    owner: str, members: torch.Tensor, predictions: torch.Tensor, observed: torch.Tensor
) -> int:
    """Return the number of members."""
    for name, value, dims in (
        ("members", members, 2),
        ("predictions", predictions, 2),
        ("observed", observed, 1),
    ):
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            raise ArgumentTypeError(f"{owner}: `{name}` must be a tensor of floats, not {value!r}.")
        if value.dim() != dims:
            raise ArgumentError(
                f"{owner}: `{name}` must have {dims} dimension{'s' * (dims > 1)}, got shape "
                f"{tuple(value.shape)}."
            )
        if not _finite(value):
            remedy = (
                "leave out the rows of members that diverged" if dims == 2 else "leave those out"
            )
            raise ArgumentError(f"{owner}: `{name}` holds values that are not finite: {remedy}.")
    n = len(members)
    if n < 2:
        raise ArgumentError(f"{owner}: an ensemble has at least two members, got {n}.")
    if predictions.shape != (n, observed.numel()):
        raise ArgumentError(
            f"{owner}: `predictions` must have shape ({n}, {observed.numel()}) for {n} members "
            f"and {observed.numel()} observations, got {tuple(predictions.shape)}."
        )
    return n


def _finite(values: torch.Tensor) -> bool:
    """Say whether all values are finite: by their sum, which is fast, unless it overflows."""
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())
