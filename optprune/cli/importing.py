"""Objects written ``package.module:name``, of the current folder or of what is installed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from optprune.errors import ArgumentError, nearest

__all__ = ["imported"]


def imported(target: str, option: str) -> Any:
    """Import an object of the user's.

    Parameters
    ----------
    target : str
        ``package.module:name``.
    option : str
        What it was written after, for messages.

    Raises
    ------
    ArgumentError
        If it is written otherwise, the module cannot be imported, or has no such name.
    """
    said = f"{option} {target!r}"
    module_name, _, name = target.partition(":")
    if not module_name or not name.isidentifier() or module_name.startswith("."):
        raise ArgumentError(f"{option} must be written package.module:name, got {target!r}.")
    folder = str(Path.cwd())
    if folder not in sys.path:  # as python itself does for a script
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ArgumentError(
            f"{said}: {module_name} cannot be imported from here or from what is installed "
            f"({type(error).__name__}: {error})."
        ) from error
    found: Any = getattr(module, name, None)
    if found is None:
        raise ArgumentError(f"{said}: {module_name} has no {name!r}.{nearest(name, dir(module))}")
    return found
