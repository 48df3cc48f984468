"""What each group loses at each width: tables that an allocation adds up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from optprune.allocation.arguments import check_importance
from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.optimizers.group_importance import Equal, GroupImportance
from optprune.scores import Score

if TYPE_CHECKING:
    from optprune.formulation import Problem

__all__ = ["LossTables", "ProjectionLosses", "ScoreLosses", "tables_of"]

_Floats = npt.NDArray[np.float64]


class LossTables(Protocol):
    """Tells what each group of a problem's network loses at each width."""

    def __call__(self, problem: Problem) -> Sequence[npt.ArrayLike]:
        """Return a table for each group, of shape (width + 1,).

        Entry k is the loss when k units stay, in a unit that all groups share, never NaN; an
        infinite one rules the width out.
        """
        ...


@dataclass(frozen=True)
class ScoreLosses:
    """A group loses what its units score that leave.

    Units leave in the order in which the problem's own score ranks them, whichever score tells
    what is lost.

    Parameters
    ----------
    score : Score, optional
        Of which the values of different groups mean the same: the problem's own by default.

    Notes
    -----
    Entry k of a table is the sum of the scores of all units that leave when k stay; or the largest
    of them, if the score says so (``additive = False``, as `optprune.scores.Compensation` does, of
    which a score is the loss of all units up to it). Negative scores count as 0. So a table falls
    with the width, to 0 for the whole group. Units that a space keeps whatever their score
    (``keep_first``) are ranked like all others here.
    """

    score: Score | None = None

    def __call__(self, problem: Problem) -> list[_Floats]:
        """Score the network and add up."""
        ranking = problem.importance
        score, values = problem.space.score, ranking
        if self.score is not None:
            score, values = self.score, problem.scored(self.score)
        together = np.add if getattr(score, "additive", True) else np.maximum
        found = []
        for group in problem.graph.groups:
            order = np.argsort(-ranking[group.slice], kind="stable")
            last_first = np.maximum(values[group.slice][order][::-1], 0.0)
            found.append(np.append(together.accumulate(last_first)[::-1], 0.0))
        return found


@dataclass(frozen=True)
class ProjectionLosses:
    r"""A group loses the square of the share that leaves, weighted: the nearest widths to dense.

    Under a budget on MACs and with equal weights: the keep-ratios within it that are nearest to 1.
    It is the baseline of any importance, and nearly what the published code of [1]_ finds, of which
    the importances are too small to have an influence.

    Parameters
    ----------
    importance : GroupImportance or sequence of float, default Equal()
        The weight of each group: see `optprune.optimizers.ConvexAllocation`.

    Raises
    ------
    ArgumentError
        When it is called, if a weight is negative or not finite, all are zero, or there is not one
        for each group.

    Notes
    -----
    With the weight v of a group and its width W, entry k of its table is
    :math:`v \, (1 - k / W)^2`.

    References
    ----------
    .. [1] X. Zheng, Y. Ma, T. Xi, G. Zhang, E. Ding, Y. Li, J. Chen, Y. Tian and R. Ji, An
       information theory-inspired strategy for automatic network pruning, arXiv:2108.08532, 2021.
    """

    importance: GroupImportance | Sequence[float] = field(default_factory=Equal)

    def __call__(self, problem: Problem) -> list[_Floats]:
        """Weigh the squares."""
        groups, given = problem.graph.groups, self.importance
        importance = given(problem) if callable(given) else given
        weights = check_importance("ProjectionLosses", importance, len(groups))
        return [
            weight * np.linspace(1.0, 0.0, group.width + 1) ** 2
            for weight, group in zip(weights, groups, strict=True)
        ]


def tables_of(
    owner: str, source: LossTables | Sequence[npt.ArrayLike], problem: Problem
) -> list[_Floats]:
    """Return the tables of a problem's groups.

    Parameters
    ----------
    owner : str
        Who asks, for messages.
    source : LossTables or sequence of array_like
        Gives the tables, or is them.
    problem : Problem
        Its groups.

    Returns
    -------
    list of ndarray of float64, shape (width + 1,)

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If there is not one table for each group, or a table has another length, a NaN, or minus
        infinity; the group is named.
    """
    given = source(problem) if callable(source) else source
    if not isinstance(given, Iterable):
        raise ArgumentTypeError(
            f"{owner}: `tables` must give a list of tables, one for each group, not {given!r}."
        )
    tables, groups = list(given), problem.graph.groups
    if len(tables) != len(groups):
        raise ArgumentError(
            f"{owner}: `tables` must hold a table for each of the {len(groups)} groups, in the "
            f"network's order; got {len(tables)}."
        )
    found = []
    for group, table in zip(groups, tables, strict=True):
        named = f"{owner}: the table of group {group.name!r}"
        try:
            losses = np.asarray(table, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(f"{named} must be numbers, not {table!r:.80}.") from error
        if losses.shape != (group.width + 1,):
            raise ArgumentError(
                f"{named} must have {group.width + 1} entries, the losses with 0, 1, … "
                f"{group.width} units kept; got shape {losses.shape}."
            )
        wrong = np.flatnonzero(np.isnan(losses) | (losses == -np.inf))
        if len(wrong):
            raise ArgumentError(
                f"{named} has {losses[wrong[0]]} for {wrong[0]} units kept; give a number, or "
                "infinity where the width is not allowed."
            )
        found.append(losses)
    return found
