"""The progress of a fit, in a terminal or a notebook."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from optprune.bar import progress_bar

__all__ = ["TrainingBar"]


class TrainingBar:
    """A bar over the steps of a fit, with the loss; closed at the end of a ``with`` block.

    Parameters
    ----------
    shown : bool
        Without it nothing is shown. With it the bar is shown in a terminal or a notebook only,
        not in a file.
    steps : int
        How many steps the bar is long.
    """

    def __init__(self, shown: bool, steps: int) -> None:
        self._bar: Any = None
        if not shown:
            return
        self._bar = progress_bar(steps, "training", "step")

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, loss: float) -> None:
        """Show how many steps are done and the loss of the last one."""
        if self._bar is None or self._bar.disable:
            return
        self._bar.set_postfix({"loss": f"{loss:.4g}"}, refresh=False)
        self._bar.update(done - self._bar.n)
