"""Folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optprune.errors import SaveError

__all__ = ["whole_folder"]


@contextmanager
def whole_folder(target: str | Path, mark: str) -> Iterator[Path]:
    """Write a folder beside its place, and move it there when everything is written.

    Parameters
    ----------
    target : str or Path
        Where the folder goes; one that is there already and holds `mark` is replaced.
    mark : str
        Name of a file that tells that a folder was written by us.

    Yields
    ------
    Path
        An empty folder to write into.

    Raises
    ------
    SaveError
        If something cannot be written, for instance on a full disk, or if `target` is something
        else; nothing half-written is left, and what was there before stays.
    """
    place = Path(target).absolute()
    if place.exists() and not _ours(place, mark):
        raise SaveError(
            f"{str(target)!r} exists and was not written by optprune; it is left alone. Name "
            "another folder, or remove it."
        )
    made: list[Path] = []
    work: Path | None = None
    try:
        made = _make_parents(place.parent)
        work = _beside(place)
        work.mkdir()
        yield work
        _swap(work, place)
    except BaseException as error:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
        for folder in reversed(made):
            folder.rmdir()
        if isinstance(error, OSError) and not isinstance(error, SaveError):
            raise SaveError(
                f"{str(target)!r} could not be saved: {error}. Nothing was written; free some "
                "space or choose another folder, and save again."
            ) from error
        raise


def _ours(place: Path, mark: str) -> bool:
    """Tell whether a folder may be replaced."""
    return place.is_dir() and ((place / mark).is_file() or not any(place.iterdir()))


def _make_parents(folder: Path) -> list[Path]:
    """Make the folders that are missing, and return them, outermost first."""
    missing: list[Path] = []
    while not folder.exists():
        missing.insert(0, folder)
        folder = folder.parent
    for path in missing:
        path.mkdir()
    return missing


def _swap(work: Path, place: Path) -> None:
    """Put `work` where `place` is."""
    if not place.exists():
        os.replace(work, place)
        return
    old = _beside(place)
    os.replace(place, old)
    try:
        os.replace(work, place)
    except OSError:
        os.replace(old, place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(place: Path) -> Path:
    """Return a free hidden name next to `place`, on the same disk."""
    return place.with_name(f".{place.name}-{uuid.uuid4().hex[:12]}")
