"""The pictures of a result, by their kind."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from optprune.errors import ArgumentError, nearest
from optprune.search.nondominated import hypervolume, nondominated, reference_point
from optprune.search.table import thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from optprune.search.result import Result
    from optprune.search.row import Row

__all__ = ["Kind", "draw"]

Kind: TypeAlias = Literal["front", "structure", "parallel", "convergence", "sensitivity", "effects"]

_BARS = 4
"""Networks whose structures are drawn unless others are asked for."""


def draw(
    result: Result,
    kind: Kind | None,
    x: str | None,
    y: str | None,
    ax: Axes | None,
    options: dict[str, Any],
) -> Axes:
    """Draw a result; see `Result.plot`."""
    if kind is None:
        single = len(result.summary.objectives) == 1 and x is None and y is None
        kind = "convergence" if single else "front"
    if kind not in get_args(Kind):
        raise ArgumentError(
            f"kind must be one of {', '.join(get_args(Kind))}; got {kind!r}."
            f"{nearest(str(kind), get_args(Kind))}"
        )
    for name in (x, y):
        if name is not None:
            result.check_measured(name)
    if x is not None and kind != "front":
        raise ArgumentError(
            f"x is for kind='front'; the picture of kind {kind!r} has no use of it."
        )
    if y is not None and kind in ("structure", "parallel"):
        raise ArgumentError(f"the picture of kind {kind!r} shows widths, and has no use of y.")
    if ax is not None and kind == "effects":
        raise ArgumentError("kind='effects' has a panel for each group and makes its own figure.")
    if kind == "front":
        return _front(result, x, y, ax, options)
    if kind == "structure":
        return _structure(result, ax, options)
    if kind == "parallel":
        return _parallel(result, ax, options)
    if kind == "convergence":
        return _convergence(result, y, ax, options)
    if kind == "sensitivity":
        return _sensitivity(result, y, ax, options)
    return _effects(result, y, options)


def _front(
    result: Result, x: str | None, y: str | None, ax: Axes | None, options: dict[str, Any]
) -> Axes:
    """Draw two metrics of the front."""
    from optprune import plots

    summary = result.summary
    names = summary.objectives
    across, up = x or names[min(1, len(names) - 1)], y or names[0]
    direction = dict(zip(names, summary.directions, strict=True))
    options.setdefault(
        "directions", (direction.get(across, "minimize"), direction.get(up, "minimize"))
    )
    options.setdefault("stairs", across in names and up in names)
    options.setdefault("labels", {name: summary.label(name) for name in (across, up)})
    options.setdefault("evaluated", result.log)
    dense = (result.dense.metrics[across], result.dense.metrics[up])
    if all(map(math.isfinite, dense)):
        options.setdefault("dense", dense)
    options.setdefault("bounds", summary.bounds)
    if isinstance(options.get("marks"), str):
        options["marks"] = _marks(result, options["marks"])
    options.setdefault("name", result.optimizer)
    return plots.front(result.front, across, up, ax=ax, **options)


def _marks(result: Result, what: str) -> list[str]:
    """Return a text for each point of the front."""
    if what == "index":
        return [str(i) for i in result.front_indices]
    if what == "widths":
        return ["·".join(map(str, result.rows[i].widths)) for i in result.front_indices]
    raise ArgumentError(
        f"marks must be 'index', 'widths', or one text for each point of the front; got {what!r}."
    )


def _structure(result: Result, ax: Axes | None, options: dict[str, Any]) -> Axes:
    """Draw the widths of one network, or of several side by side."""
    from optprune import plots

    summary = result.summary
    rows = _rows(result, options.pop("indices", None), _BARS)
    if len(rows) == 1:
        options.setdefault("title", _label(result, rows[0]))
        return plots.structure(summary.groups, rows[0].widths, summary.widths, ax=ax, **options)
    options.setdefault("labels", [_label(result, row) for row in rows])
    return plots.structures(
        summary.groups, [row.widths for row in rows], summary.widths, ax=ax, **options
    )


def _parallel(result: Result, ax: Axes | None, options: dict[str, Any]) -> Axes:
    """Draw the metrics and the widths of the front, a line a network."""
    from optprune import plots

    summary = result.summary
    groups = zip(summary.groups, summary.widths, strict=True)
    widths = {f"width:{group}": dense for group, dense in groups}
    wanted = options.pop("indices", None)
    frame = (
        result.front if wanted is None else result.log.iloc[[result.row(i).index for i in wanted]]
    )
    if "chosen" in options and options["chosen"] is not None:
        places = frame["index"].tolist()
        if options["chosen"] not in places:
            raise ArgumentError(
                f"chosen must be the index of a row that is drawn; got {options['chosen']!r}."
            )
        options["chosen"] = places.index(options["chosen"])
    columns = options.pop("columns", [*summary.metrics, *widths])
    options.setdefault(
        "ranges", {name: (0.0, float(dense)) for name, dense in widths.items() if name in columns}
    )
    directions = zip(summary.objectives, summary.directions, strict=True)
    options.setdefault("directions", {name: to for name, to in directions if name in columns})
    labels = {name: summary.label(name) for name in summary.metrics}
    labels |= {name: name.removeprefix("width:") for name in widths}
    options.setdefault("labels", labels)
    return plots.parallel(frame, columns, ax=ax, **options)


def _convergence(result: Result, y: str | None, ax: Axes | None, options: dict[str, Any]) -> Axes:
    """Draw the best value of one objective, or the hypervolume of several, by evaluations."""
    from optprune import plots

    summary = result.summary
    if y is None and len(summary.objectives) > 1:
        options.setdefault("y_label", "hypervolume of the front so far")
        options.setdefault("direction", "maximize")
        return plots.convergence(_hypervolumes(result), ax=ax, **options)
    name = summary.objectives[0] if y is None else y
    if name not in summary.objectives:
        raise ArgumentError(
            f"y must be an objective, which has a direction: {', '.join(summary.objectives)}; "
            f"got {name!r}."
        )
    column = summary.objectives.index(name)
    options.setdefault("y_label", summary.label(name))
    options.setdefault("direction", summary.directions[column])
    values = result.values[:, column] * summary.signs[column]
    return plots.convergence(values, ax=ax, **options)


def _sensitivity(result: Result, y: str | None, ax: Axes | None, options: dict[str, Any]) -> Axes:
    """Draw what narrowing one group alone does."""
    from optprune import plots

    name = result.summary.objectives[0] if y is None else y
    table = result.sensitivity(name)
    if table.empty:
        raise ArgumentError(
            f"no candidate of this search ({result.optimizer}) has one group alone narrowed. "
            "Search with op.optimizers.SensitivityScan() for these curves, or look at "
            "kind='effects'."
        )
    options.setdefault("y_label", result.summary.label(name))
    return plots.sensitivity(table, ax=ax, **options)


def _effects(result: Result, y: str | None, options: dict[str, Any]) -> Axes:
    """Draw how a metric goes with the width of each group."""
    from optprune import plots

    name = result.summary.objectives[0] if y is None else y
    options.setdefault("y_label", result.summary.label(name))
    return plots.effects(result.effects(name), **options)


def _hypervolumes(result: Result) -> np.ndarray:
    """Return the hypervolume after each evaluation, shape (n_rows,)."""
    values = result.values
    signs = np.array(result.summary.signs)
    reference = reference_point(np.array(result.summary.references) * signs, values)
    volumes = np.zeros(len(values))
    front = np.empty((0, values.shape[1]))
    for i, value in enumerate(values):
        volumes[i] = volumes[i - 1] if i else 0.0
        if np.isfinite(value).all() and not (front <= value).all(axis=1).any():
            joined = np.vstack([front, value])
            front = joined[nondominated(joined)]
            volumes[i] = hypervolume(front, reference)
    return volumes


def _rows(result: Result, wanted: Iterable[int] | None, most: int) -> list[Row]:
    """Return the rows that are asked for, or some of the front."""
    if wanted is None:
        if not result.front_indices:
            raise ArgumentError("there is no feasible candidate to draw; name rows by indices=.")
        return [result.row(int(i)) for i in thinned(result.front, most)["index"]]
    rows = [result.row(i) for i in wanted]
    if not rows:
        raise ArgumentError("indices must name at least one row, as in the column 'index'.")
    return rows


def _label(result: Result, row: Row) -> str:
    """Return the index of a row with its objectives."""
    values = ", ".join(
        f"{result.summary.words(name)} {row.metrics.get(name, math.nan):.3g}"
        for name in result.summary.objectives
    )
    return f"{row.index}: {values}"
