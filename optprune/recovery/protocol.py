"""What a recovery is: repairs the weights of a small network after removal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import nn

from optprune.meter import Meter
from optprune.surgery import ChannelGraph, Structure
from optprune.task import Task

__all__ = ["Recovery", "RecoveryContext"]


@dataclass(frozen=True)
class RecoveryContext:
    """What a recovery may use besides the small network.

    Parameters
    ----------
    task : Task
        Its train and calibration splits, and its dense network (to read only).
    graph : ChannelGraph
        The dense network's groups.
    structure : Structure
        What the small network keeps.
    seed : int
        The only source of randomness; it comes from the run's seed and the proposal.
    meter : Meter
        Counts every pass over data.
    """

    task: Task
    graph: ChannelGraph
    structure: Structure
    seed: int
    meter: Meter


@runtime_checkable
class Recovery(Protocol):
    """Repairs the weights of a small network in place.

    The network owns all of its tensors; the dense network (``context.task.network``) must be left
    as it is.
    """

    def recover(self, network: nn.Module, context: RecoveryContext) -> None:
        """Repair the network in place.

        Parameters
        ----------
        network : nn.Module
            The small network, on the task's device; values may change, shapes may not. Modules
            get back the modes that they had.
        context : RecoveryContext
            Task, graph, structure, seed and meter.

        Raises
        ------
        RecoveryError
            When it cannot be repaired.
        """
        ...
