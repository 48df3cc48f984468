"""What every space promises, on every space."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from optprune.errors import ArgumentError, GraphMismatchError, UnknownGroupError
from optprune.formulation import BoundSpace, Masks, Ratios, Widths
from optprune.surgery import trace
from tests.formulation.cases import Small, narrowed, small_graph

GRAPH = small_graph()
FIRST, SECOND = (group.name for group in GRAPH.groups)
IMPORTANCE = np.random.default_rng(0).random(GRAPH.n_units)

SPACES: dict[str, Widths | Ratios | Masks] = {
    "widths": Widths(),
    "widths in steps": Widths(step=4),
    "widths with bounds": Widths(step=2, bounds={FIRST: (2, 5)}),
    "widths with a frozen group": Widths(frozen=[SECOND]),
    "widths with a minimum": Widths(step=2, minimum=3),
    "widths with first units": Widths(keep_first={FIRST: 2, SECOND: 3}),
    "ratios": Ratios(),
    "ratios with bounds": Ratios(bounds={SECOND: (0.2, 0.6)}),
    "ratios with a minimum": Ratios(minimum=7),
    "ratios with first units": Ratios(bounds={FIRST: (0.1, 0.9)}, keep_first={"*": 3}),
    "masks": Masks(),
    "masks with bounds": Masks(bounds={FIRST: (2, 4), SECOND: (1, 3)}),
    "masks with a frozen group": Masks(frozen=[FIRST]),
    "masks with a minimum": Masks(minimum=4),
    "masks with first units": Masks(bounds={SECOND: (4, 6)}, keep_first={FIRST: 2, SECOND: 3}),
    "masks with all that stays said": Masks(bounds={FIRST: (1, 2)}, keep_first={FIRST: 2}),
}


def importance() -> np.ndarray[Any, Any]:
    return IMPORTANCE


@pytest.fixture(params=list(SPACES))
def space(request: pytest.FixtureRequest) -> BoundSpace:
    return SPACES[request.param].bind(GRAPH, importance)


def random_points(space: BoundSpace, n: int = 50) -> np.ndarray[Any, Any]:
    """Points within the box and far outside of it, fractional ones too."""
    return np.random.default_rng(1).normal(0.5, 3.0, size=(n, space.n_variables)) * 3


def test_names_and_bounds_have_one_entry_a_variable(space: BoundSpace) -> None:
    assert len(space.names) == len(set(space.names)) == space.n_variables
    assert space.lower.shape == space.upper.shape == (space.n_variables,)
    assert (space.lower < space.upper).all()


def test_every_real_vector_decodes_to_a_structure_within_the_bounds(space: BoundSpace) -> None:
    points = random_points(space)
    structures = space.decode(points)
    assert len(structures) == len(points)
    for structure in structures:
        GRAPH.check(structure)
        assert (space.narrowest <= structure.widths).all()
        assert (structure.widths <= space.widest).all()


def test_widths_are_those_of_the_structures(space: BoundSpace) -> None:
    points = random_points(space)
    expected = np.array([structure.widths for structure in space.decode(points)])
    assert np.array_equal(space.widths(points), expected)


def test_encoding_a_decoded_structure_gives_it_back(space: BoundSpace) -> None:
    for structure in space.decode(random_points(space, 20)):
        point = space.encode(structure)
        assert (space.lower <= point).all()
        assert (point <= space.upper).all()
        assert space.decode(point[None]) == [structure]


def test_samples_lie_in_the_box_and_decode_to_themselves(space: BoundSpace) -> None:
    points = space.sample(np.random.default_rng(2), 30)
    assert points.shape == (30, space.n_variables)
    assert (points >= space.lower).all()
    assert (points <= space.upper).all()
    if space.kind != "continuous":
        encoded = [space.encode(structure) for structure in space.decode(points)]
        assert np.array_equal(points, encoded)


def test_samples_depend_on_the_generator_only(space: BoundSpace) -> None:
    first = space.sample(np.random.default_rng(3), 8)
    assert np.array_equal(first, space.sample(np.random.default_rng(3), 8))
    assert not np.array_equal(first, space.sample(np.random.default_rng(4), 8))


def test_samples_reach_every_width_of_every_group(space: BoundSpace) -> None:
    sampled = space.widths(space.sample(np.random.default_rng(5), 600))
    possible = space.widths(random_points(space, 2000))
    for group in range(GRAPH.n_groups):
        assert set(sampled[:, group]) >= set(possible[:, group])


def test_smallest_and_full_are_the_extremes(space: BoundSpace) -> None:
    assert np.array_equal(space.widths(space.smallest()[None])[0], space.narrowest)
    assert np.array_equal(space.widths(space.full()[None])[0], space.widest)


def test_uniform_gives_a_point_for_each_ratio(space: BoundSpace) -> None:
    ratios = np.array([0.25, 0.5, 1.0])
    points = space.uniform(ratios)
    assert points.shape == (3, space.n_variables)
    assert np.array_equal(space.uniform(0.5), points[1:2])
    assert np.array_equal(space.widths(points)[2], space.widest)
    assert (np.diff(space.widths(points), axis=0) >= 0).all()


def test_every_option_can_be_kept_and_nothing_else(space: BoundSpace) -> None:
    assert len(space.options) == GRAPH.n_groups
    drawn = space.widths(random_points(space))
    for index, allowed in enumerate(space.options):
        assert (np.diff(allowed) > 0).all()
        assert allowed[0] == space.narrowest[index]
        assert allowed[-1] == space.widest[index]
        assert np.isin(drawn[:, index], allowed).all()
        widths = np.tile(space.widest, (len(allowed), 1))
        widths[:, index] = allowed
        assert np.array_equal(space.widths(space.keeping(widths)), widths)
    outside = np.array([[0] * GRAPH.n_groups, [99] * GRAPH.n_groups])
    expected = np.stack([space.narrowest, space.widest])
    assert np.array_equal(space.widths(space.keeping(outside)), expected)
    kept = space.decode(space.keeping(space.narrowest[None]))[0].kept
    assert np.array_equal(kept, space.decode(space.smallest()[None])[0].kept)


@pytest.mark.parametrize("ratio", [0.0, 1.1, np.nan, [[0.5]]])
def test_a_uniform_ratio_outside_is_refused(space: BoundSpace, ratio: Any) -> None:
    with pytest.raises(ArgumentError, match="ratio must be"):
        space.uniform(ratio)


def test_cardinality_counts_the_structures(space: BoundSpace) -> None:
    if space.kind == "continuous":
        assert space.cardinality == np.inf
        return
    # The box is small enough to walk through it.
    sides = [np.arange(high + 1) for high in space.upper]
    points = np.stack(np.meshgrid(*sides), -1).reshape(-1, space.n_variables)
    assert len(set(space.decode(points))) == space.cardinality


@pytest.mark.parametrize("name", SPACES)
def test_the_first_units_stay_and_then_the_most_important_ones(name: str) -> None:
    space = SPACES[name].bind(GRAPH, importance)
    ranked = IMPORTANCE.copy()
    for pattern, units in (SPACES[name].keep_first or {}).items():
        for group in GRAPH.match(pattern):
            ranked[group.start : group.start + units] = np.inf
    points = random_points(space, 10) if space.kind != "binary" else space.uniform([0.2, 0.9])
    for structure in space.decode(points):
        assert structure == GRAPH.structure_from_widths(structure.widths, ranked)


@pytest.mark.parametrize("name", SPACES)
def test_the_first_units_stay_at_every_vector(name: str) -> None:
    space = SPACES[name].bind(GRAPH, importance)
    points = [random_points(space), space.sample(np.random.default_rng(6), 50)]
    for pattern, units in (SPACES[name].keep_first or {}).items():
        for group in GRAPH.match(pattern):
            for structure in space.decode(np.concatenate(points)):
                assert structure.kept[group.start : group.start + units].all()


@pytest.mark.parametrize("name", SPACES)
def test_no_group_keeps_fewer_units_than_the_minimum(name: str) -> None:
    space = SPACES[name].bind(GRAPH, importance)
    least = np.minimum(SPACES[name].minimum, GRAPH.widths)
    assert (space.narrowest >= least).all()
    assert (space.widths(random_points(space)) >= least).all()


def test_points_of_another_shape_or_not_finite_are_refused(space: BoundSpace) -> None:
    with pytest.raises(ArgumentError, match="points must have shape"):
        space.decode(np.zeros((2, space.n_variables + 1)))
    with pytest.raises(ArgumentError, match="points must have shape"):
        space.widths(np.zeros(space.n_variables))
    with pytest.raises(ArgumentError, match="finite"):
        space.decode(np.full((1, space.n_variables), np.nan))


def test_a_structure_of_another_graph_is_refused(space: BoundSpace) -> None:
    class Other(Small):
        def __init__(self) -> None:
            super().__init__()
            self.second = type(self.second)(6, 9, 3, padding=1)
            self.classes = type(self.classes)(9, 3)

    other = trace(Other().eval(), torch.zeros(2, 1, 5, 5))
    with pytest.raises(GraphMismatchError):
        space.encode(other.full())


def test_a_bound_space_can_be_sent_to_another_process(space: BoundSpace) -> None:
    points = random_points(space, 5)
    copied = pickle.loads(pickle.dumps(space))
    assert copied.decode(points) == space.decode(points)


@pytest.mark.parametrize("kind", [Widths, Masks, Ratios])
def test_two_equal_spaces_are_equal_and_show_their_configuration(kind: type) -> None:
    assert kind(frozen=[FIRST]) == kind(frozen=[FIRST])
    assert kind(frozen=[FIRST]) != kind()
    assert f"frozen=['{FIRST}']" in repr(kind(frozen=[FIRST]))


@pytest.mark.parametrize("kind", [Widths, Masks, Ratios])
def test_an_unknown_group_suggests_the_nearest(kind: Any) -> None:
    wrong = f"{FIRST}x"
    for options in (
        {"bounds": {wrong: (1, 1)}},
        {"frozen": [wrong]},
        {"keep_first": {wrong: 1}},
    ):
        with pytest.raises(UnknownGroupError, match=f"Did you mean '{FIRST}'"):
            kind(**options).bind(GRAPH, importance)


@pytest.mark.parametrize("kind", [Widths, Masks, Ratios])
def test_a_space_that_leaves_nothing_to_decide_is_refused(kind: Any) -> None:
    with pytest.raises(ArgumentError, match="nothing to decide"):
        kind(frozen=["*"]).bind(GRAPH, importance)


@pytest.mark.parametrize("kind", [Widths, Masks, Ratios])
def test_importance_is_asked_for_when_it_is_needed_and_once(kind: Any) -> None:
    calls = []

    def counted() -> np.ndarray[Any, Any]:
        calls.append(1)
        return IMPORTANCE

    space = kind().bind(GRAPH, counted)
    space.sample(np.random.default_rng(0), 3)
    assert not calls
    for _ in range(2):
        space.decode(space.uniform([0.3, 0.6]))
    assert len(calls) == 1


def test_among_equals_the_lower_index_stays() -> None:
    space = Widths().bind(GRAPH, lambda: np.zeros(GRAPH.n_units))
    structure = space.decode(space.encode(narrowed(2, 3))[None])[0]
    assert np.flatnonzero(structure.kept).tolist() == [0, 1, 6, 7, 8]
