"""The folder of one run: its journal, and what came of it.

``journal.db`` is there from the first evaluation on; then either ``result`` and ``own.json``, or
``failure.json``. A result counts whatever else is there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optprune.errors import JournalError, LoadError, SaveError
from optprune.fingerprint import digest
from optprune.search import Journal, Result, Row

if TYPE_CHECKING:
    from optprune.compare.orders import Order
    from optprune.formulation import Problem

__all__ = [
    "JOURNAL",
    "Run",
    "is_finished",
    "keep_failure",
    "keep_result",
    "load_run",
    "run_folder",
    "save_run",
    "write_whole",
]

JOURNAL = "journal.db"
_RESULT = "result"
_OWN = "own.json"
_FAILURE = "failure.json"
_UNFINISHED = "not finished: op.compare with the same arguments and the same folder goes on with it"


@dataclass(frozen=True, eq=False)
class Run:
    """What came of one run.

    Parameters
    ----------
    problem, optimizer : str
        Their names in the comparison.
    seed : int
        The seed.
    rows : tuple of Row
        What was evaluated, in order; of a failed run, what its journal has.
    own : tuple of int
        For each row, samples spent by then beside the rows: by the optimizer itself, and on what
        all candidates share.
    samples : int
        All samples in forward plus backward passes.
    seconds : float
        On the run's clock.
    reason : str
        Why it ended, or why it failed.
    result : Result or None
        None if it failed.
    """

    problem: str
    optimizer: str
    seed: int
    rows: tuple[Row, ...]
    own: tuple[int, ...]
    samples: int
    seconds: float
    reason: str
    result: Result | None

    @property
    def failed(self) -> bool:
        """Whether there is no result."""
        return self.result is None


def run_folder(folder: Path, problem: str, optimizer: str, seed: int) -> Path:
    """Return the folder of a run in that of its comparison."""
    readable = (
        re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:40] for name in (problem, optimizer)
    )
    unique = digest([problem, optimizer, str(seed)])[:8]
    return folder / "runs" / "-".join([*filter(None, readable), f"seed{seed}", unique])


def is_finished(folder: Path) -> bool:
    """Tell whether a run has a result."""
    return (folder / _RESULT / "result.json").is_file()


def keep_result(folder: Path, result: Result, own: Sequence[int], spent: int) -> None:
    """Save the result of a run.

    Raises
    ------
    SaveError
        If it cannot be written.
    """
    write_whole(folder / _OWN, {"own": list(own), "spent": spent})
    result.save(folder / _RESULT)


def keep_failure(
    order: Order,
    reason: str,
    fingerprint: str,
    configuration: str,
    own: Sequence[int] = (),
    spent: int = 0,
) -> None:
    """Save why a run failed, with the rows that its journal has.

    Raises
    ------
    SaveError
        If it cannot be written.
    """
    rows = _journaled(order.folder / JOURNAL, fingerprint, order.seed, configuration)
    _write_failure(order.folder, reason, rows, _as_long(own, rows), spent)


def load_run(
    folder: Path,
    key: tuple[str, str, int],
    fingerprint: str,
    configuration: str,
    problem: Problem | None,
) -> Run:
    """Read what came of a run.

    Parameters
    ----------
    folder : Path
        The run's folder.
    key : (str, str, int)
        Names of problem and optimizer, and the seed.
    fingerprint, configuration : str
        Of problem and optimizer, by which a journal knows the run.
    problem : Problem or None
        What the result is attached to.

    Raises
    ------
    LoadError
        If something is damaged.
    GraphMismatchError
        If the result belongs to another problem.
    """
    if is_finished(folder):
        result = Result.load(folder / _RESULT, problem)
        noted = _read(folder / _OWN)
        rows, reason, seconds = result.rows, result.reason, result.seconds
        own, spent = noted["own"], noted["spent"]
    else:
        result = None
        if (folder / _FAILURE).is_file():
            noted = _read(folder / _FAILURE)
            rows, reason = noted["rows"], noted["reason"]
            own, spent = noted["own"], noted["spent"]
        else:
            rows = _journaled(folder / JOURNAL, fingerprint, key[2], configuration)
            own, spent, reason = (), 0, _UNFINISHED
        seconds = rows[-1].clock if rows else 0.0
    in_rows = sum(row.forward_samples + row.backward_samples for row in rows)
    return Run(
        *key,
        rows=rows,
        own=_as_long(own, rows),
        samples=in_rows + spent,
        seconds=seconds,
        reason=reason,
        result=result,
    )


def save_run(folder: Path, run: Run) -> None:
    """Write a run into a new folder, without its journal.

    Raises
    ------
    SaveError
        If it cannot be written.
    """
    folder.mkdir(parents=True)
    in_rows = sum(row.forward_samples + row.backward_samples for row in run.rows)
    spent = run.samples - in_rows
    if run.result is not None:
        keep_result(folder, run.result, run.own, spent)
    else:
        _write_failure(folder, run.reason, run.rows, run.own, spent)


def write_whole(path: Path, document: Mapping[str, Any]) -> None:
    """Write a file of JSON, or leave what was there.

    Raises
    ------
    SaveError
        If it cannot be written.
    """
    beside = path.with_name(f".{path.name}-{uuid.uuid4().hex[:12]}")
    try:
        beside.write_text(json.dumps(document, allow_nan=False, indent=1), encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise SaveError(
            f"{str(path)!r} could not be written: {error}. Free some space or choose another "
            "folder, and start again: what was finished before is kept."
        ) from error


def _write_failure(
    folder: Path, reason: str, rows: Sequence[Row], own: Sequence[int], spent: int
) -> None:
    """Write ``failure.json``."""
    written = [json.loads(row.to_json()) for row in rows]
    write_whole(
        folder / _FAILURE, {"reason": reason, "rows": written, "own": list(own), "spent": spent}
    )


def _read(path: Path) -> dict[str, Any]:
    """Read ``own.json`` or ``failure.json``."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, Any] = {
            "own": tuple(int(samples) for samples in document["own"]),
            "spent": int(document["spent"]),
        }
        if "reason" in document:
            found["reason"] = str(document["reason"])
            found["rows"] = tuple(Row.from_json(json.dumps(row)) for row in document["rows"])
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise LoadError(f"{str(path)!r} is damaged or missing: {error!r}.") from error
    return found


def _as_long(own: Sequence[int], rows: Sequence[Row]) -> tuple[int, ...]:
    """Return one number for each row; what is not known is as it was before."""
    last = own[-1] if own else 0
    return tuple(own[: len(rows)]) + (last,) * (len(rows) - len(own))


def _journaled(path: Path, fingerprint: str, seed: int, configuration: str) -> tuple[Row, ...]:
    """Return the rows of a run that its journal has, in order."""
    if not path.is_file():
        return ()
    try:
        with Journal(path) as journal:
            known = journal.rows(fingerprint, seed)
            uses = journal.uses(fingerprint, seed, configuration)
    except JournalError:
        return ()
    rows: list[Row] = []
    while (use := uses.get(len(rows))) is not None and use[0] in known:
        rows.append(dataclasses.replace(known[use[0]], index=len(rows), clock=use[1]))
    return tuple(rows)
