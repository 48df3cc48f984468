"""A structure: what is kept, a bit per unit.

A `Structure` is immutable, hashable and independent of any weights. Its canonical JSON carries a
format number; its digest keys journals, caches and files, so nothing that has its default value is
written into it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, EmptyGroupError, GraphMismatchError, LoadError

if TYPE_CHECKING:
    from optprune.surgery.graph import ChannelGraph

__all__ = ["FORMAT", "Structure"]

FORMAT = 1
"""Format number of the JSON of a structure."""


@dataclass(frozen=True, eq=False, repr=False)
class Structure:
    """What is kept in every group of a graph.

    Made by `ChannelGraph.structure`, `ChannelGraph.structure_from_widths` or
    `Structure.from_json`; residual branches are all kept.

    Parameters
    ----------
    graph_digest : str
        Digest of the graph that the structure belongs to.
    names : tuple of str
        Names of the groups, of length ``n_groups``.
    sizes : tuple of int
        Dense widths of the groups, of length ``n_groups``.
    packed : bytes
        One bit per unit, group after group, as written by `numpy.packbits`.
    """

    graph_digest: str
    names: tuple[str, ...] = field(repr=False)
    sizes: tuple[int, ...]
    packed: bytes

    @classmethod
    def from_kept(
        cls,
        graph_digest: str,
        names: Sequence[str],
        sizes: Sequence[int],
        kept: npt.ArrayLike,
    ) -> Structure:
        """Make a structure from a bit per unit.

        Parameters
        ----------
        graph_digest : str
            Digest of the graph.
        names : sequence of str
            Names of the groups, of length ``n_groups``.
        sizes : sequence of int
            Dense widths of the groups, of length ``n_groups``.
        kept : array_like of bool, shape (n_units,)
            True for units that stay.

        Returns
        -------
        Structure

        Raises
        ------
        ArgumentError
            If `kept` has another shape, or holds anything but booleans, zeros and ones.
        EmptyGroupError
            If a group would keep nothing.
        """
        array = np.asarray(kept)
        total = int(sum(sizes))
        if array.shape != (total,):
            raise ArgumentError(
                f"kept must have shape ({total},), one bit for each unit of the graph; "
                f"got {array.shape}."
            )
        if array.dtype != np.bool_:
            if not np.isin(array, (0, 1)).all():
                raise ArgumentError("kept must hold booleans (or zeros and ones) only.")
            array = array.astype(np.bool_)
        return cls.population(graph_digest, tuple(names), tuple(map(int, sizes)), array[None])[0]

    @classmethod
    def population(
        cls,
        graph_digest: str,
        names: tuple[str, ...],
        sizes: tuple[int, ...],
        kept: npt.NDArray[np.bool_],
    ) -> list[Structure]:
        """Make many structures at once; see `from_kept`.

        Parameters
        ----------
        graph_digest, names, sizes
            As in `from_kept`.
        kept : ndarray of bool, shape (n, n_units)
            True for units that stay.

        Returns
        -------
        list of Structure, of length n

        Raises
        ------
        EmptyGroupError
            If a group would keep nothing.
        """
        widths = _widths(kept, sizes)
        if not widths.all():
            bare = (widths == 0).any(axis=0)
            empty = [name for name, nothing in zip(names, bare, strict=True) if nothing]
            raise EmptyGroupError(
                f"every unit of group {', '.join(map(repr, empty))} would be removed; "
                "a group keeps at least one unit."
            )
        widths.flags.writeable = False
        structures = []
        for row, bits in zip(widths, np.packbits(kept, axis=1), strict=True):
            structure = cls(graph_digest, names, sizes, bits.tobytes())
            structure.__dict__["widths"] = row  # known already
            structures.append(structure)
        return structures

    @cached_property
    def kept(self) -> npt.NDArray[np.bool_]:
        """One bit per unit, shape (n_units,), read-only."""
        bits = np.unpackbits(np.frombuffer(self.packed, np.uint8), count=sum(self.sizes))
        array = bits.astype(np.bool_)
        array.flags.writeable = False
        return array

    @cached_property
    def widths(self) -> npt.NDArray[np.int64]:
        """Units kept in every group, shape (n_groups,), read-only."""
        widths: npt.NDArray[np.int64] = _widths(self.kept[None], self.sizes)[0]
        widths.flags.writeable = False
        return widths

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest of the canonical JSON (32 digits)."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=16).hexdigest()

    def to_json(self) -> str:
        """Write the canonical JSON: sorted keys, no spaces, defaults left out.

        A group that is whole is left out; the others are strings of hexadecimal digits, one bit a
        unit, the first unit in the highest bit. Residual branches are all kept, which is the
        default: nothing is written of them.
        """
        return self._json

    @cached_property
    def _json(self) -> str:
        bits = int.from_bytes(self.packed)
        kept = []
        for key, left, whole, aligned, digits in _layout(self.names, self.sizes):
            own = (bits >> left) & whole
            if own != whole:
                kept.append(f'{key}:"{own << aligned:0{digits}x}"')
        return (
            f'{{"format":{FORMAT},"graph":{json.dumps(self.graph_digest)},'
            f'"kept":{{{",".join(kept)}}}}}'
        )

    @classmethod
    def from_json(cls, text: str, graph: ChannelGraph) -> Structure:
        """Read a structure of a graph from its JSON.

        Parameters
        ----------
        text : str
            What `to_json` wrote.
        graph : ChannelGraph
            The graph that the structure belongs to.

        Returns
        -------
        Structure

        Raises
        ------
        LoadError
            If the text is not the JSON of a structure of a known format.
        GraphMismatchError
            If the structure belongs to another graph.
        """
        document = _document(text)
        if document.get("branches"):
            raise LoadError(
                "the structure removes residual branches, which this version of optprune cannot; "
                "install the version that wrote it."
            )
        if document["graph"] != graph.digest:
            raise GraphMismatchError(
                f"the structure belongs to another graph (digest {document['graph']}, this graph "
                f"has {graph.digest}); trace the network that the structure was made for."
            )
        kept = np.ones(graph.n_units, dtype=np.bool_)
        groups = {group.name: group for group in graph.groups}
        for name, digits in document["kept"].items():
            if name not in groups:
                raise LoadError(f"the JSON of the structure names an unknown group {name!r}.")
            group = groups[name]
            try:
                packed = np.frombuffer(bytes.fromhex(digits), np.uint8)
            except (TypeError, ValueError) as error:
                raise LoadError(
                    f"the bits of group {name!r} are not a string of hexadecimal digits."
                ) from error
            if len(packed) != (group.width + 7) // 8:
                raise LoadError(
                    f"group {name!r} has {group.width} units, but the JSON of the structure has "
                    f"{8 * len(packed)} bits for it."
                )
            kept[group.slice] = np.unpackbits(packed, count=group.width).astype(np.bool_)
        return graph.structure(kept)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Structure):
            return NotImplemented
        return (self.graph_digest, self.packed) == (other.graph_digest, other.packed)

    def __hash__(self) -> int:
        return hash((self.graph_digest, self.packed))

    def __repr__(self) -> str:
        return f"Structure({int(self.kept.sum())} of {sum(self.sizes)} units, {self.digest[:8]})"


@lru_cache(maxsize=64)
def _layout(names: tuple[str, ...], sizes: tuple[int, ...]) -> list[tuple[str, int, int, int, int]]:
    """Say how the JSON of a structure is made of its bits, read as one number.

    Returns
    -------
    list of (str, int, int, int, int)
        For each group, by name: its key in JSON, how far its bits are from the right, a number with
        as many ones, how far its bits move to fill whole bytes, and their hexadecimal digits.
    """
    ends = 8 * -(-sum(sizes) // 8) - np.cumsum(sizes, dtype=np.int64)
    return [
        (json.dumps(name), left, (1 << size) - 1, -size % 8, 2 * -(-size // 8))
        for name, size, left in sorted(zip(names, sizes, ends.tolist(), strict=True))
    ]


def _widths(kept: npt.NDArray[np.bool_], sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Count the kept units, shape (n, n_units), of every group: shape (n, n_groups)."""
    if not sizes:
        return np.zeros((len(kept), 0), dtype=np.int64)
    starts = np.cumsum([0, *sizes[:-1]])
    return np.asarray(np.add.reduceat(kept, starts, axis=1, dtype=np.int64), dtype=np.int64)


def _document(text: str) -> dict[str, Any]:
    """Parse and check the outer form of a structure's JSON."""
    try:
        document = json.loads(text)
    except (TypeError, ValueError) as error:
        raise LoadError(f"this is not the JSON of a structure: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("kept"), dict):
        raise LoadError("this is not the JSON of a structure: 'format', 'graph', 'kept' expected.")
    if document.get("format") != FORMAT:
        raise LoadError(
            f"the structure is written in format {document.get('format')!r}; this version of "
            f"optprune reads format {FORMAT}. Install the version that wrote it."
        )
    return document
