"""The protocol of what chooses structures from a problem alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.surgery import Structure

__all__ = ["Selector"]


class Selector(Protocol):
    """Chooses a structure for each of its targets, outside of any search."""

    def select(self, problem: Problem) -> Mapping[float, Structure]:
        """Return the structure of every target.

        Parameters
        ----------
        problem : Problem
            Its network, space and constraints.

        Returns
        -------
        mapping of float to Structure
            By the targets, fractions of the dense network's cost.
        """
        ...
