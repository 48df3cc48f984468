"""The channel graph: which channels hang together in a network.

It holds names, dimensions and integer arrays only: no module and no tensor. So it pickles, and is
valid for any weights of the architecture that was traced.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, GraphMismatchError, UnknownGroupError, nearest
from optprune.surgery.costs import Costs
from optprune.surgery.explanation import as_html, couplings, draw, explain
from optprune.surgery.groups import Axis, ChannelGroup, FrozenGroup, Statistics
from optprune.surgery.structure import Structure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["ChannelGraph"]


@dataclass(frozen=True, eq=False)
class ChannelGraph:
    """The groups of a network, what each structure costs, and what is frozen.

    Made by `optprune.surgery.trace`.

    Parameters
    ----------
    groups : tuple of ChannelGroup
        The groups that can be narrowed, in the order in which the network produces them.
    frozen : tuple of FrozenGroup
        The channels that cannot, each with its reason.
    axes : tuple of Axis
        Every dimension of every parameter and buffer that a structure can narrow.
    costs : Costs
        MACs, parameters and activation bytes as polynomials in the widths.
    shapes : tuple of (str, tuple of int)
        Name and shape of every parameter and buffer of the dense network; one that has several
        names stands under the first.
    attributes : tuple of Axis
        Attributes that hold the length of a dimension which no tensor shows (``normalized_shape``
        of a layer norm without parameters).
    aliases : tuple of (str, str)
        Further names of tensors, each with the first.
    statistics : tuple of Statistics
        Normalisations over channels; those of a smaller network are over the kept channels.
    caches : tuple of str
        Attributes in which the network keeps tensors from one pass to the next.
    """

    groups: tuple[ChannelGroup, ...]
    frozen: tuple[FrozenGroup, ...]
    axes: tuple[Axis, ...]
    costs: Costs
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    attributes: tuple[Axis, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    statistics: tuple[Statistics, ...] = ()
    caches: tuple[str, ...] = ()

    @property
    def n_groups(self) -> int:
        """Number of groups that can be narrowed."""
        return len(self.groups)

    @property
    def n_units(self) -> int:
        """Number of units of all groups together."""
        return self.groups[-1].stop if self.groups else 0

    @cached_property
    def widths(self) -> npt.NDArray[np.int64]:
        """Dense widths, shape (n_groups,), read-only."""
        widths = np.array([group.width for group in self.groups], dtype=np.int64)
        widths.flags.writeable = False
        return widths

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Units of group g are ``offsets[g]:offsets[g + 1]``; shape (n_groups + 1,), read-only."""
        offsets = np.concatenate(([0], np.cumsum(self.widths))).astype(np.int64)
        offsets.flags.writeable = False
        return offsets

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(group.name for group in self.groups)

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(group.width for group in self.groups)

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest of names, shapes and couplings (32 digits)."""
        head = {
            "groups": [(group.name, group.start, group.stop) for group in self.groups],
            "shapes": self.shapes,
        }
        digest = hashlib.blake2b(digest_size=16)
        digest.update(json.dumps(head, sort_keys=True).encode())
        for axis in self.axes:
            digest.update(f"{axis.tensor}|{axis.dim}|".encode())
            digest.update(axis.units.astype("<i4").tobytes())
        return digest.hexdigest()

    @cached_property
    def prunable_share(self) -> float:
        """The fraction of the MACs that is saved with a single unit left in every group."""
        if not self.costs.macs.dense:
            return 0.0
        return 1 - float(self.costs.macs(np.ones(self.n_groups))[0]) / self.costs.macs.dense

    def group(self, name: str) -> ChannelGroup:
        """Return the group of a name.

        Raises
        ------
        UnknownGroupError
            If there is none; it names the nearest, or why the group is frozen.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise UnknownGroupError(self._unknown(name))

    def match(self, pattern: str) -> tuple[ChannelGroup, ...]:
        """Return the groups whose name, or one of whose members' names, fits a pattern.

        Parameters
        ----------
        pattern : str
            A name, or a pattern with ``*``, ``?`` and ``[…]`` as in file names.

        Returns
        -------
        tuple of ChannelGroup
            The group of that very name if there is one, otherwise all that match.

        Raises
        ------
        UnknownGroupError
            If nothing matches; it names the nearest, or why the groups are frozen.
        """
        exact = [group for group in self.groups if group.name == pattern]
        matched = exact or [group for group in self.groups if self._fits(group, pattern)]
        if not matched:
            raise UnknownGroupError(self._unknown(pattern))
        return tuple(matched)

    def full(self) -> Structure:
        """Return the structure that keeps everything."""
        return self.structure(np.ones(self.n_units, dtype=np.bool_))

    def structure(self, kept: npt.ArrayLike) -> Structure:
        """Return the structure that keeps the marked units.

        Parameters
        ----------
        kept : array_like of bool, shape (n_units,)
            True for units that stay.

        Raises
        ------
        ArgumentError
            If `kept` has another shape or is not boolean.
        EmptyGroupError
            If a group would keep nothing.
        """
        return Structure.from_kept(self.digest, self._names, self._sizes, kept)

    def structures(self, kept: npt.NDArray[np.bool_]) -> list[Structure]:
        """Return the structures of a population.

        Parameters
        ----------
        kept : ndarray of bool, shape (n, n_units)
            True for units that stay.

        Raises
        ------
        ArgumentError
            If `kept` has another shape or is not boolean.
        EmptyGroupError
            If a group would keep nothing.
        """
        if kept.ndim != 2 or kept.shape[1] != self.n_units or kept.dtype != np.bool_:
            raise ArgumentError(
                f"kept must be booleans of shape (n, {self.n_units}), one column for each unit; "
                f"got {kept.dtype} of shape {kept.shape}."
            )
        return Structure.population(self.digest, self._names, self._sizes, kept)

    def structure_from_widths(
        self, widths: npt.ArrayLike, importance: npt.ArrayLike | None = None
    ) -> Structure:
        """Return the structure that keeps the most important units of every group.

        Parameters
        ----------
        widths : array_like of int, shape (n_groups,)
            Units to keep, from 1 to the dense width.
        importance : array_like of float, shape (n_units,), optional
            Higher is more important; among equals the lower index stays. Without it the first
            units stay.

        Raises
        ------
        ArgumentError
            If a shape is wrong, a width is out of range (the group is named), or an importance is
            not a number.
        """
        wanted = np.asarray(widths)
        if wanted.shape != (self.n_groups,):
            raise ArgumentError(
                f"widths must have shape ({self.n_groups},), one for each group; "
                f"got {wanted.shape}."
            )
        if importance is None:
            importance = np.zeros(self.n_units)
        score = np.asarray(importance, dtype=np.float64)
        if score.shape != (self.n_units,) or np.isnan(score).any():
            raise ArgumentError(
                f"importance must be {self.n_units} numbers, one for each unit, without NaN; "
                f"got shape {score.shape}."
            )
        kept = np.zeros(self.n_units, dtype=np.bool_)
        for group, width in zip(self.groups, wanted, strict=True):
            if width != int(width) or not 1 <= width <= group.width:
                raise ArgumentError(
                    f"widths: group {group.name!r} keeps a whole number of units from 1 to "
                    f"{group.width}; got {width}."
                )
            order = np.argsort(-score[group.slice], kind="stable")
            kept[group.start + order[: int(width)]] = True
        return self.structure(kept)

    def check(self, structure: Structure) -> None:
        """Raise `GraphMismatchError` unless the structure belongs to this graph."""
        if not isinstance(structure, Structure) or structure.graph_digest != self.digest:
            came = getattr(structure, "graph_digest", type(structure).__name__)
            raise GraphMismatchError(
                f"the structure belongs to another graph (digest {came}, this graph has "
                f"{self.digest}); make it with this graph's structure() or structure_from_widths()."
            )

    def explain(self) -> pd.DataFrame:
        """Tell what can be narrowed, what cannot, and why.

        Returns
        -------
        pandas.DataFrame
            One row a group, those that can be narrowed first, each part in the network's order:
            ``group``, ``width``, ``macs_share`` and ``parameters_share`` (the fraction of dense
            that is saved when this group alone is narrowed to one unit; NaN for a frozen group
            where the trace could not tell what it would save), ``members``, ``frozen``,
            ``reason``, ``operation``, ``line``.
        """
        return explain(self)

    def couplings(self) -> pd.DataFrame:
        """Tell where every group has its channels.

        Returns
        -------
        pandas.DataFrame
            One row a member, in the order of the network's modules: ``group``, ``width``,
            ``frozen``, ``module`` (empty for the network's own parameters), ``tensor``, ``dim``,
            ``per_unit`` (indices that leave with one unit), ``role`` (``"out"``, ``"in"`` or
            ``"norm"``).
        """
        return couplings(self)

    def plot(self, modules: str = "*", *, ax: Axes | None = None) -> Axes:
        """Draw which layers hang together: a row for each module, a column for each group.

        Parameters
        ----------
        modules : str, default "*"
            A name or pattern of modules; of a large network only a part can be drawn.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default, as large as the picture needs.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ArgumentError
            If no module matches, or more than a picture can hold.
        """
        return draw(self, modules, ax)

    def _fits(self, group: ChannelGroup | FrozenGroup, pattern: str) -> bool:
        """Tell whether a group's name or one of its tensors' names fits a pattern."""
        tensors = {member.tensor for member in group.members}
        tensors |= {alias for alias, name in self.aliases if name in tensors}
        return any(fnmatch.fnmatchcase(name, pattern) for name in (group.name, *tensors))

    def _unknown(self, name: str) -> str:
        """Say what is wrong with a name, and what to do."""
        for group in self.frozen:
            if self._fits(group, name):
                return f"group {group.name!r} is frozen: {group.reason} ({group.operation})."
        known = [group.name for group in self.groups]
        hint = nearest(name, known) or f" The groups are {', '.join(map(repr, known[:8]))}"
        return f"no group matches {name!r}.{hint}{' …' if len(known) > 8 else ''}"

    def __repr__(self) -> str:
        return (
            f"ChannelGraph({self.n_groups} groups, {self.n_units} units, {len(self.frozen)} "
            f"frozen, {self.costs.macs.dense:.3g} MACs, {self.costs.parameters.dense:.3g} "
            "parameters)"
        )

    def _repr_html_(self) -> str:
        return as_html(self)
