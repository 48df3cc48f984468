"""What a recovery is: repairs the weights of a small network after removal."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import nn

from optprune.meter import Meter
from optprune.surgery import ChannelGraph, Structure
from optprune.task import Task

__all__ = ["Recovery", "RecoveryContext", "Shared"]

Made = TypeVar("Made")


@dataclass
class Shared:
    """What all candidates of a problem have in common: made once, from the dense network only.

    Parameters
    ----------
    meter : Meter
        Counts the passes over data that this takes.
    """

    meter: Meter = field(default_factory=Meter)
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def once(self, key: Hashable, make: Callable[[Meter], Made]) -> Made:
        """Return what was made under a key; make it at the first call.

        Parameters
        ----------
        key : hashable
            Tells apart what is made; all that it depends on besides the task belongs to it.
        make : callable
            Gets the meter and makes it. What it makes must not depend on a candidate.
        """
        if key not in self._made:
            self._made[key] = make(self.meter)
        made: Made = self._made[key]
        return made


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
    shared : Shared
        What is made once for all candidates, with a meter of its own.
    """

    task: Task
    graph: ChannelGraph
    structure: Structure
    seed: int
    meter: Meter
    shared: Shared = field(default_factory=Shared)


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
