"""A figure that shows itself in a notebook and leaves nothing behind in pyplot.

Imported by the plots when they are called: it is the one module here that imports matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = [
    "ACCENT",
    "COLORS",
    "DARK",
    "LIGHT",
    "MUTED",
    "Picture",
    "axes_or_new",
    "label_of",
    "tidy",
]

# The colors of Okabe and Ito, which stay apart for color-blind readers and in grey print.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
ACCENT = COLORS[1]
DARK = "#333333"
MUTED = "#8C8C8C"
LIGHT = "#DDDDDD"


class Picture(Figure):
    """A matplotlib figure outside pyplot's register, so that it is freed when it is dropped."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def axes_or_new(ax: Axes | None, width: float, height: float) -> Axes:
    """Return `ax`, or the axes of a new `Picture` of `width` × `height` inches."""
    if ax is not None:
        return ax
    picture = Picture(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(picture)
    return picture.add_subplot()


def label_of(name: str, labels: Mapping[str, str] | None) -> str:
    """Return the label of a column: the one given, else its name in plain words."""
    return (labels or {}).get(name, name.replace("_", " "))


def tidy(ax: Axes, *, grid: str = "both") -> None:
    """Take away the frame's top and right side and put a light grid behind the data."""
    ax.spines["top"].set_visible(False)
    ax.spines["right"].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(MUTED)
    ax.tick_params(colors=DARK)
    ax.set_axisbelow(True)
    if grid == "both":
        ax.grid(visible=True, color=LIGHT, linewidth=0.7)
    elif grid == "x":
        ax.grid(visible=True, axis="x", color=LIGHT, linewidth=0.7)
