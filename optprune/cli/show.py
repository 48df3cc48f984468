"""``optprune show``: a saved result, read without its network."""

from __future__ import annotations

from pathlib import Path

from optprune.cli.folder import NETWORK, RESULT, taken_index
from optprune.cli.printing import make_console, print_front, print_search
from optprune.errors import LoadError
from optprune.search import Result

__all__ = ["show"]


def show(folder: Path) -> None:
    """Print a saved result: what was searched, why it ended, and the front.

    Parameters
    ----------
    folder : Path
        What `demo` or `solve` has written, or a folder of `Result.save`.

    Raises
    ------
    LoadError
        If there is no result, or it is damaged.
    """
    inner = folder / RESULT
    if not folder.is_dir():
        raise LoadError(f"there is no folder {str(folder)!r}.")
    result = Result.load(inner if inner.is_dir() else folder)
    console = make_console()
    print_search(console, result)
    for part, words in result.summary.description.items():
        console.print(f"  {part}: {words}", style="dim")
    console.print()
    taken = taken_index(folder)
    print_front(console, result, taken)
    if taken is not None:
        console.print(
            f"\nNetwork {taken} is in {folder / NETWORK}. In Python:\n"
            f"  optprune.load({str(folder / NETWORK)!r}, dense_network)\n"
            "or, where the task says how its network is built, with trust=True in place of it."
        )
