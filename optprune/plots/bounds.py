"""Constraints in a picture of two metrics. Imported by the plots when they are called."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from optprune.errors import ArgumentError
from optprune.plots.picture import DARK, LIGHT

__all__ = ["draw_bounds"]


def draw_bounds(ax: Axes, x: str, y: str, bounds: Sequence[tuple[str, str, float]]) -> None:
    """Draw a line at every bound on one of the two columns, and shade what it forbids.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        The picture, with everything else drawn; it is widened to show the bounds.
    x, y : str
        The columns on its axes.
    bounds : sequence of (str, str, float)
        Column, ``"<="`` or ``">="``, and the bound; those on other columns are not drawn.

    Raises
    ------
    ArgumentError
        If a bound is no such triple.
    """
    for bound in bounds:
        if len(bound) != 3 or bound[1] not in ("<=", ">=") or not np.isfinite(float(bound[2])):
            raise ArgumentError(
                "front: a bound must be a column, '<=' or '>=', and a finite number; "
                f"got {bound!r}."
            )
    drawn = [(column == x, sense, float(at)) for column, sense, at in bounds if column in (x, y)]
    limits = {True: ax.get_xlim(), False: ax.get_ylim()}
    for along_x, _, at in drawn:
        low, high = limits[along_x]
        margin = 0.04 * (high - low)
        limits[along_x] = min(low, at - margin), max(high, at + margin)
    for number, (along_x, sense, at) in enumerate(drawn):
        line, span = (ax.axvline, ax.axvspan) if along_x else (ax.axhline, ax.axhspan)
        line(
            at,
            color=DARK,
            linewidth=1.1,
            linestyle=(0, (4, 3)),
            zorder=1.5,
            label=None if number else f"constraint{'s' * (len(drawn) > 1)}",
        )
        low, high = limits[along_x]
        start, stop = (at, high) if sense == "<=" else (low, at)
        span(start, stop, facecolor=LIGHT, alpha=0.45, linewidth=0, zorder=0)
    ax.set_xlim(limits[True])
    ax.set_ylim(limits[False])
