"""What the benchmarks share: tables in Markdown, results that are whole at any time, versions."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def environment(packages: Iterable[str], **more: object) -> dict[str, object]:
    """Say what figures are measured with.

    Parameters
    ----------
    packages : iterable of str
        Distributions whose versions are told.
    **more
        What else is to be told.
    """
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "cores": os.cpu_count() or 0,
        **more,
    }


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """Write a table; all columns but the first `words` are aligned to the right."""
    rule = [*["---"] * words, *["---:"] * (len(header) - words)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def measured_with(found: dict[str, object]) -> str:
    """Write an environment in a line."""
    return f"Measured with: {', '.join(f'{name} {value}' for name, value in found.items())}."


def write_json(name: str, document: dict[str, Any]) -> None:
    """Write results, whole or not at all."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(document, indent=1) + "\n")
    os.replace(part, path)


def read_json(name: str) -> dict[str, Any]:
    """Read results; an empty dict where there are none."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def write_section(path: Path, name: str, text: str) -> None:
    """Put text between the markers of a README.

    Raises
    ------
    SystemExit
        If it has none.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, first, rest = path.read_text().partition(begin)
    _, second, after = rest.partition(end)
    if not (first and second):
        raise SystemExit(f"{path} has no markers {begin} … {end}: nothing written")
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
