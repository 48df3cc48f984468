"""How a result shows itself: as text, and in a notebook."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

import numpy as np

from optprune.search.drawing import draw
from optprune.search.table import as_text, thinned

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from optprune.search.result import Result

__all__ = ["as_html", "as_plain_text"]

_SHOWN = 12


def as_plain_text(result: Result) -> str:
    """Return a result as a headline and a table."""
    return f"{_headline(result)}\n\n{as_text(_short_table(result))}" + (
        f"\n({_left(result)} more in .front)" if _left(result) else ""
    )


def as_html(result: Result) -> str:
    """Return a result as a headline, a table and a picture."""
    head = html.escape(_headline(result)).replace("\n", "<br>")
    table = _short_table(result).to_html(
        index=False, border=0, float_format=lambda value: f"{value:.4g}"
    )
    more = f"<p>{_left(result)} more in <code>.front</code></p>" if _left(result) else ""
    picture = ""
    if result.front_indices:
        code = base64.b64encode(_png(draw(result, None, None, None, None, {}))).decode()
        picture = f'<img alt="front" src="data:image/png;base64,{code}">'
    return f"<p>{head}</p>{table}{more}{picture}"


def _headline(result: Result) -> str:
    """Say what a result is, in two lines."""
    summary = result.summary
    feasible = int(np.isfinite(result.values).all(axis=1).sum())
    bounds = f", subject to {', '.join(summary.constraints)}" if summary.constraints else ""
    read = f"; test split read {result.test_reads} times" if result.test_reads else ""
    return (
        f"{result.optimizer} on {summary.task}, seed {result.seed}: "
        f"{' and '.join(summary.objectives)}{bounds}\n"
        f"{len(result.rows)} evaluated, {feasible} feasible, {len(result.front_indices)} on the "
        f"front, {result.seconds:.1f} s; ended: {result.reason}{read}"
    )


def _left(result: Result) -> int:
    """Return how many rows of the front are not shown."""
    return max(len(result.front_indices) - _SHOWN, 0)


def _short_table(result: Result) -> pd.DataFrame:
    """Return the dense network and the front, thinned, in the columns that matter."""
    import pandas as pd

    columns = ["index", *result.summary.metrics]
    front = thinned(result.front[columns], _SHOWN).astype({"index": object})
    dense = pd.DataFrame([{"index": "dense", **result.dense.metrics}])[columns]
    return pd.concat([dense.astype({"index": object}), front], ignore_index=True)


def _png(ax: Axes) -> bytes:
    """Return the picture that axes are on."""
    figure = ax.get_figure(root=True)
    if figure is None:
        return b""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
