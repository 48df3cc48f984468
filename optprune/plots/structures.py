"""Structures: how much of every group several networks keep, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["structures"]

_MOST = 6


def structures(
    names: Sequence[str],
    widths: npt.ArrayLike,
    dense_widths: npt.ArrayLike,
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the kept fraction of every group, one bar a network.

    Parameters
    ----------
    names : sequence of str (n_groups,)
        The groups' names, in the network's order.
    widths : array (n_networks, n_groups)
        Units kept by each of up to six networks.
    dense_widths : array (n_groups,)
        Units of the dense network.
    labels : sequence of str (n_networks,), optional
        What the legend calls the networks; numbers from 0 by default.
    title : str, optional
        The title.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default, as high as the bars need.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on. The units of a group stand behind its name, those kept at the bars.

    Raises
    ------
    ArgumentError
        If shapes do not fit, there are no networks or more than six, or a width exceeds its dense
        width.
    """
    from optprune.plots.picture import DARK, axes_or_new, tidy

    dense = np.asarray(dense_widths, dtype=np.int64)
    kept = np.asarray(widths, dtype=np.int64)
    n_groups = len(names)
    if kept.ndim != 2 or kept.shape[1] != n_groups or dense.shape != (n_groups,) or not n_groups:
        raise ArgumentError(
            "structures: `names`, `dense_widths` and every row of `widths` must have one entry a "
            f"group, but have shapes ({n_groups},), {dense.shape} and {kept.shape}."
        )
    n = len(kept)
    if not 1 <= n <= _MOST:
        raise ArgumentError(
            f"structures: from one to {_MOST} networks can be told apart in a picture; got {n}. "
            "plots.parallel draws more."
        )
    if np.any(kept > dense) or np.any(kept < 0):
        row, group = np.argwhere((kept > dense) | (kept < 0))[0]
        raise ArgumentError(
            f"structures: network {row} keeps {kept[row, group]} of {dense[group]} units of group "
            f"{names[group]!r}; a width lies between 0 and the dense width."
        )
    if labels is not None and len(labels) != n:
        raise ArgumentError(
            f"structures: `labels` must have one text a network, {n}; got {len(labels)}."
        )
    called = [str(i) for i in range(n)] if labels is None else [str(label) for label in labels]
    height = 0.84 / n
    ax = axes_or_new(ax, 7.2, 1.4 + n_groups * (0.12 + 0.17 * n))
    rows = np.arange(n_groups)
    share = kept / dense
    for i, color in enumerate(_colors(n)):
        places = rows - 0.42 + (i + 0.5) * height
        ax.barh(places, share[i], height=0.9 * height, color=color, label=called[i])
        for place, value, units in zip(places, share[i], kept[i], strict=True):
            ax.text(
                float(value) + 0.008,
                float(place),
                str(units),
                va="center",
                fontsize="x-small",
                color=DARK,
            )
    ax.set_yticks(rows, labels=[f"{name} ({d})" for name, d in zip(names, dense, strict=True)])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(n_groups - 0.45, -0.55)
    ax.set_xlim(0, 1.06)
    ax.set_xlabel("units kept (fraction of dense; at the bars their number)")
    ax.set_title("Widths of each group" if title is None else title, loc="left")
    tidy(ax, grid="x")
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize="small",
        borderaxespad=0.2,
    )
    return ax


def _colors(n: int) -> list[tuple[float, float, float, float]]:
    """Return colors from dark to light, which are told apart in grey print too."""
    from matplotlib import colormaps

    scale = colormaps["viridis"]
    return [scale(0.15 + 0.75 * i / max(n - 1, 1)) for i in range(n)]
