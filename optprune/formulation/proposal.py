"""A proposal: a structure and, optionally, the weights that it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch

from optprune.errors import ArgumentTypeError
from optprune.fingerprint import digest, digest_arrays
from optprune.surgery import Structure

__all__ = ["Proposal", "Start"]


@dataclass(frozen=True)
class Start:
    """Weights that a candidate starts from, instead of the task's.

    Parameters
    ----------
    state : mapping of str to Tensor
        In the shapes of the dense network: what is kept is taken from it.
    digest : str
        Identifies the weights; two starts with one digest are taken to be the same.
    """

    state: Mapping[str, torch.Tensor] = field(repr=False, compare=False)
    digest: str

    @classmethod
    def of(cls, state: Mapping[str, torch.Tensor]) -> Start:
        """Make a start from weights, with the digest of every byte of them.

        Parameters
        ----------
        state : mapping of str to Tensor
            In the shapes of the dense network. Not copied: do not change it afterwards.

        Returns
        -------
        Start
        """
        return cls(state, digest_arrays({name: state[name] for name in sorted(state)}))


@dataclass(frozen=True)
class Proposal:
    """What an optimizer proposes.

    Parameters
    ----------
    structure : Structure
        What is kept.
    start : Start, optional
        The weights to start from; the task's by default.

    Raises
    ------
    ArgumentTypeError
        If `structure` is no `Structure`, or `start` is no `Start`.
    """

    structure: Structure
    start: Start | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.structure, Structure):
            raise ArgumentTypeError(
                f"structure must be a Structure, got {type(self.structure).__name__}; make one "
                "with problem.graph.structure(kept) or structure_from_widths(widths)."
            )
        if self.start is not None and not isinstance(self.start, Start):
            raise ArgumentTypeError(
                f"start must be a Start, got {type(self.start).__name__}; make one with "
                "Start.of(state_dict)."
            )

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest (32 digits): the structure's, unless there is a start."""
        if self.start is None:
            return self.structure.digest
        return digest((self.structure.digest, self.start.digest))
