"""Surgery: which channels hang together, what a structure costs, and removing channels exactly.

It knows neither data nor losses nor optimizers.
"""

from __future__ import annotations

from optprune.surgery.calling import Inputs, batch_size, call, to_device
from optprune.surgery.consumers import consumed
from optprune.surgery.costs import CostPolynomial, Costs
from optprune.surgery.graph import ChannelGraph
from optprune.surgery.groups import Axis, ChannelGroup, FrozenGroup, Member, Statistics
from optprune.surgery.saving import Build, load, save
from optprune.surgery.slicing import Slicer, cut, mask
from optprune.surgery.structure import Structure
from optprune.surgery.trace import trace

__all__ = [
    "Axis",
    "Build",
    "ChannelGraph",
    "ChannelGroup",
    "CostPolynomial",
    "Costs",
    "FrozenGroup",
    "Inputs",
    "Member",
    "Slicer",
    "Statistics",
    "Structure",
    "batch_size",
    "call",
    "consumed",
    "cut",
    "load",
    "mask",
    "save",
    "to_device",
    "trace",
]
