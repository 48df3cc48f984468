"""Inflation: what keeps the spread of an ensemble from collapsing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.training.assimilation.analysis import check_positive
from optprune.training.assimilation.ensemble import deviations

__all__ = ["Additive", "Inflation", "Multiplicative", "Relaxation"]


@runtime_checkable
class Inflation(Protocol):
    """Changes the members' deviations after an analysis; their mean stays."""

    def inflate(
        self,
        members: torch.Tensor,
        before: torch.Tensor,
        scales: torch.Tensor,
        generator: torch.Generator,
    ) -> None:
        """Change the deviations in place.

        Parameters
        ----------
        members : Tensor of float, shape (n_members, n_parameters)
            After the analysis.
        before : Tensor of float, shape (n_parameters,)
            Standard deviation of each parameter before the analysis.
        scales : Tensor of float, shape (n_parameters,)
            Standard deviations that the members were drawn with at first.
        generator : torch.Generator
            On the CPU.
        """
        ...


@dataclass(frozen=True)
class Multiplicative:
    """Multiply the deviations.

    Parameters
    ----------
    factor : float, default 1.02
        At least 1.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If `factor` is no number of at least 1.
    """

    factor: float = 1.02

    def __post_init__(self) -> None:
        if check_positive("Multiplicative", "factor", self.factor) < 1:
            raise ArgumentError(
                f"Multiplicative: `factor` must be at least 1, got {self.factor!r}: less would "
                "deflate."
            )

    def inflate(
        self,
        members: torch.Tensor,
        before: torch.Tensor,  # noqa: ARG002 - part of the protocol
        scales: torch.Tensor,  # noqa: ARG002 - part of the protocol
        generator: torch.Generator,  # noqa: ARG002 - part of the protocol
    ) -> None:
        """Multiply the deviations; see `Inflation.inflate`."""
        mean = members.mean(0)
        members.sub_(mean).mul_(self.factor).add_(mean)


@dataclass(frozen=True)
class Additive:
    """Add independent normal numbers of mean zero: new directions, which an analysis never makes.

    Parameters
    ----------
    fraction : float, default 0.1
        Their standard deviation, as a fraction of that which the members were drawn with at first.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If `fraction` is not positive.
    """

    fraction: float = 0.1

    def __post_init__(self) -> None:
        check_positive("Additive", "fraction", self.fraction)

    def inflate(
        self,
        members: torch.Tensor,
        before: torch.Tensor,  # noqa: ARG002 - part of the protocol
        scales: torch.Tensor,
        generator: torch.Generator,
    ) -> None:
        """Add to the deviations; see `Inflation.inflate`."""
        members.add_(deviations(len(members), self.fraction * scales, generator))


@dataclass(frozen=True)
class Relaxation:
    r"""Relaxation to prior spread: give back a part of the spread that each parameter lost.

    Parameters
    ----------
    weight : float, default 0.5
        In (0, 1]; 1 restores the spread of each parameter before the analysis.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If `weight` is not in (0, 1].

    Notes
    -----
    Deviations are multiplied by :math:`1 + w (\sigma_b - \sigma_a) / \sigma_a` with the standard
    deviations before and after the analysis [1]_.

    References
    ----------
    .. [1] J. S. Whitaker and T. M. Hamill, Evaluating methods to account for system errors in
       ensemble data assimilation, Monthly Weather Review 140, 2012,
       doi:10.1175/MWR-D-11-00276.1.
    """

    weight: float = 0.5

    def __post_init__(self) -> None:
        if check_positive("Relaxation", "weight", self.weight) > 1:
            raise ArgumentError(f"Relaxation: `weight` must be at most 1, got {self.weight!r}.")

    def inflate(
        self,
        members: torch.Tensor,
        before: torch.Tensor,
        scales: torch.Tensor,  # noqa: ARG002 - part of the protocol
        generator: torch.Generator,  # noqa: ARG002 - part of the protocol
    ) -> None:
        """Multiply the deviations of each parameter; see `Inflation.inflate`."""
        mean, after = members.mean(0), members.std(0)
        least = torch.finfo(members.dtype).tiny
        factor = 1 + self.weight * (before - after) / after.clamp_min(least)
        members.sub_(mean).mul_(torch.where(after > least, factor, 1.0)).add_(mean)


def check_inflation(owner: str, inflation: object) -> None:
    """Raise unless something is None or an `Inflation`.

    Raises
    ------
    ArgumentTypeError
        If it is neither.
    """
    wrong = isinstance(inflation, type) or not isinstance(inflation, Inflation)
    if inflation is not None and wrong:
        raise ArgumentTypeError(
            f"{owner}: `inflation` must be Multiplicative(), Additive(), Relaxation(), an object "
            f"with a method inflate, or None, not {inflation!r}."
        )
