"""The protocol of an optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search.session import Session

__all__ = ["Optimizer"]


@runtime_checkable
class Optimizer(Protocol):
    """Anything with a name and a loop around ``session.evaluate``.

    Notes
    -----
    A frozen dataclass is the usual form: its ``repr`` is the configuration, and the journal tells
    runs apart by it. All randomness comes from ``session.generator``. The loop needs no stopping
    rule: when the budget is used up, or nothing new was proposed for a while, ``evaluate`` raises
    a `SearchStopped` that is not to be caught. Returning ends the search early.
    """

    @property
    def name(self) -> str:
        """Short name for tables and pictures."""
        ...

    def search(self, problem: Problem, session: Session) -> None:
        """Propose points until the session stops the search, or until there is no more to do."""
        ...
