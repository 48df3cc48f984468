from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

import optprune as op
from optprune.compare.anytime import trajectories
from optprune.compare.attainment import attainment, best_within, median_interval, targets
from optprune.errors import ArgumentError, ArgumentTypeError
from tests.compare.test_anytime import follow, tables, volumes

OBJECTIVES = {"objectives": ("error", "macs"), "directions": ("minimize", "minimize")}


def surfaces(columns, infeasible=(), **options):
    log, runs = tables(columns, metrics=("error", "macs"), infeasible=infeasible)
    return attainment(log, runs, problem="digits", **{**OBJECTIVES, **options})


def corners(table, optimizer, surface):
    rows = table[(table["optimizer"] == optimizer) & (table["surface"] == surface)]
    return rows[["error", "macs"]].to_numpy().tolist()


def fronts(n_runs, n_points=12, seed=0):
    rng = np.random.default_rng(seed)
    return {("A", s): [tuple(p) for p in rng.random((n_points, 2)).round(2)] for s in range(n_runs)}


class TestSurfaces:
    def test_they_are_those_by_hand(self):
        columns = {("A", 1): [(1.0, 3.0), (3.0, 1.0)], ("A", 2): [(2.0, 2.0)], ("A", 3): [(4, 4)]}
        found = surfaces(columns)
        assert corners(found, "A", "best") == [[1, 3], [2, 2], [3, 1]]
        assert corners(found, "A", "median") == [[2, 3], [3, 2]]
        assert corners(found, "A", "worst") == [[4, 4]]

    @pytest.mark.parametrize("n_runs", [1, 2, 3, 4, 7])
    @pytest.mark.parametrize("lost", [0, 1])
    def test_they_border_what_so_many_runs_attained(self, n_runs, lost):
        columns = fronts(n_runs)
        infeasible = [("A", s, i) for s in range(lost) for i in range(12)]
        found = surfaces(columns, infeasible)
        kept = [np.array(rows) for (_, s), rows in columns.items() if s >= lost]
        line = np.linspace(0, 1, 21) + 0.001
        places = np.array(list(itertools.product(line, repeat=2)))[:, None]
        attained = sum((front <= places).all(axis=2).any(axis=1).astype(int) for front in kept)
        levels = {"best": 1, "median": math.ceil(n_runs / 2), "worst": n_runs}
        for surface, needed in levels.items():
            border = np.array(corners(found, "A", surface)).reshape(-1, 2)
            inside = (border <= places).all(axis=2).any(axis=1)
            np.testing.assert_array_equal(inside, attained >= needed)

    def test_runs_that_found_nothing_push_the_surfaces_out(self):
        columns = {("A", 1): [(1.0, 1.0)], ("A", 2): [], ("A", 3): [(2.0, 2.0)]}
        found = surfaces(columns)
        assert found["surface"].tolist() == ["best", "median"]
        assert corners(found, "A", "median") == [[2, 2]]
        assert set(found["runs"]) == {3}

    def test_of_one_run_all_surfaces_are_its_front(self):
        found = surfaces(fronts(1))
        assert corners(found, "A", "best") == corners(found, "A", "worst")

    def test_nothing_feasible_is_an_empty_table(self):
        found = surfaces({("A", 1): []})
        assert list(found.columns) == ["optimizer", "surface", "runs", "error", "macs"]
        assert len(found) == 0

    def test_a_maximized_objective_is_the_negated_minimized_one(self):
        columns = fronts(5)
        down = surfaces(columns)
        up = surfaces(
            {key: [(-e, m) for e, m in rows] for key, rows in columns.items()},
            directions=("maximize", "minimize"),
        )
        up["error"] *= -1
        for surface in ("best", "median", "worst"):
            np.testing.assert_allclose(corners(up, "A", surface), corners(down, "A", surface))

    def test_three_objectives_have_no_surface_here(self):
        with pytest.raises(ArgumentError, match="two objectives"):
            surfaces({("A", 1): []}, objectives=("error",), directions=("minimize",))


def within(columns, bounds, direction="minimize", infeasible=(), **options):
    log, runs = tables(columns, metrics=("error", "macs"), infeasible=infeasible)
    return best_within(
        log,
        runs,
        problem="digits",
        objective="error",
        direction=direction,
        bounds=bounds,
        **options,
    )


class TestBestWithin:
    def test_the_best_of_every_run_within_the_bound_counts(self):
        columns = {
            ("A", 1): [(0.5, 0.2), (0.1, 0.9), (0.3, 0.5)],
            ("A", 2): [(0.4, 0.4), (0.2, 0.3)],
            ("A", 3): [(0.0, 0.6)],
            ("B", 1): [(0.7, 0.1)],
        }
        found = within(columns, [op.metrics.macs <= 0.5, op.metrics.macs <= 0.2])
        assert found["bound"].tolist() == [str(op.metrics.macs <= b) for b in (0.5, 0.5, 0.2, 0.2)]
        assert found["optimizer"].tolist() == ["A", "B", "A", "B"]
        assert found["runs"].tolist() == [3, 1, 3, 1]
        # A: 0.3, 0.2 and nothing; then 0.5, nothing and nothing.
        assert found["found"].tolist() == [2, 1, 1, 1]
        np.testing.assert_array_equal(found["median"], [0.3, 0.7, math.nan, 0.7])
        np.testing.assert_array_equal(found["lower"], [0.2, 0.7, 0.5, 0.7])
        np.testing.assert_array_equal(found["upper"], [math.nan, 0.7, math.nan, 0.7])
        assert found["coverage"].tolist() == [0.75, 0.0, 0.75, 0.0]
        assert found["evaluations"].tolist() == [2, 1, 2, 1]
        assert found["samples"].tolist() == [20, 10, 20, 10]

    @pytest.mark.parametrize("n_runs", [1, 3, 5])
    def test_the_median_is_where_the_bound_cuts_the_median_surface(self, n_runs):
        columns = fronts(n_runs, n_points=30)
        surface = np.array(corners(surfaces(columns), "A", "median"))
        for bound in (0.15, 0.35, 0.8):
            cut = surface[surface[:, 1] <= bound, 0].min(initial=np.inf)
            median = within(columns, [op.metrics.macs <= bound])["median"].iloc[0]
            assert median == cut or (math.isnan(median) and math.isinf(cut))

    def test_without_a_bound_it_is_the_best_of_all(self):
        found = within({("A", 1): [(0.5, 1.0), (0.4, 1.0)]}, [])
        assert found["bound"].tolist() == [""]
        assert found["median"].tolist() == [0.4]

    def test_maximized_the_largest_counts_and_nothing_is_low(self):
        columns = {("A", 1): [(0.5, 0.1), (0.4, 0.1)], ("A", 2): [(0.3, 0.1)], ("A", 3): []}
        found = within(columns, [op.metrics.macs <= 0.5], direction="maximize").iloc[0]
        assert (found["median"], found["upper"]) == (0.3, 0.5)
        assert math.isnan(found["lower"])

    def test_infeasible_rows_do_not_count(self):
        found = within({("A", 1): [(0.1, 0.1)]}, [], infeasible=[("A", 1, 0)]).iloc[0]
        assert found["found"] == 0
        assert math.isnan(found["median"])

    def test_bad_bounds_are_named(self):
        columns = {("A", 1): [(0.1, 0.1)]}
        with pytest.raises(ArgumentTypeError, match=r"op\.metrics\.macs <= 0\.5; got float"):
            within(columns, [0.5])
        with pytest.raises(ArgumentError, match="no column 'parameters'"):
            within(columns, [op.metrics.parameters <= 0.5])


class TestMedianInterval:
    @pytest.mark.parametrize(
        ("n", "coverage"), [(1, 0.0), (3, 0.75), (5, 0.9375), (6, 0.96875), (8, 0.9921875)]
    )
    def test_few_values_give_their_range_and_its_coverage(self, n, coverage):
        found = median_interval(np.arange(n)[::-1])
        assert found == (0, n - 1, pytest.approx(coverage))

    @pytest.mark.parametrize("n", [9, 10, 20, 51])
    def test_it_is_the_narrowest_that_covers_enough(self, n):
        found = median_interval(np.arange(n))
        k = int(found.lower)
        assert found.upper == n - 1 - k
        assert found.coverage == pytest.approx(1 - 2 * stats.binom.cdf(k, n, 0.5))
        assert found.coverage >= 0.95 > 1 - 2 * stats.binom.cdf(k + 1, n, 0.5)

    def test_so_many_intervals_hold_the_median(self):
        draws = np.random.default_rng(0).exponential(size=(1500, 9))
        held = [a <= math.log(2) <= b for a, b, _ in map(median_interval, draws)]
        expected = median_interval(draws[0]).coverage
        assert np.mean(held) == pytest.approx(expected, abs=0.018)

    @pytest.mark.parametrize("values", [[], [1.0, math.nan], [[1.0]]])
    def test_bad_values_are_named(self, values):
        with pytest.raises(ArgumentError, match="median_interval"):
            median_interval(values)
        with pytest.raises(ArgumentError, match="confidence"):
            median_interval([1.0], confidence=95)


def share(table, optimizer, cost):
    rows = table[(table["optimizer"] == optimizer) & (table["cost"] <= cost)]
    return rows["share"].iloc[-1]


class TestTargets:
    def test_the_share_is_that_of_the_pairs_by_hand(self):
        found = follow({("A", 1): [5.0, 3.0, 1.0], ("A", 2): [4.0, 4.0, 2.0], ("B", 1): [2.5]})
        table = targets(found, values={"digits": [4.5, 3.0, 1.0]})
        # Seed 1 reaches them at 2, 2, 3; seed 2 at 1, 3, never; B the first two at 1.
        assert [share(table, "A", cost) for cost in (1, 2, 3)] == pytest.approx(
            [1 / 6, 3 / 6, 5 / 6]
        )
        assert [share(table, "B", cost) for cost in (1, 3)] == pytest.approx([2 / 3, 2 / 3])
        assert table[table["optimizer"] == "B"]["running"].tolist() == [0, 0, 0]

    def test_derived_targets_lie_between_the_worst_first_and_the_best(self):
        found = follow({("A", 1): [10.0, 1.0], ("B", 1): [9.0, 0.0]})
        # Targets 10, 5, 1, 0.
        table = targets(found, precisions=[1.0, 0.5, 0.1, 0.0])
        assert [share(table, "A", cost) for cost in (1, 2)] == [0.25, 0.75]
        assert [share(table, "B", cost) for cost in (1, 2)] == [0.25, 1.0]

    def test_the_best_run_reaches_all_derived_targets_and_shares_never_fall(self):
        rng = np.random.default_rng(0)
        found = follow({(name, s): rng.random(50).tolist() for name in "AB" for s in range(3)})
        table = targets(found)
        best = min(run.values[-1] for run in found.runs)
        for name, rows in table.groupby("optimizer"):
            assert (np.diff(rows["share"]) >= 0).all()
            ends = [run.values[-1] for run in found.runs if run.optimizer == name]
            assert rows["share"].iloc[-1] <= 1
            assert (rows["share"].iloc[-1] == pytest.approx(1)) == all(
                end <= best + 1e-3 * (1 - best) for end in ends
            )

    def test_maximized_values_and_hypervolumes_reach_upwards(self):
        found = follow({("A", 1): [1.0, 3.0]}, direction="maximize")
        table = targets(found, values={"digits": [0.5, 2.0, 4.0]})
        assert [share(table, "A", cost) for cost in (1, 2)] == pytest.approx([1 / 3, 2 / 3])
        grown = volumes({("A", 1): [(1.0, 3.0), (1.0, 1.0)]}, reference=(4, 4))
        assert share(targets(grown), "A", 1) == pytest.approx(1 / 31)
        assert share(targets(grown), "A", 2) == pytest.approx(1)

    def test_problems_weigh_the_same_and_one_not_run_counts_as_not_reached(self):
        digits = follow({("A", 1): [1.0], ("B", 1): [1.0]})
        log, runs = tables({("A", 1): [1.0], ("A", 2): [3.0]}, problem="fashion")
        fashion = trajectories(
            log, runs, problem="fashion", objectives=["error"], directions=["minimize"]
        )
        table = targets([digits, fashion], values={"digits": [2.0], "fashion": [2.0]})
        assert share(table, "A", 1) == pytest.approx((1 + 0.5) / 2)
        assert share(table, "B", 1) == pytest.approx(1 / 2)

    def test_who_found_nothing_reached_nothing(self):
        found = follow({("A", 1): [1.0], ("B", 1): []}, infeasible=[("A", 1, 0)])
        assert set(targets(found)["share"]) == {0.0}

    def test_runs_that_are_all_alike_reach_all_at_once(self):
        assert share(targets(follow({("A", 1): [1.0, 1.0]})), "A", 1) == pytest.approx(1)

    @pytest.mark.parametrize(
        ("found", "options", "words"),
        [
            ([], {}, "no problem"),
            ([{}, {}], {}, "twice"),
            ([{}, {"cost": "seconds"}], {}, "same cost"),
            ([{}], {"values": {}}, "no targets for 'digits'"),
            ([{}], {"values": {"digits": []}}, "at least one number"),
            ([{}], {"values": {"digits": [math.nan]}}, "none NaN"),
            ([{}], {"precisions": [-1.0]}, "precisions"),
        ],
    )
    def test_bad_input_is_named(self, found, options, words):
        several = [follow({("A", 1): [1.0]}, **given) for given in found]
        with pytest.raises(ArgumentError, match=words):
            targets(several, **options)
