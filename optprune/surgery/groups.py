"""What a channel graph is made of: members, groups, axes, and statistics over channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optprune.surgery.structure import Structure

__all__ = ["Axis", "ChannelGroup", "FrozenGroup", "Member", "Statistics"]


@dataclass(frozen=True)
class Member:
    """One dimension of one tensor in which a group has indices.

    Parameters
    ----------
    tensor : str
        Name of the parameter or buffer in the state dict.
    dim : int
        The dimension.
    per_unit : int
        Indices along that dimension that leave with one unit.
    role : str
        ``"out"`` (the unit is produced here), ``"in"`` (it is consumed), or ``"norm"`` (parameters
        and statistics along the way).
    """

    tensor: str
    dim: int
    per_unit: int
    role: str


@dataclass(frozen=True)
class ChannelGroup:
    """Units that are alike: all channels of one layer or of one residual stream.

    Parameters
    ----------
    name : str
        The module (or bare parameter) that produces the channels first.
    index : int
        Position in `ChannelGraph.groups`.
    start, stop : int
        The group's units are ``start, …, stop - 1``.
    members : tuple of Member
        Where the group has indices.
    """

    name: str
    index: int
    start: int
    stop: int
    members: tuple[Member, ...]

    @property
    def width(self) -> int:
        """Units in the dense network."""
        return self.stop - self.start

    @property
    def slice(self) -> slice:
        """The group's units, as a slice into arrays of shape (n_units,)."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class FrozenGroup:
    """Channels that stay, and why.

    Parameters
    ----------
    name : str
        The module (or bare parameter) that produces the channels first.
    width : int
        How many units stay.
    reason : str
        Why, in plain words.
    operation : str
        The operation that froze it (``"aten.mean"``), or what else decided.
    line : str
        The line of the network's code (``"file.py:12: return x.mean(1)"``).
    members : tuple of Member
        Where the group has indices.
    macs_share, parameters_share : float, optional
        The fraction of dense that would be saved if this group alone were narrowed to one channel;
        None where the trace could not tell.
    """

    name: str
    width: int
    reason: str
    operation: str
    line: str
    members: tuple[Member, ...] = ()
    macs_share: float | None = None
    parameters_share: float | None = None


@dataclass(frozen=True, eq=False)
class Axis:
    """One dimension of one parameter or buffer, or of a module's attribute.

    Parameters
    ----------
    tensor : str
        Name in the state dict; for an attribute, the module's name and the attribute's.
    dim : int
        The dimension.
    units : ndarray of int32, shape (size,)
        The unit that each index belongs to; -1 for indices that always stay.
    """

    tensor: str
    dim: int
    units: npt.NDArray[np.int32]

    @property
    def size(self) -> int:
        """Length of the dimension in the dense network."""
        return len(self.units)

    def kept(self, structure: Structure) -> npt.NDArray[np.int64]:
        """Indices along the dimension that stay, in order, shape (n_kept,)."""
        bits = np.append(structure.kept, True)
        return np.flatnonzero(bits[self.units])


@dataclass(frozen=True, eq=False)
class Statistics:
    """Means or variances that a network takes over channels, as layer normalisation does.

    Parameters
    ----------
    operation : str
        The operation with its overload (``"aten.native_layer_norm.default"``).
    order : int
        Which of the calls of that operation in one forward pass.
    units : ndarray of int32
        The unit of each index, -1 for indices that always stay; broadcasts against the tensor that
        the operation takes.
    """

    operation: str
    order: int
    units: npt.NDArray[np.int32]
