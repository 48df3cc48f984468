"""An ensemble of regressions of one number: data, members, their mean and their spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["ensemble", "ensembles"]

MOST_MEMBERS, MOST_PANELS, COLUMNS = 200, 12, 4
SPREAD = 2.0
BEYOND = 0.6  # how far the picture reaches below and above the data, in their range, at most

Array = npt.NDArray[np.float64]


def ensemble(
    inputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    predictions: npt.ArrayLike,
    *,
    true: npt.ArrayLike | None = None,
    inputs_between: npt.ArrayLike | None = None,
    x_label: str = "x",
    y_label: str = "y",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the members of an ensemble over the data that they are fitted to.

    Parameters
    ----------
    inputs, targets : array (n_samples,) or (n_samples, 1)
        The data, drawn as points.
    predictions : array (n_members, n_points) or (n_members, n_points, 1)
        What each member answers. Drawn are the members (thin; evenly chosen ones of more than 200),
        their mean, and a band of two standard deviations below and above it (divisor
        n_members - 1; none for a single member). A member with a value that is not finite is left
        out; the legend says how many are left.
    true : array (n_points,) or (n_points, 1), optional
        The true function.
    inputs_between : array (n_points,) or (n_points, 1), optional
        Where `predictions` and `true` stand, in any order; by default at `inputs`.
    x_label, y_label, title : str
        Texts, with units.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on. Members that run far off leave the picture, which reaches beyond data and
        true function by 0.6 of their range at most.

    Raises
    ------
    ArgumentError
        If an array has another shape, is empty, or holds values that are not finite; of
        `predictions` one member must be finite.
    """
    from optprune.plots.picture import axes_or_new, tidy

    scene = _scene("ensemble", inputs, targets, true, inputs_between)
    members = _members("ensemble: `predictions`", predictions, len(scene.x))
    ax = axes_or_new(ax, 6.4, 4.0)
    handles = _draw(ax, scene, members, name=_counted([members]), marker=3.2)
    ax.set_ylim(scene.limits([members]))
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.set_title("Ensemble" if title is None else title, loc="left")
    tidy(ax)
    ax.legend(handles=handles, frameon=True, framealpha=0.9, edgecolor="none", fontsize="small")
    return ax


def ensembles(
    inputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    predictions: Sequence[npt.ArrayLike],
    *,
    true: npt.ArrayLike | None = None,
    inputs_between: npt.ArrayLike | None = None,
    titles: Sequence[str] | None = None,
    x_label: str = "x",
    y_label: str = "y",
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draw an ensemble as it changes: one panel an iteration, on common scales.

    Parameters
    ----------
    inputs, targets, true, inputs_between, x_label, y_label
        As in `ensemble`, the same for all panels.
    predictions : sequence of arrays (n_members, n_points) or (n_members, n_points, 1)
        What each member answers, one array an iteration, twelve at most; the number of members may
        differ.
    titles : sequence of str, optional
        A title a panel; ``"iteration 0"``, ``"iteration 1"``, … by default.
    axes : sequence of matplotlib.axes.Axes, optional
        Where to draw, one a panel; a new figure by default, with four panels in a row at most.

    Returns
    -------
    list of matplotlib.axes.Axes
        The axes drawn on, one a panel; ``axes[0].figure`` is the picture.

    Raises
    ------
    ArgumentError
        If there is no array or more than twelve, `titles` or `axes` are another number, or an array
        is none that `ensemble` takes.
    """
    from optprune.plots.picture import tidy

    scene = _scene("ensembles", inputs, targets, true, inputs_between)
    count = len(predictions)
    if not 1 <= count <= MOST_PANELS:
        hint = f"; choose some, such as predictions[::{-(-count // MOST_PANELS)}]" if count else ""
        raise ArgumentError(
            f"ensembles: `predictions` must hold 1 to {MOST_PANELS} arrays, one a panel, got "
            f"{count}{hint}."
        )
    for argument, given in (("titles", titles), ("axes", axes)):
        if given is not None and len(given) != count:
            raise ArgumentError(
                f"ensembles: `{argument}` are {len(given)} for {count} panels; give one a panel."
            )
    drawn = [
        _members(f"ensembles: `predictions[{index}]`", given, len(scene.x))
        for index, given in enumerate(predictions)
    ]
    own = axes is None
    panels = _panels(count) if axes is None else list(axes)
    words = [f"iteration {index}" for index in range(count)] if titles is None else titles
    limits, name = scene.limits(drawn), _counted(drawn)
    columns = _columns(count)
    handles: list[Artist] = []
    for index, (ax, members) in enumerate(zip(panels, drawn, strict=True)):
        found = _draw(ax, scene, members, name=name, marker=2.6)
        handles = max(handles, found, key=len)  # one panel may hold a single member
        ax.set_ylim(limits)
        ax.set_title(words[index], loc="left", fontsize="medium")
        tidy(ax)
        # In a picture of our own the scales are written at its border.
        left, bottom = index % columns == 0 or not own, index + columns >= count or not own
        ax.tick_params(labelleft=left, labelbottom=bottom)
        ax.set_xlabel(x_label if bottom else "")
        ax.set_ylabel(y_label if left else "")
    if own:
        panels[0].figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=min(columns + 1, 3) if columns < 3 else len(handles),
            frameon=False,
            fontsize="small",
        )
    else:
        panels[0].legend(handles=handles, frameon=True, edgecolor="none", fontsize="small")
    return panels


@dataclass(frozen=True, eq=False)
class Scene:
    """What all panels share.

    Parameters
    ----------
    inputs, targets : ndarray, shape (n_samples,)
        The data.
    x : ndarray, shape (n_points,)
        Where predictions stand, ascending.
    order : ndarray of int, shape (n_points,)
        Takes what was given at those points to this order.
    true : ndarray, shape (n_points,), or None
        The true function, in this order.
    """

    inputs: Array
    targets: Array
    x: Array
    order: npt.NDArray[np.int64]
    true: Array | None

    def limits(self, ensembles: Sequence[Array]) -> tuple[float, float]:
        """Return the least and the largest y of a picture of some ensembles."""
        known = self.targets if self.true is None else np.concatenate([self.targets, self.true])
        low, high = float(known.min()), float(known.max())
        spread = high - low or max(abs(high), 1.0)
        bands = [_band(members) for members in ensembles]
        lowest = min(low, *(float((mean - half).min()) for mean, half in bands))
        highest = max(high, *(float((mean + half).max()) for mean, half in bands))
        margin = 0.05 * spread
        return (
            max(lowest, low - BEYOND * spread) - margin,
            min(highest, high + BEYOND * spread) + margin,
        )


def _scene(
    who: str,
    inputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    true: npt.ArrayLike | None,
    inputs_between: npt.ArrayLike | None,
) -> Scene:
    """Check what all panels share."""
    x = _column(f"{who}: `inputs`", inputs)
    y = _column(f"{who}: `targets`", targets)
    if len(x) != len(y):
        raise ArgumentError(
            f"{who}: `inputs` are {len(x)} and `targets` {len(y)}; give one target an input."
        )
    between = x if inputs_between is None else _column(f"{who}: `inputs_between`", inputs_between)
    order = np.argsort(between, kind="stable")
    function = None
    if true is not None:
        function = _column(f"{who}: `true`", true)
        if len(function) != len(between):
            raise ArgumentError(
                f"{who}: `true` has {len(function)} values for {len(between)} points; give one a "
                "point of `inputs_between` (by default of `inputs`)."
            )
        function = function[order]
    return Scene(x, y, between[order], order, function)


def _column(what: str, values: npt.ArrayLike) -> Array:
    """Return an array of shape (n,), all finite."""
    array = _numbers(what, values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or not len(array):
        raise ArgumentError(
            f"{what} must have shape (n,) or (n, 1) with at least one value, not {array.shape}."
        )
    if not np.isfinite(array).all():
        raise ArgumentError(f"{what} must hold finite numbers.")
    return array


def _members(what: str, predictions: npt.ArrayLike, n_points: int) -> Array:
    """Return the members' answers, shape (n_members, n_points), some of them not finite."""
    array = _numbers(what, predictions)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 or array.shape[1] != n_points:
        raise ArgumentError(
            f"{what} must have shape (n_members, {n_points}), one value a point of "
            f"`inputs_between` (by default of `inputs`), not {array.shape}."
        )
    if not np.isfinite(array).all(axis=1).any():
        raise ArgumentError(
            f"{what} has no member with finite values only, of {len(array)}; there is nothing to "
            "draw."
        )
    return array


def _numbers(what: str, values: npt.ArrayLike) -> Array:
    """Return an array of float64."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"{what} must be an array of numbers (a tensor on the CPU without gradients): {error}"
        ) from error


def _band(members: Array) -> tuple[Array, Array]:
    """Return the mean of the finite members and half the band's width, shapes (n_points,)."""
    finite = members[np.isfinite(members).all(axis=1)]
    mean: Array = finite.mean(axis=0)
    if len(finite) == 1:
        return mean, np.zeros_like(mean)
    half: Array = SPREAD * finite.std(axis=0, ddof=1)
    return mean, half


def _columns(count: int) -> int:
    """Return how many panels stand in a row, so that the rows are as full as can be."""
    rows = -(-count // COLUMNS)
    return -(-count // rows)


def _panels(count: int) -> list[Axes]:
    """Return the axes of a new picture, row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from optprune.plots.picture import Picture

    columns = _columns(count)
    rows = -(-count // columns)
    size = (max(1.0 + 2.4 * columns, 5.0), 2.3 * rows + 0.6)
    picture = Picture(figsize=size, layout="constrained")
    FigureCanvasAgg(picture)
    return [picture.add_subplot(rows, columns, index + 1) for index in range(count)]


def _counted(ensembles: Sequence[Array]) -> str:
    """Return the members' name in a legend: how many are drawn, of how many."""
    finite = [int(np.isfinite(members).all(axis=1).sum()) for members in ensembles]
    whole = [len(members) for members in ensembles]
    if finite == whole:
        return f"members ({_range(whole)})"
    return f"members ({_range(finite)} of {_range(whole)})"


def _range(counts: Sequence[int]) -> str:
    """Write from where to where counts go."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _draw(ax: Axes, scene: Scene, members: Array, *, name: str, marker: float) -> list[Artist]:
    """Draw one ensemble with data of a marker's size; return what the legend shows."""
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    from optprune.plots.picture import ACCENT, COLORS, DARK

    finite = members[np.isfinite(members).all(axis=1)][:, scene.order]
    mean, half = _band(finite)
    many = len(finite) > 1
    handles: list[Artist] = []
    (data,) = ax.plot(
        scene.inputs,
        scene.targets,
        linestyle="",
        marker="o",
        markersize=marker,
        markerfacecolor="white",
        markeredgecolor=DARK,
        markeredgewidth=0.25 * marker,
        label=f"data ({len(scene.inputs)})",
        zorder=3,
    )
    handles.append(data)
    if scene.true is not None:
        (line,) = ax.plot(
            scene.x,
            scene.true,
            color=DARK,
            linewidth=1.3,
            linestyle=(0, (4, 2)),
            label="true function",
            zorder=5,
        )
        handles.append(line)
    if many:
        chosen = np.unique(np.linspace(0, len(finite) - 1, MOST_MEMBERS).round().astype(int))
        alpha = float(np.clip(20 / len(chosen), 0.15, 0.6))
        lines = np.stack([np.broadcast_to(scene.x, finite[chosen].shape), finite[chosen]], axis=2)
        ax.add_collection(
            LineCollection(list(lines), colors=COLORS[5], linewidths=0.7, alpha=alpha, zorder=1),
            autolim=False,
        )
        handles.append(Line2D([], [], color=COLORS[5], linewidth=1, alpha=0.8, label=name))
        band = ax.fill_between(
            scene.x,
            mean - half,
            mean + half,
            color=COLORS[0],
            alpha=0.18,
            linewidth=0,
            label="mean ± 2 standard deviations",
            zorder=2,
        )
    (line,) = ax.plot(
        scene.x, mean, color=ACCENT, linewidth=1.8, label="mean" if many else "member", zorder=4
    )
    handles.append(line)
    if many:
        handles.append(band)
    return handles
