"""Progress bars, in a terminal or a notebook."""

from __future__ import annotations

import sys
import warnings
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(total: int | None, title: str, unit: str, **options: Any) -> Any:
    """Return a bar of tqdm, which shows itself in a terminal or a notebook, not in a file.

    Parameters
    ----------
    total : int or None
        How long it is; None for a bar that only counts.
    title : str
        What stands before it.
    unit : str
        What it counts.
    **options
        For ``tqdm``.
    """
    with warnings.catch_warnings():
        # Without notebook widgets the bar falls back to text, which needs no warning.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    return tqdm(
        total=total,
        desc=title,
        unit=unit,
        # None: shown in a terminal only, not in a file.
        disable=False if _in_notebook() else None,
        file=sys.stderr,
        dynamic_ncols=True,
        **options,
    )


def _in_notebook() -> bool:
    """Tell whether this runs in a kernel of Jupyter."""
    python = sys.modules.get("IPython")
    shell = None if python is None else python.get_ipython()
    return hasattr(shell, "kernel")
