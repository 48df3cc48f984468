"""The folder that a command writes: a result, a picture, one network, and what made them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from optprune.errors import SaveError
from optprune.folders import whole_folder
from optprune.search import Choice, Result

__all__ = [
    "MARK",
    "NETWORK",
    "RESULT",
    "check_free",
    "output_folder",
    "save_picture",
    "taken_index",
]

MARK = "optprune.json"
"""The file that tells a folder of ours; it holds the command that made it."""

RESULT, NETWORK = "result", "network"
_PICTURES = ("front.png", "convergence.png")


def check_free(folder: Path, *, replace: bool) -> None:
    """Check that a folder may be written, before a search and not after it.

    Parameters
    ----------
    folder : Path
        Where the output is to go.
    replace : bool
        Whether the output of an earlier run may be replaced.

    Raises
    ------
    SaveError
        If something is there that must stay, or nothing can be written there.
    """
    if folder.exists() and not folder.is_dir():
        raise SaveError(f"--out {folder}: this is a file; name a folder.")
    if folder.is_dir() and any(folder.iterdir()):
        ours = {MARK, RESULT, NETWORK, *_PICTURES}
        alien = sorted(path.name for path in folder.iterdir() if path.name not in ours)
        if alien or not (folder / MARK).is_file():
            what = f" ({alien[0]!r} is in it)" if alien else ""
            raise SaveError(
                f"--out {folder}: this folder holds what optprune has not written{what}, and is "
                "left alone. Name another folder."
            )
        if not replace:
            raise SaveError(
                f"--out {folder}: an earlier run is in it. Name another folder, or say --replace."
            )
    parent = folder.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise SaveError(f"--out {folder}: {parent} is a file.")


@contextmanager
def output_folder(folder: Path, command: str, choice: Choice | None) -> Iterator[Path]:
    """Write the output whole or not at all.

    Parameters
    ----------
    folder : Path
        Where it goes, when all of it is written.
    command : str
        The command that made it.
    choice : Choice or None
        The network that is saved in it, if there is one.

    Yields
    ------
    Path
        An empty folder to write into.

    Raises
    ------
    SaveError
        If it cannot be written; nothing half-written is left.
    """
    with whole_folder(folder, MARK) as work:
        yield work
        document = {
            "format": 1,
            "optprune": version("optprune"),
            "command": command,
            "taken": None if choice is None else choice.index,
        }
        (work / MARK).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def taken_index(folder: Path) -> int | None:
    """Return the index of the network that an output folder holds, None where none is known."""
    try:
        taken = json.loads((folder / MARK).read_text(encoding="utf-8"))["taken"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return taken if isinstance(taken, int) else None


def save_picture(result: Result, folder: Path, choice: Choice | None = None) -> Path | None:
    """Draw the front, or for one objective the convergence, into a folder.

    Parameters
    ----------
    result : Result
        What was found.
    folder : Path
        Where the picture goes.
    choice : Choice, optional
        A network to mark on the front.

    Returns
    -------
    Path or None
        The picture; None where nothing is feasible, so that there is nothing to draw.
    """
    if not result.front_indices:
        return None
    objectives = result.summary.objectives
    chosen = None
    if len(objectives) > 1 and choice is not None:
        chosen = (choice.metrics[objectives[1]], choice.metrics[objectives[0]])
    axes = result.plot() if chosen is None else result.plot(chosen=chosen)
    path = folder / _PICTURES[len(objectives) == 1]
    figure = axes.get_figure(root=True)
    if figure is None:
        return None
    figure.savefig(path, dpi=150)
    return path
