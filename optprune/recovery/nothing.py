"""No recovery: the weights that are left stay what they are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from optprune.recovery.protocol import RecoveryContext

__all__ = ["Nothing"]


@dataclass(frozen=True)
class Nothing:
    """Leaves the small network as removal made it."""

    def recover(self, network: nn.Module, context: RecoveryContext) -> None:
        """Do nothing; see `optprune.recovery.Recovery.recover`."""
