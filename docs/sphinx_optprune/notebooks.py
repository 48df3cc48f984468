"""The executed notebooks as pages: copied beside the pages for a build, never into git."""

from __future__ import annotations

from pathlib import Path


def copy_notebooks(source: Path, target: Path) -> None:
    """Copy what has changed, with links that lead to the same files from one folder deeper.

    Parameters
    ----------
    source : Path
        The folder of the notebooks.
    target : Path
        Inside of the documentation; made, and emptied of notebooks that are gone.
    """
    target.mkdir(exist_ok=True)
    kept = set()
    for path in sorted(source.glob("[0-9]*.ipynb")):
        text = path.read_text(encoding="utf-8").replace("](../", "](../../")
        copy = target / path.name
        kept.add(copy)
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8")
    for stale in set(target.glob("*.ipynb")) - kept:
        stale.unlink()
