"""The errors of observations: what their covariance is, and how it is divided out."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from optprune.errors import ArgumentError, ArgumentTypeError

__all__ = ["Noise"]


@dataclass(frozen=True, eq=False)
class Noise:
    r"""A covariance of observation errors, held as the factor that whitens.

    Whitening divides by the errors' standard deviation: by the standard deviations of a diagonal
    covariance, by the lower Cholesky factor L of a dense one, :math:`C = L L^\top`. In whitened
    units the errors are independent standard normal, and neither C nor its inverse is needed again.

    Parameters
    ----------
    factor : Tensor, shape () or (d,) or (d, d)
        Standard deviations, or the lower Cholesky factor.
    """

    factor: torch.Tensor

    @classmethod
    def of(
        cls,
        covariance: float | torch.Tensor,
        size: int,
        *,
        owner: str,
        name: str = "covariance",
        like: torch.Tensor | None = None,
    ) -> Noise:
        """Factor a covariance.

        Parameters
        ----------
        covariance : float or Tensor, shape () or (size,) or (size, size)
            One variance for all, a variance for each observation, or a dense covariance.
        size : int
            The number of observations.
        owner, name : str
            Who takes it, and under which name; for messages.
        like : Tensor, optional
            Gives device and floating-point type.

        Raises
        ------
        ArgumentTypeError
            If it is no number and no tensor.
        ArgumentError
            If its shape does not fit, or it is not positive definite, or a dense one not symmetric.
        """
        try:
            # A number is not rounded to the default type on its way to that of `like`.
            wide = torch.float64 if isinstance(covariance, (int, float)) else None
            values = torch.as_tensor(covariance, dtype=wide)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ArgumentTypeError(
                f"{owner}: `{name}` must be a number or a tensor, not {covariance!r}."
            ) from error
        if not values.is_floating_point():
            values = values.to(torch.get_default_dtype())
        if like is not None:
            values = values.to(like)
        if values.shape not in ((), (size,), (size, size)):
            raise ArgumentError(
                f"{owner}: `{name}` must be one number, {size} variances or a {size} × {size} "
                f"matrix, as there are {size} observations; got shape {tuple(values.shape)}."
            )
        remedy = f"{owner}: `{name}` must be positive definite"
        if not bool(torch.isfinite(values).all()):
            raise ArgumentError(f"{remedy}; it holds values that are not finite.")
        if values.dim() < 2:
            if not bool((values > 0).all()):
                raise ArgumentError(f"{remedy}: its least variance is {float(values.min()):g}.")
            return cls(values.sqrt())
        if not torch.allclose(values, values.T, rtol=1e-5, atol=1e-8 * float(values.abs().max())):
            raise ArgumentError(f"{remedy}, and so symmetric; it is not symmetric.")
        factor, failed = torch.linalg.cholesky_ex(values)
        if int(failed):
            least = float(torch.linalg.eigvalsh(values.double())[0])
            raise ArgumentError(f"{remedy}: its least eigenvalue is {least:g}.")
        return cls(factor)

    def whiten(self, errors: torch.Tensor) -> torch.Tensor:
        """Divide by the standard deviation.

        Parameters
        ----------
        errors : Tensor, shape (..., d)
            In the units of the observations.

        Returns
        -------
        Tensor, shape (..., d)
            A new tensor.
        """
        if self.factor.dim() < 2:
            return errors / self.factor
        flat = errors.reshape(-1, errors.shape[-1])
        white = torch.linalg.solve_triangular(self.factor, flat.T, upper=False).T
        found: torch.Tensor = white.reshape(errors.shape)
        return found
