from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation import Masks, Ratios, Widths
from tests.formulation.cases import small_graph

GRAPH = small_graph()
FIRST, SECOND = (group.name for group in GRAPH.groups)


def bind(space: Any) -> Any:
    return space.bind(GRAPH, lambda: np.zeros(GRAPH.n_units))


def test_bounds_are_inclusive_and_in_units() -> None:
    space = bind(Widths(bounds={FIRST: (2, 5)}))
    assert space.narrowest.tolist() == [2, 1]
    assert space.widest.tolist() == [5, 8]


def test_bounds_of_ratios_are_ratios() -> None:
    space = bind(Ratios(bounds={SECOND: (0.25, 0.5)}))
    assert space.narrowest.tolist() == [1, 2]
    assert space.widest.tolist() == [6, 4]


def test_a_pattern_matches_groups_and_tensors_of_groups() -> None:
    assert bind(Widths(bounds={"*": (1, 4)})).widest.tolist() == [4, 4]
    assert bind(Widths(bounds={"norm.*": (1, 4)})).widest.tolist() == [4, 8]


def test_frozen_groups_stay_whole_and_are_no_variables() -> None:
    space = bind(Widths(frozen=[FIRST]))
    assert space.names == (SECOND,)
    assert space.widths(space.smallest()[None]).tolist() == [[6, 1]]


def test_patterns_that_overlap_name_the_group_and_its_width() -> None:
    with pytest.raises(ArgumentError, match=rf"both match group '{FIRST}' \(width 6\)"):
        bind(Widths(bounds={"*": (1, 4), FIRST: (2, 3)}))


def test_a_group_that_is_bounded_and_frozen_is_named() -> None:
    with pytest.raises(ArgumentError, match=rf"group '{FIRST}' \(width 6\), which is frozen too"):
        bind(Masks(bounds={FIRST: (1, 4)}, frozen=["*"]))


@pytest.mark.parametrize("pair", [(0, 3), (4, 3), (2, 7), (-1, 2)])
@pytest.mark.parametrize("kind", [Widths, Masks])
def test_impossible_bounds_name_the_group_and_its_width(kind: Any, pair: tuple[int, int]) -> None:
    with pytest.raises(ArgumentError, match=rf"impossible for group '{FIRST}' \(width 6\)"):
        bind(kind(bounds={FIRST: pair}))


@pytest.mark.parametrize("pair", [(-0.1, 0.5), (0.6, 0.5), (0.5, 1.5)])
def test_impossible_ratios_name_the_group_and_its_width(pair: tuple[float, float]) -> None:
    with pytest.raises(ArgumentError, match=rf"impossible for group '{SECOND}' \(width 8\)"):
        bind(Ratios(bounds={SECOND: pair}))


@pytest.mark.parametrize("pair", [3, (1, 2, 3), ("1", 2), (0.5, 1.0), (True, 2)])
def test_bounds_that_are_no_pairs_of_units_are_refused(pair: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="pair"):
        bind(Widths(bounds={FIRST: pair}))


def test_bounds_between_two_steps_leave_no_width() -> None:
    with pytest.raises(ArgumentError, match=rf"leave group '{SECOND}' \(width 8\) no width"):
        bind(Widths(step=4, bounds={SECOND: (5, 7)}))


def test_frozen_as_one_text_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"\['first'\]"):
        bind(Widths(frozen="first"))


@pytest.mark.parametrize("kind", [Widths, Masks, Ratios])
def test_a_group_narrower_than_the_minimum_stays_whole(kind: Any) -> None:
    space = bind(kind(minimum=7))
    assert space.narrowest.tolist() == [6, 7]
    assert space.widest.tolist() == [6, 8]
    assert all(name.startswith(SECOND) for name in space.names)


def test_a_minimum_between_two_steps_means_the_next_one() -> None:
    assert bind(Widths(step=3, minimum=4)).narrowest.tolist() == [6, 6]
    assert bind(Widths(step=2, minimum=3)).narrowest.tolist() == [4, 4]


def test_the_wider_of_minimum_and_lower_bound_holds() -> None:
    space = bind(Widths(minimum=3, bounds={FIRST: (2, 5), SECOND: (4, 8)}))
    assert space.narrowest.tolist() == [3, 4]


@pytest.mark.parametrize("kind", [Widths, Masks, Ratios])
def test_first_units_make_the_least_width(kind: Any) -> None:
    assert bind(kind(keep_first={FIRST: 4})).narrowest.tolist() == [4, 1]
    assert bind(kind(keep_first={"*": 2})).narrowest.tolist() == [2, 2]
    assert bind(kind(keep_first={"norm.*": 6})).narrowest.tolist() == [6, 1]


def test_first_units_are_no_bits_to_decide() -> None:
    space = bind(Masks(keep_first={FIRST: 4}))
    assert space.names[:2] == (f"{FIRST}[4]", f"{FIRST}[5]")
    assert space.n_variables == GRAPH.n_units - 4


def test_a_group_that_keeps_its_first_units_only_is_no_variable() -> None:
    space = bind(Masks(bounds={FIRST: (1, 3)}, keep_first={FIRST: 3}))
    assert all(name.startswith(SECOND) for name in space.names)
    structure = space.decode(space.full()[None])[0]
    assert structure.kept[:6].tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize("kind", [Widths, Masks, Ratios])
def test_first_units_of_a_frozen_group_are_no_contradiction(kind: Any) -> None:
    assert bind(kind(frozen=[FIRST], keep_first={"*": 2})).narrowest.tolist() == [6, 2]


@pytest.mark.parametrize("kind", [Widths, Masks])
def test_more_than_a_bound_leaves_is_refused_with_both_arguments(kind: Any) -> None:
    bounds = {FIRST: (1, 3)}
    with pytest.raises(
        ArgumentError, match=rf"minimum=4.*'{FIRST}' \(width 6\).*bounds.*3 at most"
    ):
        bind(kind(minimum=4, bounds=bounds))
    with pytest.raises(ArgumentError, match=r"keep_first\['\*'\] = 5.*lower the one or raise"):
        bind(kind(keep_first={"*": 5}, bounds=bounds))


def test_more_than_a_ratio_leaves_is_refused_after_rounding() -> None:
    # 0.4 of six units rounds to two, so that two are possible.
    assert bind(Ratios(minimum=2, bounds={FIRST: (0.1, 0.4)})).widest.tolist() == [2, 8]
    with pytest.raises(ArgumentError, match="minimum=3 keeps 3 units"):
        bind(Ratios(minimum=3, bounds={FIRST: (0.1, 0.4)}))


@pytest.mark.parametrize("units", [0, -1, 7])
@pytest.mark.parametrize("kind", [Widths, Masks, Ratios])
def test_first_units_that_a_group_does_not_have_are_refused(kind: Any, units: int) -> None:
    with pytest.raises(ArgumentError, match=rf"impossible for group '{FIRST}' \(width 6\): 1 to 6"):
        bind(kind(keep_first={FIRST: units}))


@pytest.mark.parametrize("units", [1.5, "2", True, (1, 2)])
def test_first_units_that_are_no_number_are_refused(units: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="whole number of units"):
        bind(Widths(keep_first={FIRST: units}))


def test_first_units_by_overlapping_patterns_are_refused() -> None:
    with pytest.raises(ArgumentError, match=rf"keep_first: '\*' and '{FIRST}' both match"):
        bind(Widths(keep_first={"*": 1, FIRST: 2}))


def test_first_units_must_be_a_dict() -> None:
    with pytest.raises(ArgumentTypeError, match="keep_first must be a dict"):
        bind(Widths(keep_first=[FIRST]))  # type: ignore[arg-type]


@pytest.mark.parametrize("minimum", [0, -1, 1.5, True, None])
@pytest.mark.parametrize("kind", [Widths, Masks, Ratios])
def test_a_minimum_that_is_no_positive_int_is_refused(kind: Any, minimum: Any) -> None:
    with pytest.raises(ArgumentError, match="minimum must be a positive int"):
        kind(minimum=minimum)


@pytest.mark.parametrize("kind", [Widths, Masks, Ratios])
def test_a_minimum_above_every_width_leaves_nothing_to_decide(kind: Any) -> None:
    with pytest.raises(ArgumentError, match=r"nothing to decide.*minimum.*dense widths 6, 8"):
        bind(kind(minimum=9))


def test_widths_are_multiples_of_the_step_or_all_units() -> None:
    space = bind(Widths(step=4))
    assert [allowed.tolist() for allowed in space.options] == [[4, 6], [4, 8]]
    wide = bind(Widths(step=7))
    assert [allowed.tolist() for allowed in wide.options] == [[6], [7, 8]]
    assert wide.names == (SECOND,)


@pytest.mark.parametrize("step", [0, -1, 1.5, True])
def test_a_step_that_is_no_positive_int_is_refused(step: Any) -> None:
    with pytest.raises(ArgumentError, match="step must be a positive int"):
        Widths(step=step)


def test_a_step_wider_than_every_group_leaves_nothing_to_decide() -> None:
    with pytest.raises(ArgumentError, match=r"at step=9.*dense widths 6, 8"):
        bind(Widths(step=9))


def test_an_empty_mask_keeps_the_most_important_unit_of_each_group() -> None:
    importance = np.zeros(GRAPH.n_units)
    importance[[4, 9]] = 1.0
    space = Masks().bind(GRAPH, lambda: importance)
    structure = space.decode(np.zeros((1, space.n_variables)))[0]
    assert np.flatnonzero(structure.kept).tolist() == [4, 9]


def test_a_repair_changes_no_more_than_it_must() -> None:
    importance = np.arange(GRAPH.n_units, dtype=float)
    space = Masks(bounds={FIRST: (3, 4)}).bind(GRAPH, lambda: importance)
    points = np.ones((3, space.n_variables))
    points[0, 1:6] = 0  # one unit kept: units 5 and 4 come back
    points[1, :2] = 0  # four kept: nothing to repair
    kept = space.kept(points)[:, :6]
    assert kept.astype(int).tolist() == [[1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]
