"""Networks made again from their rows."""

from __future__ import annotations

import math

from torch import nn

from optprune.errors import GraphMismatchError, LoadError
from optprune.formulation import Candidate, Problem, Proposal, Start
from optprune.search.evaluation import begin, complete
from optprune.search.row import Row
from optprune.surgery.structure import Structure

__all__ = ["check_remade", "proposal_of", "remake"]


def proposal_of(problem: Problem, row: Row, start: Start | None) -> Proposal:
    """Return the proposal that a row is about.

    Parameters
    ----------
    problem : Problem
        The problem that the row belongs to.
    row : Row
        The row.
    start : Start or None
        The weights that it starts from, for rows that do not start from the task's.

    Raises
    ------
    LoadError
        If the row starts from weights that were not kept.
    GraphMismatchError
        If the row's structure is of another graph, or its digest is another.
    """
    if row.start and (start is None or start.digest != row.start):
        raise LoadError(
            f"row {row.index} starts from its own weights, which were not kept: only those of "
            "rows on the front are. Run the search again with its seed and journal, or take a "
            "row of the front."
        )
    proposal = Proposal(Structure.from_json(row.structure, problem.graph), start)
    if proposal.digest != row.digest:
        raise GraphMismatchError(
            f"row {row.index} is about the proposal {row.digest!r}, but its structure gives "
            f"{proposal.digest!r}; the row was changed, or made by another version."
        )
    return proposal


def remake(problem: Problem, proposal: Proposal, seed: int) -> nn.Module:
    """Cut and recover a network as the search did.

    Parameters
    ----------
    problem : Problem
        The problem.
    proposal : Proposal
        What to make.
    seed : int
        The seed of the run.

    Returns
    -------
    nn.Module
        Of the user's own class, in evaluation mode, sharing nothing with any other network.
    """
    return Candidate(problem, proposal, seed).standalone()


def check_remade(problem: Problem, proposal: Proposal, seed: int, row: Row) -> str:
    """Measure a proposal again, and say where it differs from its row.

    Parameters
    ----------
    problem : Problem
        The problem.
    proposal : Proposal
        What the row is about.
    seed : int
        The seed of the run.
    row : Row
        What was measured in the run.

    Returns
    -------
    str
        Empty if all that can be compared agrees.

    Notes
    -----
    Metrics that are measured alone (times, energy) differ from run to run and are left out. The
    others agree to the bit on one machine; between machines rounding may turn single samples, so
    values may differ by 1 % and, for metrics of predictions, by two samples' worth.
    """
    again = begin(problem, proposal, seed, {})
    again = complete(problem, proposal, seed, again)
    if again.failed and not row.failed:
        return again.reason
    differences = []
    for metric in problem.metrics:
        then = row.metrics.get(metric.name, math.nan)
        now = again.metrics[metric.name]
        samples = 2.0 / len(problem.task.validation) if metric.needs == "predictions" else 0.0
        comparable = math.isfinite(then) and math.isfinite(now) and not metric.alone
        if comparable and not math.isclose(then, now, rel_tol=0.01, abs_tol=samples + 1e-9):
            differences.append(f"{metric.name} is {now:.6g} now and was {then:.6g}")
    return "; ".join(differences)
