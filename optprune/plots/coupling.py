"""The coupling: which layers share which channels, as a matrix of layers and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["coupling"]

MOST_LAYERS, MOST_GROUPS = 60, 40
COLUMNS = ("group", "width", "frozen", "module", "tensor", "dim", "per_unit", "role")
ROLES = {"out": "produced", "norm": "along the way", "in": "consumed"}

# Inches: a row, half the side of a mark, a mark with its space, the text "×4" behind one, the space
# beside a cell's content, the legend's width, the heights of the title and of the legend.
ROW, HALF, MARK, TIMES, MARGIN, LEGEND, TITLE, FOOT = 0.25, 0.085, 0.22, 0.2, 0.13, 4.3, 0.4, 0.6


def coupling(table: pd.DataFrame, *, title: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw which layers share which channels.

    A row is a layer, a column is a group of channels, which can only leave all layers at once; a
    mark says that the group runs along the dimension whose number it bears.

    Parameters
    ----------
    table : pandas.DataFrame
        Such as `ChannelGraph.couplings` gives it: ``group``, ``width``, ``frozen``, ``module``,
        ``tensor``, ``dim``, ``per_unit``, ``role`` (``"out"``, ``"in"`` or ``"norm"``). Layers and
        groups are drawn in the order in which the table first names them; a tensor without a
        module is a row of its own.
    title : str, optional
        The title; by default how many groups and layers there are.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default, as large as the picture needs.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on, in inches.

    Raises
    ------
    ArgumentError
        If the table is empty, a column is missing, a role is another, or there are more than 60
        layers or 40 groups.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle, Rectangle

    from optprune.plots.picture import COLORS, DARK, LIGHT, MUTED, axes_or_new

    _check(table)
    layers: dict[str, int] = {}
    groups: dict[str, int] = {}
    cells: dict[tuple[int, int], dict[tuple[str, int], int]] = {}
    heads: list[tuple[str, int, bool]] = []
    for group, width, frozen, module, tensor, dim, per_unit, role in table[
        list(COLUMNS)
    ].itertuples(index=False):
        row = layers.setdefault(module or tensor, len(layers))
        column = groups.setdefault(group, len(groups))
        if column == len(heads):
            heads.append((str(group), int(width), bool(frozen)))
        marks = cells.setdefault((row, column), {})
        # A weight and its bias along the same dimension are one mark.
        marks[role, int(dim)] = max(int(per_unit), marks.get((role, int(dim)), 1))

    spans = [2 * MARGIN + MARK] * len(groups)
    for (_, column), marks in cells.items():
        # A single mark stands in the middle of the column, on the line, whatever follows it.
        span = _span(marks) + (TIMES * _wide(marks) if len(marks) == 1 else 0)
        spans[column] = max(spans[column], 2 * MARGIN + span)
    lefts = [sum(spans[:column]) for column in range(len(spans))]
    centers = [left + span / 2 for left, span in zip(lefts, spans, strict=True)]
    width, height = sum(spans), ROW * len(layers)
    # At 45 degrees the heads are as high as they reach beyond the last column.
    slope = 0.71 * (max(_inches(name) for name, _, _ in heads) + 0.3)
    beside = max(map(_inches, layers)) + 0.2
    size = (beside + max(width + slope, LEGEND), TITLE + slope + ROW + height + FOOT)
    own = ax is None
    ax = axes_or_new(ax, *size)
    picture = ax.get_figure(root=True)
    if own and picture is not None:
        # A layout that is computed does not know that the axes keep their proportions.
        picture.set_layout_engine("none")
        ax.set_position(
            (beside / size[0], FOOT / size[1], width / size[0], (height + ROW) / size[1])
        )
    ax.set_xlim(0, width)
    ax.set_ylim(height, -ROW)
    ax.set_aspect("equal", anchor="W")

    for row in range(0, len(layers), 2):
        ax.add_patch(Rectangle((0, row * ROW), width, ROW, color="#F5F5F5", linewidth=0, zorder=0))
    ax.axhline(0, color=DARK, linewidth=1.0)
    colored = iter(range(len(groups)))
    colors = [MUTED if frozen else COLORS[next(colored) % 6] for _, _, frozen in heads]
    for column, (_, units, frozen) in enumerate(heads):
        ax.axvline(lefts[column], color=LIGHT, linewidth=0.6, zorder=0.5)
        ax.text(
            centers[column],
            -ROW / 2,
            str(units),
            color=colors[column],
            ha="center",
            va="center",
            fontsize=8,
            weight="bold",
        )
        rows = [row for row, other in cells if other == column]
        ax.plot(
            [centers[column]] * 2,
            [(min(rows) + 0.5) * ROW, (max(rows) + 0.5) * ROW],
            color=colors[column],
            alpha=0.35,
            linewidth=1.6,
            linestyle=":" if frozen else "-",
            zorder=1,
        )
    for (row, column), marks in cells.items():
        left = centers[column] - (MARK if len(marks) == 1 else _span(marks)) / 2
        y, color = (row + 0.5) * ROW, colors[column]
        for (role, dim), per_unit in marks.items():
            x = left + MARK / 2
            shape = (
                Circle((x, y), HALF)
                if role == "norm"
                else Rectangle((x - HALF, y - HALF), 2 * HALF, 2 * HALF)
            )
            shape.set(
                facecolor=color if role == "out" else "white",
                edgecolor=color,
                linewidth=0.7 if role == "norm" else 1.3,
                zorder=2,
            )
            ax.add_patch(shape)
            ink = "white" if role == "out" else color
            ax.text(x, y, str(dim), color=ink, ha="center", va="center_baseline", fontsize=7)
            left += MARK
            if per_unit > 1:
                ax.text(left - 0.01, y, f"×{per_unit}", color=color, va="center", fontsize=6.5)
                left += TIMES

    ax.set_yticks([(row + 0.5) * ROW for row in range(len(layers))], labels=list(layers))
    ax.set_xticks(centers, labels=[name for name, _, _ in heads])
    ax.tick_params(length=0, labelsize=8, colors=DARK)
    ax.tick_params(axis="x", top=True, bottom=False, labeltop=True, labelbottom=False, pad=1)
    for label, color in zip(ax.get_xticklabels(), colors, strict=True):
        label.set(rotation=45, ha="left", va="bottom", rotation_mode="anchor")
        label.set_color(MUTED if color == MUTED else DARK)
    for spine in ax.spines.values():
        spine.set_visible(False)
    times = "; ×k: k indices for each channel" if any(map(_wide, cells.values())) else ""
    stay = sum(frozen for _, _, frozen in heads)
    default = (
        f"{_count(len(heads) - stay, 'group')} to narrow{f', {stay} frozen' * (stay > 0)}, "
        f"{_count(len(layers), 'layer')}"
    )
    ax.set_title(title if title is not None else default, loc="left", y=1, pad=72 * slope + 4)
    keys = [
        ("o" if role == "norm" else "s", DARK if role == "out" else "white", DARK, words)
        for role, words in ROLES.items()
    ]
    keys += [("s", MUTED, MUTED, "frozen")] * (stay > 0)
    ax.legend(
        handles=[
            Line2D(
                [],
                [],
                linestyle="",
                marker=marker,
                markersize=8,
                markerfacecolor=face,
                markeredgecolor=edge,
                label=words,
            )
            for marker, face, edge, words in keys
        ],
        title="the number is the tensor's dimension" + times,
        alignment="left",
        title_fontsize=8,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        ncols=len(keys),
        frameon=False,
        fontsize=8,
        handletextpad=0.2,
        columnspacing=1.2,
        borderaxespad=0.4,
    )
    return ax


def _inches(name: str) -> float:
    """Return the width of a name in the font of the ticks."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), name, size=8).get_extents().width) / 72


def _span(marks: dict[tuple[str, int], int]) -> float:
    """Return the width of a cell's marks in inches."""
    return sum(MARK + TIMES * (per_unit > 1) for per_unit in marks.values())


def _wide(marks: dict[tuple[str, int], int]) -> bool:
    """Say whether one of a cell's marks means several indices a channel."""
    return any(per_unit > 1 for per_unit in marks.values())


def _count(number: int, noun: str) -> str:
    """Write how many there are."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _check(table: pd.DataFrame) -> None:
    """Raise unless the table can be drawn."""
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise ArgumentError(
            f"coupling: `table` has no column {missing[0]!r}; "
            f"it has {', '.join(map(repr, table.columns))}."
        )
    if not len(table):
        raise ArgumentError("coupling: `table` has no row; there is nothing to draw.")
    strange = [role for role in table["role"] if role not in ROLES]
    if strange:
        raise ArgumentError(
            f"coupling: a role is one of {', '.join(map(repr, ROLES))}; got {strange[0]!r}."
        )
    n_layers = table["module"].where(table["module"] != "", table["tensor"]).nunique()
    n_groups = table["group"].nunique()
    if n_layers > MOST_LAYERS or n_groups > MOST_GROUPS:
        raise ArgumentError(
            f"coupling: {n_layers} layers and {n_groups} groups cannot be read in one picture, "
            f"which holds {MOST_LAYERS} and {MOST_GROUPS}. Draw a part: keep the rows of some "
            "modules, as graph.plot('layer1.*') does, or list the groups with plots.groups."
        )
