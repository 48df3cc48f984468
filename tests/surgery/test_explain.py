"""What a graph tells about itself: tables, the view in a notebook, the picture."""

from __future__ import annotations

import dataclasses
import html
import pickle
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import optprune.plots as plots
from optprune.errors import ArgumentError
from optprune.surgery import ChannelGraph

from .conftest import Traced, traced_case


def graph_of(name: str) -> ChannelGraph:
    return traced_case(name).graph


class Cells(HTMLParser):
    """Gathers the texts of a table's rows, and refuses tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.feed(text)
        assert not self.tags, f"{self.tags} are not closed"

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data


def test_groups_to_narrow_come_first_and_have_shares(traced: Traced) -> None:
    table, graph = traced.graph.explain(), traced.graph
    names = [group.name for group in (*graph.groups, *graph.frozen)]
    assert table["group"].tolist() == names
    assert table["frozen"].is_monotonic_increasing
    for cost in ("macs", "parameters"):
        shares = table[f"{cost}_share"].to_numpy(float)[: graph.n_groups]
        assert np.array_equal(shares, getattr(graph.costs, cost).per_group())


def test_a_share_of_a_frozen_group_is_told_or_missing_but_never_made_up(traced: Traced) -> None:
    table = traced.graph.explain()
    told = [(group.macs_share, group.parameters_share) for group in traced.graph.frozen]
    expected = np.array([[np.nan if s is None else s for s in pair] for pair in told])
    shown = table.loc[table["frozen"], ["macs_share", "parameters_share"]].to_numpy(float)
    assert np.array_equal(shown, expected.reshape(shown.shape), equal_nan=True)
    assert not (shown < 0).any()
    assert not (shown > 1).any()


def test_a_share_that_the_trace_tells_is_shown() -> None:
    graph = graph_of("plain")
    last = dataclasses.replace(graph.frozen[-1], macs_share=0.25, parameters_share=0.125)
    told = dataclasses.replace(graph, frozen=(*graph.frozen[:-1], last))
    assert told.explain().iloc[-1][["macs_share", "parameters_share"]].tolist() == [0.25, 0.125]
    assert Cells(told._repr_html_()).rows[-1][2:4] == ["25.0%", "12.5%"]


def test_a_table_with_missing_shares_is_drawn() -> None:
    graph = graph_of("plain")
    frozen = [dataclasses.replace(g, macs_share=None, parameters_share=None) for g in graph.frozen]
    ax = plots.groups(dataclasses.replace(graph, frozen=tuple(frozen)).explain())
    assert "nan" not in " ".join(text.get_text() for text in ax.texts)


def test_couplings_have_a_row_for_every_member(traced: Traced) -> None:
    graph, table = traced.graph, traced.graph.couplings()
    found = sorted(
        table[["group", "tensor", "dim", "per_unit", "role"]].itertuples(index=False, name=None)
    )
    assert found == sorted(
        (group.name, member.tensor, member.dim, member.per_unit, member.role)
        for group in (*graph.groups, *graph.frozen)
        for member in group.members
    )
    frozen = {group.name for group in graph.frozen}
    assert (table["frozen"] == table["group"].isin(frozen)).all()


def test_couplings_name_the_layers_of_a_plain_network_in_order() -> None:
    table = graph_of("plain").couplings()
    modules = list(dict.fromkeys(table["module"]))
    own = [m for m, _ in traced_case("plain").network.named_modules() if m in modules]
    assert modules == own


def test_the_indices_of_a_coupling_exist(traced: Traced) -> None:
    shapes = dict(traced.graph.shapes)
    for row in traced.graph.couplings().itertuples():
        size = shapes[row.tensor][row.dim]
        assert row.per_unit <= size
        if not row.frozen:
            assert row.per_unit * row.width <= size


def test_the_notebook_shows_a_row_for_every_group(traced: Traced) -> None:
    graph = traced.graph
    text = graph._repr_html_()
    rows = Cells(text).rows
    n_rows = graph.n_groups + len(graph.frozen)
    assert len(rows) == (min(n_rows, 60) + 1 if n_rows else 0)
    assert f"{graph.costs.macs.dense:,.0f} MACs" in text
    assert f"{graph.costs.parameters.dense:,.0f} parameters" in text
    assert [row[0] for row in rows[1:]] == graph.explain()["group"].tolist()[:60]
    assert "nan" not in [cell.lower() for row in rows for cell in row]


def test_the_notebook_counts_units_and_frozen_units() -> None:
    graph = graph_of("plain")
    frozen = sum(group.width for group in graph.frozen)
    text = graph._repr_html_()
    assert f"{graph.n_groups} groups of {graph.n_units} units to narrow" in text
    assert re.search(rf"{len(graph.frozen)} frozen groups? of {frozen} units", text)


def test_the_notebook_shows_texts_as_they_are() -> None:
    graph = graph_of("plain")
    reason, line = "a <b>reason</b> & more", 'net.py:3: x = y if a < b else "<br>"'
    odd = dataclasses.replace(graph.frozen[-1], name="<i>", reason=reason, line=line)
    text = dataclasses.replace(graph, frozen=(*graph.frozen[:-1], odd))._repr_html_()
    assert html.escape(reason) in text
    row = Cells(text).rows[-1]
    assert (row[0], row[5], row[7]) == ("<i>", reason, line)


def test_the_notebook_cuts_long_lists_and_says_how_much_is_left() -> None:
    graph = graph_of("plain")
    group = graph.groups[0]
    many = dataclasses.replace(group, members=group.members[:1] * 9)
    cell = Cells(dataclasses.replace(graph, groups=(many, *graph.groups[1:]))._repr_html_())
    assert cell.rows[1][4].endswith(", … 5 more")
    assert cell.rows[1][4].count(group.members[0].tensor) == 4


def test_the_notebook_cuts_long_tables_and_says_where_all_is() -> None:
    graph = graph_of("plain")
    long = dataclasses.replace(graph, frozen=graph.frozen[-1:] * 100)
    text = long._repr_html_()
    assert len(Cells(text).rows) == 61
    assert f"{graph.n_groups + 40} more; <code>explain()</code> has all." in text
    assert "more" not in re.sub(r"… \d+ more", "", graph._repr_html_())


def test_the_picture_has_the_layers_and_groups_of_the_table() -> None:
    graph = graph_of("plain")
    ax, table = graph.plot(), graph.couplings()
    assert [label.get_text() for label in ax.get_yticklabels()] == list(
        dict.fromkeys(table["module"])
    )
    assert {label.get_text() for label in ax.get_xticklabels()} == set(table["group"])


def test_a_part_of_a_network_is_drawn() -> None:
    graph = graph_of("plain")
    ax = graph.plot("conv*")
    assert all(label.get_text().startswith("conv") for label in ax.get_yticklabels())
    assert graph.plot("conv1", ax=ax) is ax


def test_modules_that_are_not_there_suggest_the_nearest() -> None:
    with pytest.raises(ArgumentError, match=r"'covn1'.*Did you mean 'conv1'"):
        graph_of("plain").plot("covn1")


def test_every_small_network_is_drawn(small: Traced) -> None:
    table = small.graph.couplings()
    if not len(table):
        with pytest.raises(ArgumentError, match="no group"):
            small.graph.plot()
    elif table["module"].nunique() <= 40 and table["group"].nunique() <= 40:
        assert len(small.graph.plot().get_xticks()) == table["group"].nunique()


def test_a_graph_from_another_process_tells_the_same() -> None:
    graph = graph_of("plain")
    copied = pickle.loads(pickle.dumps(graph))
    assert copied._repr_html_() == graph._repr_html_()
    assert copied.couplings().equals(graph.couplings())
