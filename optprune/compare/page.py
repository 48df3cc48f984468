"""How a comparison shows itself: as text, in a notebook, as a page of its own."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from optprune.compare.pictures import Picture, draw, pictures_of, pictures_of_all
from optprune.errors import ArgumentError
from optprune.search.table import as_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from optprune.compare.comparison import Comparison
    from optprune.formulation import Constraint

__all__ = ["as_html", "as_page", "as_plain_text"]

_DRAWN = 3
"""Problems of which a notebook shows a picture."""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 72rem;
  padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; padding-bottom: .3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid #eee;
  vertical-align: top; }
td.number { text-align: right; white-space: nowrap; }
th button { font: inherit; font-weight: 600; border: 0; background: none; padding: 0;
  cursor: pointer; white-space: nowrap; }
th[aria-sort="ascending"] button::after { content: " \\25B2"; }
th[aria-sort="descending"] button::after { content: " \\25BC"; }
tr.failed td { color: #a33; }
figure { display: inline-block; margin: 1rem 1rem 0 0; max-width: 100%; vertical-align: top; }
figure img { max-width: 100%; height: auto; }
figcaption { max-width: 40rem; color: #555; font-size: .9rem; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$headline</p>
$body
<script>
"use strict";
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement;
    const column = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const value = (row) => {
      const text = row.cells[column].dataset.value ?? row.cells[column].textContent;
      return [text, text === "" ? NaN : Number(text)];
    };
    const compare = (a, b) => {
      const [s, x] = value(a), [t, y] = value(b);
      if (s === "" || t === "") return (s === "") - (t === "");
      const order = isNaN(x) || isNaN(y) ? s.localeCompare(t) : x - y;
      return up ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
  });
}
</script>
</body>
</html>
""")


def as_plain_text(comparison: Comparison) -> str:
    """Return a comparison as a headline and its summary."""
    return f"{_headline(comparison)}\n\n{as_text(comparison.summary())}"


def as_html(comparison: Comparison) -> str:
    """Return a comparison as a headline, its summary, and a picture of each of few problems."""
    head = html.escape(_headline(comparison)).replace("\n", "<br>")
    table = comparison.summary().to_html(
        index=False, border=0, float_format=lambda value: f"{value:.4g}"
    )
    drawn = list(comparison.problems)[:_DRAWN]
    pictures = "".join(
        _image(draw(comparison, "anytime", name, "evaluations", None, None, {"title": name}), name)
        for name in drawn
    )
    return f"<p>{head}</p>{table}{pictures}"


def as_page(comparison: Comparison, within: Sequence[Constraint] = ()) -> str:
    """Return a comparison as a page; see `Comparison.to_html`."""
    parts = ["<h2>Summary</h2>", _table(comparison.summary())]
    if within:
        parts += ["<h2>Within bounds</h2>", _table(comparison.within(*within))]
    parts += [_figure(picture) for picture in pictures_of_all(comparison)]
    for name, known in comparison.problems.items():
        parts.append(f"<h2>{html.escape(name)}</h2>")
        bounds = f", subject to {', '.join(known.constraints)}" if known.constraints else ""
        text = f"{known.task}: {' and '.join(known.objectives)}{bounds}"
        parts.append(f"<p>{html.escape(text)}</p>")
        parts += [_figure(picture) for picture in pictures_of(comparison, name)]
    parts += _statistics(comparison)
    parts += ["<h2>Runs</h2>", _table(comparison.runs, marked="failed")]
    parts += ["<h2>Configurations</h2>", _table(_configurations(comparison))]
    return _PAGE.substitute(
        title=html.escape(f"Comparison on {', '.join(comparison.problems)}"),
        headline=html.escape(_headline(comparison)).replace("\n", "<br>"),
        body="\n".join(parts),
    )


def _headline(comparison: Comparison) -> str:
    """Say what was compared, in two lines."""
    seeds = comparison.runs["seed"].nunique()
    budget = asdict(comparison.budget).items()
    limits = " and ".join(f"{value:g} {name}" for name, value in budget if value is not None)
    failed = int(comparison.runs["failed"].sum())
    total = len(comparison.entries)
    return (
        f"{_count(len(comparison.optimizers), 'optimizer')} on "
        f"{_count(len(comparison.problems), 'problem')} with {_count(seeds, 'seed')}, "
        f"{limits} each\n"
        f"{_count(total, 'run')}, {failed or 'none'} failed; "
        f"{int(comparison.runs['evaluations'].sum())} evaluations, "
        f"{comparison.runs['seconds'].sum():.1f} s"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _statistics(comparison: Comparison) -> Iterable[str]:
    """Write the tests, where there is something to test."""
    try:
        table, ranked = comparison.statistics(), comparison.ranks()
    except ArgumentError as error:
        return ["<h2>Tests</h2>", f"<p>{html.escape(str(error))}</p>"]
    order = ", ".join(f"{name} {rank:.2f}" for name, rank in ranked.mean_ranks.items())
    return [
        "<h2>Tests</h2>",
        f"<p>{html.escape(f'Average ranks, the best first: {order}. {ranked.note}.')}</p>",
        _table(table),
    ]


def _configurations(comparison: Comparison) -> pd.DataFrame:
    """Return what the optimizers and problems are, in words."""
    import pandas as pd

    rows = [(name, "optimizer", o.configuration) for name, o in comparison.optimizers.items()]
    rows += [
        (name, "problem", "; ".join(f"{part}: {text}" for part, text in known.description.items()))
        for name, known in comparison.problems.items()
    ]
    return pd.DataFrame(rows, columns=["name", "kind", "configuration"])


def _table(table: pd.DataFrame, marked: str = "") -> str:
    """Write a table that can be sorted; rows with a true value in a column are marked."""
    heads = "".join(
        f'<th scope="col"><button type="button">{html.escape(str(name))}</button></th>'
        for name in table.columns
    )
    rows = []
    for values in table.itertuples(index=False):
        named = dict(zip(table.columns, values, strict=True))
        kind = f' class="{html.escape(marked)}"' if marked and named[marked] else ""
        rows.append(f"<tr{kind}>{''.join(map(_cell, values))}</tr>")
    body = "\n".join(rows)
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(value: object) -> str:
    """Write a cell, with what it is sorted by."""
    if isinstance(value, bool | np.bool_):
        return f'<td data-value="{int(value)}">{"yes" if value else "no"}</td>'
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return '<td class="number" data-value="">–</td>'
        text = f"{value:,.0f}" if abs(float(value)) >= 1e4 else f"{value:.4g}"
        return f'<td class="number" data-value="{float(value)!r}">{text}</td>'
    if isinstance(value, int | np.integer):
        return f'<td class="number" data-value="{int(value)}">{int(value)}</td>'
    return f"<td>{html.escape(str(value))}</td>"


def _figure(picture: Picture) -> str:
    """Write a picture with what it shows."""
    caption = html.escape(picture.caption)
    return (
        f"<figure>{_image(picture.ax, picture.caption)}<figcaption>{caption}</figcaption></figure>"
    )


def _image(ax: Axes, text: str) -> str:
    """Write the figure that axes are on into the page itself."""
    figure = ax.get_figure(root=True)
    if figure is None:
        return ""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=144)
    with Image.open(drawn) as picture:
        # A picture of lines and bands has few colors; a palette makes the page a third as large.
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(
            small, format="png", optimize=True
        )
    code = base64.b64encode(small.getvalue()).decode()
    width = round(figure.get_figwidth() * 96)
    return f'<img width="{width}" alt="{html.escape(text)}" src="data:image/png;base64,{code}">'
