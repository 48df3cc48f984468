"""The row of one measurement, written to a file as it grows."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Journal", "Row", "described"]

OUTCOMES = ("traced", "cut", "runs", "exact", "trains", "saved", "exported", "onnx")
OUTCOMES += ("dense_trains", "dense_exported")
"""Steps that end well or not; a step that raises did not."""

Row = dict[str, Any]


class Journal:
    """Writes a line of JSON for every step, so that a process that is stopped leaves its row.

    Parameters
    ----------
    path : Path
        The file; a line holds ``"phase"``, ``"step"`` or the whole ``"row"`` so far.
    """

    def __init__(self, path: Path) -> None:
        self.row: Row = {"errors": {}}
        self._path = path

    def phase(self, name: str) -> None:
        """Say that a phase begins."""
        self._write({"phase": name})

    def write(self, **values: Any) -> None:
        """Add values to the row."""
        self.row.update(values)
        self._write({"row": self.row})

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note what a step raises, as its error, and go on."""
        self._write({"step": name})
        try:
            yield
        except Exception as error:  # noqa: BLE001  (a network may raise anything)
            self.row["errors"][name] = described(error)
            self.write(**({name: False} if name in OUTCOMES else {}))

    def _write(self, line: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def described(error: Exception) -> str:
    """Return what an error says, without the folders of this machine."""
    text = " ".join(str(error).split())
    for folder in (*sys.path, str(Path(__file__).parents[2]), sys.prefix, tempfile.gettempdir()):
        if len(folder) > 1:
            text = text.replace(folder + os.sep, "")
    return f"{type(error).__name__}: {text[:300]}"
