"""Several recoveries, one after another."""

from __future__ import annotations

import dataclasses

from torch import nn

from optprune.errors import ArgumentTypeError
from optprune.recovery.protocol import Recovery, RecoveryContext

__all__ = ["Pipeline"]


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """Applies recoveries in turn: ``Pipeline((LeastSquares(), FineTune(SGD(epochs=1))))``.

    Parameters
    ----------
    steps : tuple of Recovery
        In order; each goes on from what the one before made.

    Raises
    ------
    ArgumentTypeError
        When there is none, or one is no recovery.
    """

    steps: tuple[Recovery, ...]

    def __post_init__(self) -> None:
        steps = self.steps
        if not isinstance(steps, tuple) or not steps:
            raise ArgumentTypeError(
                f"steps must be a tuple with at least one recovery, got {steps!r}."
            )
        for step in steps:
            if isinstance(step, type) or not isinstance(step, Recovery):
                raise ArgumentTypeError(
                    f"steps must hold recoveries such as LeastSquares(), got {step!r}."
                )

    def recover(self, network: nn.Module, context: RecoveryContext) -> None:
        """Recover the network in place; see `optprune.recovery.Recovery.recover`.

        Raises
        ------
        RecoveryError
            When a step cannot repair the network.
        """
        for step in self.steps:
            step.recover(network, context)
