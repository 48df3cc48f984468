"""Results on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optprune.errors import GraphMismatchError, LoadError
from optprune.folders import whole_folder
from optprune.meter import Meter
from optprune.search.reporting import Reads
from optprune.search.row import Row
from optprune.search.starts import load_starts, save_starts
from optprune.search.summary import Summary

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search.result import Result

__all__ = ["FORMAT", "check_problem", "load_parts", "save_result"]

FORMAT = 1
"""Format number of a saved result."""

_FILE = "result.json"


def save_result(result: Result, folder: str | Path) -> Path:
    """Save a result; see `Result.save`."""
    document = {
        "format": FORMAT,
        "summary": result.summary.to_dict(),
        "optimizer": result.optimizer,
        "configuration": result.configuration,
        "seed": result.seed,
        "reason": result.reason,
        "seconds": result.seconds,
        "meter": vars(result.meter),
        "setup": vars(result.setup),
        "test_reads": result.test_reads,
        "dense": json.loads(result.dense.to_json()),
        "rows": [json.loads(row.to_json()) for row in result.rows],
    }
    with whole_folder(folder, _FILE) as work:
        (work / _FILE).write_text(json.dumps(document, allow_nan=False), encoding="utf-8")
        result.log.to_csv(work / "log.csv", index=False)
        result.front.to_csv(work / "front.csv", index=False)
        save_starts(work, result.starts)
    return Path(folder)


def load_parts(folder: str | Path) -> dict[str, Any]:
    """Read what `save_result` wrote; see `Result.load`.

    Returns
    -------
    dict of str to object
        Every field of the result but its problem.
    """
    path = Path(folder) / _FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LoadError(f"there is no saved result in {str(folder)!r}: {error}.") from error
    except ValueError as error:
        raise LoadError(f"{str(path)!r} is damaged: {error}.") from error
    try:
        if document["format"] != FORMAT:
            raise LoadError(
                f"{str(path)!r} is written in format {document['format']!r}; this version of "
                f"optprune reads format {FORMAT}. Install the version that wrote it."
            )
        return {
            "rows": tuple(Row.from_json(json.dumps(row)) for row in document["rows"]),
            "dense": Row.from_json(json.dumps(document["dense"])),
            "reason": str(document["reason"]),
            "optimizer": str(document["optimizer"]),
            "configuration": str(document["configuration"]),
            "seed": int(document["seed"]),
            "seconds": float(document["seconds"]),
            "meter": Meter(**document["meter"]),
            "setup": Meter(**document["setup"]),
            "summary": Summary.from_dict(document["summary"]),
            "starts": load_starts(Path(folder)),
            "reads": Reads(int(document["test_reads"])),
        }
    except LoadError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LoadError(f"{str(path)!r} is damaged: {error!r}.") from error


def check_problem(folder: str | Path, summary: Summary, problem: Problem) -> None:
    """Raise `GraphMismatchError` unless a saved result was made with a problem."""
    if problem.fingerprint == summary.fingerprint:
        return
    ours, theirs = problem.description, summary.description
    parts = [key for key in ours if theirs.get(key) != ours[key]]
    different = "; ".join(f"{key}: {theirs.get(key)} there, {ours[key]} here" for key in parts)
    raise GraphMismatchError(
        f"the result in {str(folder)!r} was made with another problem ({different}); give the one "
        "that it was made with, or none to read the tables only."
    )
