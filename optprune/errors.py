"""The errors of optprune: one tree, so that one ``except`` catches them all.

Every mistake that a user can make raises a subclass of `OptpruneError` that names the argument,
says what was expected and what came, and what to do. Where a built-in type fits, the class is one
too (``except ValueError`` keeps working).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BudgetSpent",
    "EmptyGroupError",
    "GraphMismatchError",
    "InfeasibleError",
    "JournalError",
    "JournalMismatchError",
    "LoadError",
    "MetricError",
    "MissingDependencyError",
    "OptpruneError",
    "PluginError",
    "RecoveryError",
    "RecoveryWarning",
    "SaveError",
    "ScoreWarning",
    "SearchStopped",
    "SolverError",
    "Stalled",
    "TaskError",
    "TraceError",
    "TraceWarning",
    "TrainingError",
    "TrainingWarning",
    "UnknownGroupError",
    "nearest",
]


class OptpruneError(Exception):
    """The root of all errors that optprune raises."""


class ArgumentError(OptpruneError, ValueError):
    """An argument has a value that cannot be used."""


class ArgumentTypeError(OptpruneError, TypeError):
    """An argument is of a type that cannot be used."""


class TaskError(OptpruneError, ValueError):
    """A network and its data do not fit together."""


class TraceError(OptpruneError, RuntimeError):
    """The network could not be traced with the example inputs."""


class TraceWarning(UserWarning):
    """A network was traced, but less of it can be pruned than should be."""


class UnknownGroupError(OptpruneError, KeyError):
    """A name or pattern matches no prunable group of the graph."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which escapes quotes and newlines.
        return str(self.args[0]) if self.args else ""


class EmptyGroupError(OptpruneError, ValueError):
    """A structure would remove every unit of a group."""


class GraphMismatchError(OptpruneError, ValueError):
    """A structure, a file or a network belongs to another graph."""


class MetricError(OptpruneError, ValueError):
    """A metric returned something that is not a finite number, or raised."""


class RecoveryError(OptpruneError, RuntimeError):
    """A recovery could not repair a candidate."""


class RecoveryWarning(UserWarning):
    """A recovery left a layer as it was, and says why."""


class ScoreWarning(UserWarning):
    """A score could not be computed for some groups, and says what stands in its place."""


class TrainingError(OptpruneError, RuntimeError):
    """Training went wrong, for example with a loss that is not finite."""


class TrainingWarning(UserWarning):
    """A trainer does something else than it was asked for, and says what."""


class InfeasibleError(OptpruneError, ValueError):
    """A constraint cannot be met by any structure of the space."""


class SolverError(OptpruneError, RuntimeError):
    """A solver of mathematical programs is not installed, or found no optimum."""


class JournalError(OptpruneError, RuntimeError):
    """A journal cannot be read or written."""


class JournalMismatchError(JournalError):
    """A journal belongs to another problem."""


class SaveError(OptpruneError, OSError):
    """Something could not be saved; nothing half-written is left."""


class LoadError(OptpruneError, ValueError):
    """A saved network or result cannot be read."""


class MissingDependencyError(OptpruneError, ImportError):
    """An optional library is needed and not installed."""


class PluginError(OptpruneError, RuntimeError):
    """What another package offers cannot be imported, or is not what it should be."""


class SearchStopped(OptpruneError):
    """The session ends the search; `solve` catches it and records why."""


class BudgetSpent(SearchStopped):
    """The budget of evaluations, seconds or samples is used up."""


class Stalled(SearchStopped):
    """The optimizer has proposed nothing new for a while."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the known words nearest to one that is not known.

    Parameters
    ----------
    word : str
        What was asked for.
    known : iterable of str
        What there is.

    Returns
    -------
    str
        `` Did you mean 'a', 'b'?`` with a leading space, or an empty string when nothing is near.
    """
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f" Did you mean {', '.join(repr(name) for name in close)}?" if close else ""
