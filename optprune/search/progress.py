"""The progress of a run, in a terminal or a notebook."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from optprune.bar import progress_bar
from optprune.search.minimization import signs
from optprune.search.nondominated import hypervolume, objective_values, reference_point

if TYPE_CHECKING:
    from optprune.search.session import Session

__all__ = ["Progress"]

_SECONDS_BETWEEN = 0.2


class Progress:
    """A bar with evaluations, the best feasible first objective, and the hypervolume.

    Parameters
    ----------
    evaluations : int, optional
        How many evaluations the bar is long; without it the bar only counts.
    title : str
        What stands before the bar.
    """

    def __init__(self, evaluations: int | None, title: str) -> None:
        self._bar: Any = progress_bar(evaluations, title, "eval")
        self._last = 0.0

    def __call__(self, session: Session) -> None:
        """Show how far a session is."""
        now = time.monotonic()
        if not self._bar.disable and now - self._last >= _SECONDS_BETWEEN:
            self._last = now
            self.show(session)

    def show(self, session: Session) -> None:
        """Show how far a session is, at once."""
        if self._bar.disable:
            return
        objectives = session.problem.objectives
        sign = signs(session.problem)
        values = objective_values(session.rows, [m.name for m in objectives], sign)
        texts = {}
        if np.isfinite(values).any():
            texts[objectives[0].name] = f"{np.nanmin(values[:, 0]) * sign[0]:.4g}"
        if len(objectives) > 1:
            reference = reference_point(session.problem.reference * sign, values)
            texts["hypervolume"] = f"{hypervolume(values, reference):.4g}"
        self._bar.set_postfix(texts, refresh=False)
        self._bar.update(session.evaluations - self._bar.n)

    def finish(self, session: Session) -> None:
        """Show how far a session came; a bar that was to be longer ends there."""
        self._bar.total = session.evaluations
        self.show(session)
        self._bar.refresh()

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        self._bar.close()
