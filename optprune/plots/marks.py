"""Texts beside points, as many as there is room for. Imported by the plots when called."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from optprune.plots.picture import DARK

__all__ = ["draw_marks"]


def draw_marks(ax: Axes, points: npt.NDArray[np.float64], texts: Sequence[str]) -> None:
    """Write a text beside each point where it covers no other.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        The picture, with everything else drawn.
    points : ndarray of float64, shape (n, 2)
        Where the points are; those that are not finite get no text.
    texts : sequence of str (n,)
        What to write. The ends along the first axis go first, then what lies farthest from all
        that is written.
    """
    figure = ax.get_figure(root=True)
    shown = np.flatnonzero(np.isfinite(points).all(axis=1))
    if figure is None or not len(shown):
        return
    figure.canvas.draw()  # places depend on the layout
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    inside = ax.get_window_extent(renderer)
    places = ax.transData.transform(points[shown])
    legend = ax.get_legend()
    taken = [] if legend is None else [legend.get_window_extent(renderer)]
    for i in _spread(places):
        text = ax.annotate(
            texts[shown[i]],
            tuple(points[shown[i]]),
            (5, 4),
            textcoords="offset points",
            fontsize="x-small",
            color=DARK,
            zorder=7,
        )
        # a layout is made anew when the picture is drawn; the texts have no part in it
        text.set_in_layout(False)
        box = text.get_window_extent(renderer)
        if any(box.overlaps(other) for other in taken) or box.x1 > inside.x1 or box.y1 > inside.y1:
            text.remove()
            continue
        taken.append(box)


def _spread(places: npt.NDArray[np.float64]) -> list[int]:
    """Return an order in which each place is the farthest from all before it."""
    first = int(np.argmin(places[:, 0]))
    order = [first]
    nearest = np.linalg.norm(places - places[first], axis=1)
    while len(order) < len(places):
        nearest[order] = -1.0
        chosen = int(np.argmax(nearest))
        order.append(chosen)
        nearest = np.minimum(nearest, np.linalg.norm(places - places[chosen], axis=1))
    return order
