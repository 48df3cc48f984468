"""Trainers that keep their members from one analysis to the next."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from optprune.errors import ArgumentError
from optprune.training.assimilation.analysis import FORMS, SOLVERS, Form, Solver
from optprune.training.assimilation.assimilating import Assimilating, record
from optprune.training.assimilation.ensemble import Ensemble
from optprune.training.assimilation.inflation import Inflation, check_inflation
from optprune.training.assimilation.layout import Layout
from optprune.training.assimilation.localization import localized_analysis
from optprune.training.assimilation.observation import Observed
from optprune.training.assimilation.state import AssimilationState

__all__ = ["Smoothing"]


@dataclass(frozen=True, kw_only=True)
class Smoothing(Assimilating):
    """Draws an ensemble once, and conditions it again and again.

    The fields are documented where they are used: `ESMDA`, `EnKF`.
    """

    form: Form = "perturbed"
    solver: Solver = "cholesky"
    energy: float = 1.0
    inflation: Inflation | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        owner = type(self).__name__
        if self.form not in FORMS or self.solver not in SOLVERS:
            raise ArgumentError(
                f"{owner}: `form` must be one of {FORMS} and `solver` one of {SOLVERS}, got "
                f"{self.form!r} and {self.solver!r}."
            )
        if not 0 < self.energy <= 1 or (self.energy < 1 and self.solver != "svd"):
            raise ArgumentError(
                f"{owner}: `energy` must be above 0 and at most 1, and below 1 only with "
                f"solver='svd'; got {self.energy!r}."
            )
        check_inflation(owner, self.inflation)

    def _begin(
        self,
        network: nn.Module,
        layout: Layout,  # noqa: ARG002 - the ensemble has its own
        generator: torch.Generator,
    ) -> dict[str, torch.Tensor]:
        """Draw the members."""
        drawn = Ensemble.draw(
            network,
            self.members,
            spread=self.spread,
            parameters=self.parameters,
            generator=generator,
        )
        return {"members": drawn.members}

    def _follow(
        self, kept: dict[str, torch.Tensor], weights: torch.Tensor, changed: torch.Tensor
    ) -> None:
        """Shift all members, so that their mean is what the network has; their spread stays."""
        members = kept["members"]
        members += torch.where(changed, weights - members.mean(0), 0.0)

    def _condition(
        self,
        state: AssimilationState,
        members: torch.Tensor,
        observed: Observed,
        alpha: float,
        scales: torch.Tensor,
    ) -> None:
        """Condition the members, and give the network their mean."""
        before = members.std(0) if self.inflation is not None else None
        members = self._analyze(state, members, observed, alpha)
        if self.inflation is not None and before is not None:
            self.inflation.inflate(members, before, scales, state.generator)
        state.tensors_kept["members"] = members
        state.layout.write(members.mean(0), state.network)
        record(state, alpha, members, observed)

    def _analyze(
        self, state: AssimilationState, members: torch.Tensor, observed: Observed, alpha: float
    ) -> torch.Tensor:
        """Return the conditioned members, in the place of those that are given."""
        return localized_analysis(
            members,
            observed,
            self._blocks(state.layout, members, observed),
            inflation=alpha,
            form=self.form,
            solver=self.solver,
            energy=self.energy,
            generator=state.generator,
            out=members,
        )
