"""The evaluation of one proposal, stage after stage.

The stages are ``structure`` (what follows from what is kept), ``network`` (the smaller network,
cut and recovered) and ``predictions`` (its outputs on the validation split). The first stage in
which a constraint is violated, or something fails, is the last that runs.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import numpy.typing as npt

from optprune.errors import MetricError, OptpruneError
from optprune.formulation import Candidate, Metric, Problem, Proposal
from optprune.formulation.metric import Needs
from optprune.meter import Meter
from optprune.recovery import Nothing
from optprune.search.row import Row

__all__ = [
    "STAGES",
    "begin",
    "complete",
    "failure",
    "measure_dense",
    "measure_population",
    "settled",
    "unmeasured",
]

STAGES: tuple[Needs, ...] = ("structure", "network", "predictions")
"""The stages in the order in which they run."""

_LONGEST_REASON = 500


def measure_population(
    problem: Problem, widths: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.float64]]:
    """Measure what widths alone decide, for a whole population at once.

    Parameters
    ----------
    problem : Problem
        The problem.
    widths : ndarray of int64, shape (n, n_groups)
        Kept units of each group.

    Returns
    -------
    dict of str to ndarray of float64, shape (n,)
        Values by the metric's name; metrics that must be measured one by one are left out.
    """
    known = {}
    for metric in problem.metrics_by_need["structure"]:
        try:
            values = metric.population(problem.graph, widths)
        except Exception:  # noqa: BLE001 - measured one by one below, where the reason is kept
            values = None
        if values is not None:
            known[metric.name] = values
    return known


def begin(problem: Problem, proposal: Proposal, seed: int, known: Mapping[str, float]) -> Row:
    """Run the structure stage of a proposal.

    Parameters
    ----------
    problem : Problem
        The problem.
    proposal : Proposal
        What to evaluate.
    seed : int
        The seed of the run.
    known : mapping of str to float
        Values from `measure_population`.

    Returns
    -------
    Row
        To be handed to `complete` unless it is `settled`.
    """
    return _run(problem, proposal, seed, _blank(problem, proposal), STAGES[:1], known)


def settled(problem: Problem, row: Row) -> bool:
    """Tell whether a row needs no further stage."""
    return row.failed or row.violation > 0.0 or not unmeasured(problem, row)


def unmeasured(problem: Problem, row: Row) -> bool:
    """Tell whether a problem has metrics of a later stage than the last that a row went through."""
    return STAGES.index(row.stage) < STAGES.index(problem.needs)


def complete(
    problem: Problem,
    proposal: Proposal,
    seed: int,
    row: Row,
    alone: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Row:
    """Run the stages that are left of a proposal.

    Parameters
    ----------
    problem : Problem
        The problem.
    proposal : Proposal
        What to evaluate.
    seed : int
        The seed of the run.
    row : Row
        What `begin` returned for it.
    alone : callable
        Makes the context in which metrics are measured that must be measured alone.

    Returns
    -------
    Row
        With all that could be measured. It never raises for what a metric, a recovery or the
        network does: that makes a failed row with its reason.
    """
    if settled(problem, row):
        return row
    stages = STAGES[STAGES.index(row.stage) + 1 :]
    return _run(problem, proposal, seed, row, stages, {}, alone)


def measure_dense(problem: Problem) -> Row:
    """Measure the dense network as it is: without recovery, whatever the constraints say.

    Parameters
    ----------
    problem : Problem
        The problem; the passes are counted on its `setup_meter` too.

    Returns
    -------
    Row
        With NaN for metrics that fail on the dense network, and the first reason.
    """
    started = time.perf_counter()
    meter = Meter()
    proposal = Proposal(problem.graph.full())
    candidate = Candidate(problem, proposal, meter=meter, recovery=Nothing())
    values: dict[str, float] = {}
    reasons = [_measure(metric, candidate, values) for metric in problem.metrics]
    problem.setup_meter.add(meter)
    reason = next(filter(None, reasons), "")
    row = _blank(problem, proposal)
    found, violations = dict(row.metrics), list(row.violations)
    broken = _take(problem, values, found, violations)
    return row.changed(
        stage=STAGES[-1],
        metrics=found,
        violations=tuple(violations),
        failed=bool(reason),
        reason=_shortened(reason or broken),
        seconds=time.perf_counter() - started,
        forward_samples=meter.forward_samples,
        backward_samples=meter.backward_samples,
    )


def failure(row: Row, reason: str) -> Row:
    """Return the row as failed for a reason."""
    return row.changed(failed=True, reason=_shortened(reason))


def _blank(problem: Problem, proposal: Proposal) -> Row:
    """Return the row of a proposal before anything was measured."""
    structure = proposal.structure
    return Row(
        digest=proposal.digest,
        structure=structure.to_json(),
        widths=tuple(structure.widths.tolist()),
        metrics={metric.name: math.nan for metric in problem.metrics},
        violations=(0.0,) * len(problem.constraints),
        start="" if proposal.start is None else proposal.start.digest,
    )


def _run(
    problem: Problem,
    proposal: Proposal,
    seed: int,
    row: Row,
    stages: Sequence[Needs],
    known: Mapping[str, float],
    alone: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Row:
    """Run some stages and add what they find, and what they cost, to a row."""
    started = time.perf_counter()
    meter = Meter()
    candidate: Candidate | None = None
    found, violations = dict(row.metrics), list(row.violations)
    reached, failed, reason = row.stage, row.failed, row.reason
    for stage in stages:
        metrics = problem.metrics_by_need[stage]
        if not metrics:
            continue
        values = {m.name: float(known[m.name]) for m in metrics if m.name in known}
        raised = next(_not_finite(values), "")
        if not raised and len(values) < len(metrics):
            if candidate is None:
                candidate = Candidate(problem, proposal, seed, meter)
            raised = _prepare(candidate, stage)
            for metric in metrics:
                if not raised and metric.name not in values:
                    with alone() if metric.alone else nullcontext():
                        raised = _measure(metric, candidate, values)
        reached, failed = stage, bool(raised)
        reason = _take(problem, values, found, violations)
        if failed:
            reason = raised
        if failed or any(violations):
            break
    return row.changed(
        stage=reached,
        metrics=found,
        violations=tuple(violations),
        failed=failed,
        reason=_shortened(reason),
        seconds=row.seconds + time.perf_counter() - started,
        forward_samples=row.forward_samples + meter.forward_samples,
        backward_samples=row.backward_samples + meter.backward_samples,
    )


def _take(
    problem: Problem, values: Mapping[str, float], found: dict[str, float], violations: list[float]
) -> str:
    """Add finite values, and how far they violate the constraints; say which they break."""
    found.update((name, value) for name, value in values.items() if math.isfinite(value))
    broken = []
    for position, constraint in enumerate(problem.constraints):
        value = values.get(constraint.metric.name, math.nan)
        if math.isfinite(value):
            violations[position] = constraint.violation(value)
            if violations[position] > 0.0:
                broken.append(f"{constraint.metric.name} = {value:.6g} breaks {constraint}")
    return "; ".join(broken)


def _prepare(candidate: Candidate, stage: str) -> str:
    """Make what a stage looks at; return why that failed, or nothing."""
    doing = "cutting and recovering the network"
    try:
        if stage != "structure":
            _ = candidate.network
        if stage == "predictions":
            doing = "the forward pass on the validation split"
            _ = candidate.predictions
    except Exception as error:  # noqa: BLE001 - a failed candidate is a row, the search goes on
        return f"{doing} raised {_told(error)}"
    return ""


def _measure(metric: Metric, candidate: Candidate, values: dict[str, float]) -> str:
    """Measure one metric into `values`; return why that failed, or nothing."""
    try:
        values[metric.name] = metric(candidate)
    except MetricError as error:
        return f"{error}{_place(error.__cause__)}"
    except Exception as error:  # noqa: BLE001 - a failed candidate is a row, the search goes on
        return f"metric {metric.name!r} raised {_told(error)}"
    return ""


def _not_finite(values: Mapping[str, float]) -> Iterator[str]:
    """Say which values are not finite."""
    for name, value in values.items():
        if not math.isfinite(value):
            yield f"metric {name!r} must return a finite number, got {value}."


def _told(error: BaseException) -> str:
    """Tell an error in a line: its type, its message, and where it was raised."""
    text = f"{error}" if isinstance(error, OptpruneError) else f"{type(error).__name__}: {error}"
    return f"{text}{_place(error)}"


def _place(error: BaseException | None) -> str:
    """Return file and line at which an error was raised, with a leading space."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    if not frames:
        return ""
    name = frames[-1].filename.replace("\\", "/").rpartition("/")[2]
    return f" ({name}:{frames[-1].lineno})"


def _shortened(text: str) -> str:
    """Keep reasons readable in a table."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 1] + "…"
