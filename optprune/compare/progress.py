"""One bar for all runs of a comparison."""

from __future__ import annotations

from typing import Any

from optprune.bar import progress_bar
from optprune.compare.orders import Order
from optprune.compare.running import Ended

__all__ = ["Progress"]


class Progress:
    """A bar over all runs: of evaluations where the budget names them, else of runs.

    Parameters
    ----------
    runs : int
        How many there are.
    evaluations : int or None
        The budget of each.
    done : int
        How many are finished already.
    """

    def __init__(self, runs: int, evaluations: int | None, done: int) -> None:
        self._runs = runs
        self._evaluations = evaluations
        self._done = done
        self._failed = 0
        self._under_way: dict[Order, int] = {}
        # Runs may end early; what they leave is taken off the bar's length.
        total = runs - done if evaluations is None else (runs - done) * evaluations
        unit = "run" if evaluations is None else "eval"
        self._bar: Any = progress_bar(total, "compare", unit)
        self._show()

    def advance(self, order: Order, evaluations: int) -> None:
        """Show how far a run is."""
        if self._evaluations is not None:
            self._bar.update(evaluations - self._under_way.get(order, 0))
        self._under_way[order] = evaluations

    def end(self, order: Order, ended: Ended) -> None:
        """Show that a run has ended."""
        counted = self._under_way.pop(order, 0)
        self._done += 1
        self._failed += bool(ended.failure)
        if self._evaluations is None:
            self._bar.update(1)
        else:
            reached = max(ended.evaluations, counted)
            self._bar.total = max(self._bar.total - (self._evaluations - reached), 0)
            self._bar.update(reached - counted)
        self._show()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def _show(self) -> None:
        texts = {"runs": f"{self._done}/{self._runs}"}
        if self._failed:
            texts["failed"] = str(self._failed)
        self._bar.set_postfix(texts)
