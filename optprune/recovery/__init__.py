"""Repairing weights after removal."""

from optprune.recovery.batch_norm import BatchNorm
from optprune.recovery.fine_tune import FineTune
from optprune.recovery.nothing import Nothing
from optprune.recovery.protocol import Recovery, RecoveryContext

__all__ = ["BatchNorm", "FineTune", "Nothing", "Recovery", "RecoveryContext"]
