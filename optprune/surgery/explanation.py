"""How a channel graph tells what it holds: tables, a notebook's view, and a picture."""

from __future__ import annotations

import fnmatch
import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from optprune.errors import ArgumentError, nearest

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from optprune.surgery.graph import ChannelGraph
    from optprune.surgery.groups import ChannelGroup, FrozenGroup, Member

__all__ = ["as_html", "couplings", "draw", "explain"]

# Rows of the notebook's table, and members that one of its cells names.
_ROWS, _MEMBERS = 60, 4


def explain(graph: ChannelGraph) -> pd.DataFrame:
    """Make a table of the groups; see `ChannelGraph.explain`."""
    import pandas as pd

    macs, parameters = graph.costs.macs.per_group(), graph.costs.parameters.per_group()
    rows: list[dict[str, object]] = [
        {
            "group": group.name,
            "width": group.width,
            "macs_share": macs[group.index],
            "parameters_share": parameters[group.index],
            "members": ", ".join(_places(group.members)),
            "frozen": False,
            "reason": "",
            "operation": "",
            "line": "",
        }
        for group in graph.groups
    ]
    rows += [
        {
            "group": group.name,
            "width": group.width,
            "macs_share": _known(group.macs_share),
            "parameters_share": _known(group.parameters_share),
            "members": ", ".join(_places(group.members)),
            "frozen": True,
            "reason": group.reason,
            "operation": group.operation,
            "line": group.line,
        }
        for group in graph.frozen
    ]
    columns = ["group", "width", "macs_share", "parameters_share", "members", "frozen"]
    table = pd.DataFrame(rows, columns=[*columns, "reason", "operation", "line"])
    return table.astype({"macs_share": float, "parameters_share": float})


def couplings(graph: ChannelGraph) -> pd.DataFrame:
    """Make a table of the groups' members; see `ChannelGraph.couplings`."""
    import pandas as pd

    tensors: dict[str, int] = {}
    modules: dict[str, int] = {}
    for tensor, _ in graph.shapes:
        tensors[tensor] = len(tensors)
        modules.setdefault(_module(tensor), len(modules))
    every = _all_groups(graph)
    places = [
        (modules[_module(member.tensor)], tensors[member.tensor], member.dim, number, member)
        for number, group in enumerate(every)
        for member in group.members
    ]
    rows = [
        {
            "group": every[number].name,
            "width": every[number].width,
            "frozen": number >= graph.n_groups,
            "module": _module(member.tensor),
            "tensor": member.tensor,
            "dim": member.dim,
            "per_unit": member.per_unit,
            "role": member.role,
        }
        for _, _, _, number, member in sorted(places, key=lambda place: place[:4])
    ]
    columns = ["group", "width", "frozen", "module", "tensor", "dim", "per_unit", "role"]
    return pd.DataFrame(rows, columns=columns)


def draw(graph: ChannelGraph, modules: str, ax: Axes | None) -> Axes:
    """Draw the couplings; see `ChannelGraph.plot`."""
    from optprune.plots import coupling

    table = couplings(graph)
    if not len(table):
        raise ArgumentError("the graph has no group: there is no channel between input and output.")
    chosen = [fnmatch.fnmatchcase(name, modules) for name in table["module"]]
    if not any(chosen):
        known = list(dict.fromkeys(table["module"]))
        hint = nearest(modules, known) or f" There are {', '.join(map(repr, known[:8]))}"
        raise ArgumentError(
            f"modules: no module with channels matches {modules!r}.{hint}"
            f"{' …' if len(known) > 8 else ''}"
        )
    return coupling(table[chosen], ax=ax)


def as_html(graph: ChannelGraph) -> str:
    """Return a summary and a table of the groups, for a notebook."""
    stay = sum(group.width for group in graph.frozen)
    head = (
        f"<b>ChannelGraph</b>: {_count(graph.n_groups, 'group')} of {_count(graph.n_units, 'unit')}"
        f" to narrow, {_count(len(graph.frozen), 'frozen group')} of {_count(stay, 'unit')}; "
        f"{graph.costs.macs.dense:,.0f} MACs, {graph.costs.parameters.dense:,.0f} parameters"
    )
    heads = ("group", "width", "MACs", "parameters", "members", "why frozen", "operation", "line")
    every = _all_groups(graph)
    rows = [
        (
            row["group"],
            row["width"],
            _percent(row["macs_share"]),
            _percent(row["parameters_share"]),
            _shortened(_places(group.members)),
            row["reason"],
            row["operation"],
            row["line"],
        )
        for row, group in zip(explain(graph).to_dict("records"), every[:_ROWS], strict=False)
    ]
    more = len(every) - len(rows)
    foot = f"<p>{more} more; <code>explain()</code> has all.</p>" if more else ""
    return f"<p>{head}</p>{_table(heads, rows) if rows else ''}{foot}"


def _all_groups(graph: ChannelGraph) -> tuple[ChannelGroup | FrozenGroup, ...]:
    """Return all groups in the order of the tables."""
    return (*graph.groups, *graph.frozen)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write an HTML table: numbers to the right, texts to the left."""
    style = [f'style="text-align: {"right" if 1 <= i <= 3 else "left"}"' for i in range(len(heads))]
    lines = [
        "<tr>"
        + "".join(
            f"<{tag} {align}>{html.escape(str(cell))}</{tag}>"
            for align, cell in zip(style, cells, strict=True)
        )
        + "</tr>"
        for tag, cells in (("th", heads), *(("td", row) for row in rows))
    ]
    return (
        f'<table border="0" class="dataframe"><thead>{lines[0]}</thead>'
        f"<tbody>{''.join(lines[1:])}</tbody></table>"
    )


def _module(tensor: str) -> str:
    """Return the module that a tensor belongs to; empty for one of the network itself."""
    stem, parametrized, _ = tensor.partition(".parametrizations.")
    return stem if parametrized else tensor.rpartition(".")[0]


def _places(members: Sequence[Member]) -> list[str]:
    """Write members, each with its dimension."""
    return [f"{member.tensor}[{member.dim}]" for member in members]


def _shortened(places: Sequence[str]) -> str:
    """Write the first of many places, and how many more there are."""
    more = len(places) - _MEMBERS
    # One more takes no more room than to say so.
    return ", ".join(places) if more <= 1 else f"{', '.join(places[:_MEMBERS])}, … {more} more"


def _known(share: float | None) -> float:
    """Return a share, NaN where the trace could not tell it."""
    return math.nan if share is None else share


def _percent(share: float) -> str:
    """Write a share as percent, nothing where it is not known."""
    return "" if math.isnan(share) else f"{share:.1%}"


def _count(number: int, noun: str) -> str:
    """Write how many there are."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
