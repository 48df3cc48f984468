"""A structure: immutable, hashable, canonical, and readable again."""

from __future__ import annotations

import dataclasses
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optprune.errors import (
    ArgumentError,
    EmptyGroupError,
    GraphMismatchError,
    LoadError,
    OptpruneError,
)
from optprune.surgery import ChannelGraph, Structure

from .conftest import Traced, traced_case
from .oracle import random_structure, structures


@pytest.fixture
def graph() -> ChannelGraph:
    return traced_case("residual_projection").graph


def test_json_round_trip(small: Traced) -> None:
    @settings(max_examples=5)
    @given(structures(small.graph))
    def property_holds(structure: Structure) -> None:
        again = Structure.from_json(structure.to_json(), small.graph)
        assert again == structure
        assert hash(again) == hash(structure)
        assert again.digest == structure.digest
        assert np.array_equal(again.kept, structure.kept)
        assert np.array_equal(again.widths, structure.widths)
        assert again.to_json() == structure.to_json()

    property_holds()


def test_pickle_round_trip(small: Traced) -> None:
    structure = random_structure(small.graph, 0)
    again = pickle.loads(pickle.dumps(structure))
    assert again == structure
    assert again.digest == structure.digest


def test_different_structures_have_different_digests(graph: ChannelGraph) -> None:
    found = {random_structure(graph, seed).kept.tobytes(): seed for seed in range(50)}
    made = [random_structure(graph, seed) for seed in found.values()]
    assert len({structure.digest for structure in made}) == len(set(made)) == len(made)


def test_widths_count_the_kept_units(small: Traced) -> None:
    structure = random_structure(small.graph, 1)
    assert structure.widths.dtype == np.int64
    assert structure.kept.dtype == np.bool_
    counts = [int(structure.kept[group.slice].sum()) for group in small.graph.groups]
    assert structure.widths.tolist() == counts


def test_a_structure_cannot_be_changed(graph: ChannelGraph) -> None:
    kept = np.ones(graph.n_units, dtype=bool)
    structure = graph.structure(kept)
    kept[:] = False
    assert structure.kept.all()
    with pytest.raises(ValueError, match="read-only"):
        structure.kept[0] = False
    with pytest.raises(ValueError, match="read-only"):
        structure.widths[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        structure.packed = b""  # type: ignore[misc]


def test_the_json_states_its_format_and_leaves_defaults_out(graph: ChannelGraph) -> None:
    document = json.loads(graph.full().to_json())
    assert document["format"] == 1
    assert document["graph"] == graph.digest
    assert document["kept"] == {}
    assert graph.full().widths.tolist() == graph.widths.tolist()


@given(st.integers(0, 2**32 - 1))
def test_the_most_important_units_stay(seed: int) -> None:
    graph = traced_case("residual_projection").graph
    generator = np.random.default_rng(seed)
    importance = generator.integers(0, 4, graph.n_units).astype(float)
    widths = generator.integers(1, graph.widths + 1)
    structure = graph.structure_from_widths(widths, importance)
    assert structure.widths.tolist() == widths.tolist()
    for group in graph.groups:
        kept, score = structure.kept[group.slice], importance[group.slice]
        worst = score[kept].min()
        assert (score[~kept] <= worst).all()
        ties = np.flatnonzero(score == worst)
        stay = kept[ties]
        assert not (np.diff(stay.astype(int)) > 0).any(), "ties: the lower index stays"


def test_removing_everything_from_a_group_names_it(graph: ChannelGraph) -> None:
    for group in graph.groups:
        kept = np.ones(graph.n_units, dtype=bool)
        kept[group.slice] = False
        with pytest.raises(EmptyGroupError, match=group.name):
            graph.structure(kept)


def test_a_width_out_of_range_names_its_group(graph: ChannelGraph) -> None:
    for group in graph.groups:
        for wrong in (0, -1, group.width + 1):
            widths = np.array(graph.widths)
            widths[group.index] = wrong
            with pytest.raises(ArgumentError, match=group.name):
                graph.structure_from_widths(widths, np.zeros(graph.n_units))


@pytest.mark.parametrize(
    "kept",
    [np.ones(3, dtype=bool), np.ones((2, 2), dtype=bool), [], None, "all"],
    ids=["short", "square", "empty", "none", "text"],
)
def test_kept_of_another_shape_is_refused(graph: ChannelGraph, kept: object) -> None:
    with pytest.raises(OptpruneError, match="kept"):
        graph.structure(kept)  # type: ignore[arg-type]


def test_kept_must_be_boolean(graph: ChannelGraph) -> None:
    with pytest.raises(OptpruneError, match="kept"):
        graph.structure(np.full(graph.n_units, 0.5))
    with pytest.raises(OptpruneError, match="kept"):
        graph.structure(np.arange(graph.n_units))


def test_importance_must_be_numbers(graph: ChannelGraph) -> None:
    with pytest.raises(ArgumentError, match="importance"):
        graph.structure_from_widths(graph.widths, np.full(graph.n_units, np.nan))
    with pytest.raises(ArgumentError, match="importance"):
        graph.structure_from_widths(graph.widths, np.zeros(graph.n_units + 1))


def test_a_structure_of_another_graph_is_refused(graph: ChannelGraph) -> None:
    other = traced_case("plain").graph
    with pytest.raises(GraphMismatchError, match="graph"):
        Structure.from_json(other.full().to_json(), graph)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"format": 999}, "999"),
        ({"format": None}, "format"),
        ({"kept": []}, "structure"),
        ({"branches": ["stem"]}, "branches"),
        ({"kept": {"nowhere": "ff"}}, "nowhere"),
        ({"kept": {"stem": "zz"}}, "stem"),
        ({"kept": {"stem": "ffffff"}}, "stem"),
        ({"kept": {"stem": 3}}, "stem"),
    ],
)
def test_damaged_json_is_refused(graph: ChannelGraph, change: dict[str, object], word: str) -> None:
    document = {**json.loads(graph.full().to_json()), **change}
    with pytest.raises(LoadError, match=word):
        Structure.from_json(json.dumps(document), graph)


def test_an_empty_group_in_json_is_refused(graph: ChannelGraph) -> None:
    document = json.loads(graph.full().to_json())
    document["kept"] = {"stem": "00"}
    with pytest.raises(OptpruneError, match="stem"):
        Structure.from_json(json.dumps(document), graph)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "42", '"text"', "{}"])
def test_text_that_is_no_structure_is_refused(graph: ChannelGraph, text: str) -> None:
    with pytest.raises(LoadError):
        Structure.from_json(text, graph)
