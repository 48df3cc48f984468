"""The structure: how much of every group was kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["structure"]


def structure(
    names: Sequence[str],
    widths: npt.ArrayLike,
    dense_widths: npt.ArrayLike,
    *,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the kept width of every group against its dense width, one bar a group.

    Parameters
    ----------
    names : sequence of str (n_groups,)
        The groups' names, in the network's order.
    widths : array (n_groups,)
        Units kept.
    dense_widths : array (n_groups,)
        Units of the dense network.
    title : str, optional
        The title; by default how many of all units are kept.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default, as high as the groups need.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Raises
    ------
    ArgumentError
        If the lengths differ, there is no group, or a width exceeds its dense width.
    """
    from optprune.plots.picture import COLORS, DARK, LIGHT, axes_or_new, tidy

    kept = np.asarray(widths, dtype=np.int64)
    dense = np.asarray(dense_widths, dtype=np.int64)
    if kept.shape != (len(names),) or dense.shape != (len(names),) or not len(names):
        raise ArgumentError(
            "structure: `names`, `widths` and `dense_widths` must have one entry a group, "
            f"but have shapes ({len(names)},), {kept.shape} and {dense.shape}."
        )
    if np.any(kept > dense) or np.any(kept < 0):
        guilty = int(np.flatnonzero((kept > dense) | (kept < 0))[0])
        raise ArgumentError(
            f"structure: group {names[guilty]!r} keeps {kept[guilty]} of {dense[guilty]} units; "
            "a width lies between 0 and the dense width."
        )
    n_groups = len(names)
    ax = axes_or_new(ax, 6.8, 1.3 + 0.3 * n_groups)
    rows = np.arange(n_groups)
    ax.barh(rows, dense, height=0.72, color=LIGHT, label="dense")
    ax.barh(rows, kept, height=0.72, color=COLORS[0], label="kept")
    reach = float(dense.max())
    for row in rows:
        ax.text(
            float(dense[row]) + 0.015 * reach,
            float(row),
            f"{kept[row]} of {dense[row]}",
            va="center",
            fontsize="small",
            color=DARK,
        )
    ax.set_yticks(rows, labels=list(names))
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(n_groups - 0.4, -0.6)
    ax.set_xlim(0, 1.18 * reach)
    ax.set_xlabel("units")
    share = kept.sum() / dense.sum()
    default = f"{kept.sum()} of {dense.sum()} units kept ({share:.0%})"
    ax.set_title(title if title is not None else default, loc="left")
    tidy(ax, grid="x")
    ax.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=2,
        frameon=False,
        fontsize="small",
        borderaxespad=0.2,
    )
    return ax
