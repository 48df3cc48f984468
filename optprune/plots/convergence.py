"""Convergence: how good the best was after so many evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["convergence"]


def convergence(
    values: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    *,
    direction: Literal["minimize", "maximize"] = "minimize",
    x: npt.ArrayLike | None = None,
    x_label: str = "evaluations",
    y_label: str = "best so far",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the best value so far against the evaluations.

    Parameters
    ----------
    values : array (n_evaluations,) or (n_seeds, n_evaluations), or mapping of name to such
        What was observed, in the order of evaluation; NaN where there was nothing (infeasible or
        failed). With several seeds the line is their median, the band their range. With a mapping
        there is one line a name.
    direction : {"minimize", "maximize"}
        Which way is better. Hypervolume is maximized.
    x : array (n_evaluations,), optional
        What to draw along the axis instead of 1, 2, …: seconds or samples, for instance.
    x_label, y_label, title : str
        Texts, with units.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Raises
    ------
    ArgumentError
        If `direction` is unknown, an array has more than two dimensions or no value, or `x` has
        another length.
    """
    from optprune.plots.picture import COLORS, axes_or_new, tidy

    if direction not in ("minimize", "maximize"):
        raise ArgumentError(
            f"convergence: `direction` must be 'minimize' or 'maximize', not {direction!r}."
        )
    named = values if isinstance(values, Mapping) else {"": values}
    curves = {name: _best_so_far(name, data, direction) for name, data in named.items()}
    ax = axes_or_new(ax, 6.4, 4.0)
    for index, (name, best) in enumerate(curves.items()):
        n_evaluations = best.shape[1]
        along = np.arange(1, n_evaluations + 1) if x is None else np.asarray(x, dtype=np.float64)
        if along.shape != (n_evaluations,):
            raise ArgumentError(
                f"convergence: `x` has shape {along.shape}, but {n_evaluations} values "
                "are to be drawn; give one position a value."
            )
        # Before every seed has found something there is no median to show.
        complete = np.isfinite(best).all(axis=0)
        along, best = along[complete], best[:, complete]
        color = COLORS[index % len(COLORS)]
        ax.step(
            along, np.median(best, axis=0), where="post", color=color, linewidth=1.7, label=name
        )
        if len(best) > 1:
            ax.fill_between(
                along,
                best.min(axis=0),
                best.max(axis=0),
                step="post",
                color=color,
                alpha=0.16,
                linewidth=0,
            )
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    n_seeds = max(len(best) for best in curves.values())
    default = f"Median and range of {n_seeds} seeds" if n_seeds > 1 else "Convergence"
    ax.set_title(title if title is not None else default, loc="left")
    tidy(ax)
    if any(curves):
        ax.legend(frameon=True, framealpha=0.9, edgecolor="none", fontsize="small")
    return ax


def _best_so_far(
    name: str, values: npt.ArrayLike, direction: Literal["minimize", "maximize"]
) -> npt.NDArray[np.float64]:
    """Return the running best, (n_seeds, n_evaluations), NaN before the first finite value."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2) or array.size == 0:
        where = f" of {name!r}" if name else ""
        raise ArgumentError(
            f"convergence: `values`{where} must have shape (n_evaluations,) or "
            f"(n_seeds, n_evaluations) with at least one value, not {array.shape}."
        )
    array = np.atleast_2d(array)
    best = np.fmin if direction == "minimize" else np.fmax
    return best.accumulate(array, axis=1)
