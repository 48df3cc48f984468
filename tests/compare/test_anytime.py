from __future__ import annotations

import math

import moocore
import numpy as np
import pandas as pd
import pytest

from optprune.compare.anytime import anytime, common_grid, quantiles, trajectories, values_at
from optprune.errors import ArgumentError


def tables(
    columns, metrics=("error",), problem="digits", seconds=0.5, samples=10, infeasible=()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return log and runs: `columns` maps (optimizer, seed) to one value, or tuple, a row."""
    log, runs = [], []
    for (optimizer, seed), rows in columns.items():
        for index, row in enumerate(rows):
            values = row if isinstance(row, tuple) else (row,)
            log.append(
                {
                    "problem": problem,
                    "optimizer": optimizer,
                    "seed": seed,
                    "index": index,
                    "evaluations": index + 1,
                    "seconds": seconds * (index + 1),
                    "samples": samples * (index + 1),
                    "feasible": (optimizer, seed, index) not in infeasible,
                    "failed": False,
                    **dict(zip(metrics, values, strict=True)),
                }
            )
        runs.append(
            {
                "problem": problem,
                "optimizer": optimizer,
                "seed": seed,
                "evaluations": len(rows),
                "seconds": seconds * len(rows),
                "samples": samples * len(rows),
                "failed": not rows,
                "reason": "",
            }
        )
    names = ["problem", "optimizer", "seed", "index", "evaluations", "seconds", "samples"]
    return pd.DataFrame(log, columns=[*names, "feasible", "failed", *metrics]), pd.DataFrame(runs)


def follow(columns, cost="evaluations", direction="minimize", **options):
    log, runs = tables(columns, **options)
    return trajectories(
        log, runs, problem="digits", objectives=["error"], directions=[direction], cost=cost
    )


def volumes(columns, reference=None, directions=None, metrics=("error", "macs"), **options):
    log, runs = tables(columns, metrics=metrics, **options)
    return trajectories(
        log,
        runs,
        problem="digits",
        objectives=metrics,
        directions=directions or ["minimize"] * len(metrics),
        reference=reference,
    )


class TestBestValue:
    def test_it_steps_where_a_row_is_better(self):
        (run,) = follow({("A", 1): [5.0, 6.0, 3.0, 3.0, 2.0]}).runs
        assert run.costs.tolist() == [1, 3, 5]
        assert run.values.tolist() == [5, 3, 2]
        np.testing.assert_array_equal(run.at([0.5, 1, 2.9, 3, 100]), [math.nan, 5, 5, 3, 2])

    def test_maximized_it_climbs(self):
        (run,) = follow({("A", 1): [5.0, 6.0, 3.0]}, direction="maximize").runs
        assert run.values.tolist() == [5, 6]

    def test_infeasible_failed_and_unmeasured_rows_do_not_count(self):
        log, runs = tables({("A", 1): [1.0, 2.0, math.nan, 9.0]}, infeasible=[("A", 1, 0)])
        log.loc[1, "failed"] = True
        found = trajectories(
            log, runs, problem="digits", objectives=["error"], directions=["minimize"]
        )
        assert found.runs[0].costs.tolist() == [4]
        assert found.runs[0].values.tolist() == [9]

    def test_the_order_of_the_rows_in_the_table_does_not_matter(self):
        log, runs = tables({("A", 1): [5.0, 1.0, 3.0], ("B", 1): [2.0, 4.0, 1.0]})
        options = {"problem": "digits", "objectives": ["error"], "directions": ["minimize"]}
        one = trajectories(log, runs, **options)
        other = trajectories(log.sample(frac=1, random_state=3), runs, **options)
        for a, b in zip(one.runs, other.runs, strict=True):
            assert a.costs.tolist() == b.costs.tolist()
            assert a.values.tolist() == b.values.tolist()

    def test_costs_are_seconds_or_samples_too(self):
        columns = {("A", 1): [5.0, 3.0]}
        assert follow(columns, "seconds").runs[0].costs.tolist() == [0.5, 1.0]
        assert follow(columns, "samples").runs[0].costs.tolist() == [10, 20]

    def test_of_rows_at_the_same_cost_the_best_counts(self):
        (run,) = follow({("A", 1): [5.0, 3.0, 4.0]}, "samples", samples=0).runs
        assert run.costs.tolist() == [0]
        assert run.values.tolist() == [3]

    def test_other_problems_do_not_count(self):
        log, runs = tables({("A", 1): [5.0]})
        others = tables({("A", 1): [1.0]}, problem="fashion")
        found = trajectories(
            pd.concat([others[0], log]),
            pd.concat([others[1], runs]),
            problem="digits",
            objectives=["error"],
            directions=["minimize"],
        )
        assert [run.values.tolist() for run in found.runs] == [[5.0]]

    def test_the_end_is_that_of_the_run_not_of_its_last_row(self):
        log, runs = tables({("A", 1): [5.0]})
        runs["seconds"] = 60.0
        found = trajectories(
            log,
            runs,
            problem="digits",
            objectives=["error"],
            directions=["minimize"],
            cost="seconds",
        )
        assert found.runs[0].end == 60.0


class TestHypervolume:
    def test_it_is_that_by_hand(self):
        # Boxes to (4, 4): 3 × 1 = 3; 2 × 2 adds 2; (2, 3) is dominated; (1, 1) covers 9.
        (run,) = volumes(
            {("A", 1): [(1.0, 3.0), (2.0, 2.0), (2.0, 3.0), (1.0, 1.0)]}, reference=(4, 4)
        ).runs
        assert run.costs.tolist() == [1, 2, 4]
        assert run.values.tolist() == [3, 5, 9]
        np.testing.assert_array_equal(run.at([0.5, 1]), [0, 3])

    @pytest.mark.parametrize("n_objectives", [2, 3, 4])
    @pytest.mark.parametrize("digits", [6, 1], ids=["continuous", "with ties"])
    def test_it_is_the_volume_of_all_rows_so_far(self, n_objectives, digits):
        points = np.random.default_rng(n_objectives).random((80, n_objectives)).round(digits)
        points[5] = 1.5  # beyond the reference
        metrics = tuple("abcd"[:n_objectives])
        reference = np.full(n_objectives, 0.9)
        (run,) = volumes(
            {("A", 1): [tuple(p) for p in points]}, reference=reference, metrics=metrics
        ).runs
        expected = [moocore.hypervolume(points[: n + 1], ref=reference) for n in range(len(points))]
        np.testing.assert_allclose(run.at(np.arange(1, 81)), expected, rtol=1e-10, atol=1e-14)
        assert (np.diff(run.values) > 0).all()

    def test_all_runs_share_the_worst_feasible_values_as_reference(self):
        columns = {("A", 1): [(1.0, 2.0), (9.0, 9.0)], ("B", 1): [(4.0, 1.0), (2.0, 3.0)]}
        found = volumes(columns, infeasible=[("A", 1, 1)])
        assert found.reference == (4.0, 3.0)
        assert found.runs[0].values.tolist() == [3.0]
        # Points on the border of what counts add nothing.
        assert found.runs[1].values.tolist() == []

    def test_a_missing_coordinate_is_derived(self):
        found = volumes({("A", 1): [(1.0, 2.0), (3.0, 1.0)]}, reference=(math.nan, 7.0))
        assert found.reference == (3.0, 7.0)

    def test_a_maximized_objective_is_the_negated_minimized_one(self):
        points = np.random.default_rng(0).random((30, 2))
        down = volumes({("A", 1): [tuple(p) for p in points]}, reference=(1, 1))
        points[:, 0] *= -1
        up = volumes(
            {("A", 1): [tuple(p) for p in points]},
            reference=(-1, 1),
            directions=["maximize", "minimize"],
        )
        np.testing.assert_allclose(up.runs[0].values, down.runs[0].values)
        assert up.reference == (-1, 1)
        assert up.direction == "maximize"

    def test_nothing_feasible_has_no_volume(self):
        found = volumes({("A", 1): [(1.0, 2.0)], ("B", 1): []}, infeasible=[("A", 1, 0)])
        assert anytime(found)["median"].tolist() == [0.0] * 4


class TestAnytime:
    def test_median_and_quartiles_are_those_of_the_best_so_far(self):
        rng = np.random.default_rng(0)
        rows = rng.random((5, 20))
        found = anytime(follow({("A", s): row.tolist() for s, row in enumerate(rows)}))
        best = np.minimum.accumulate(rows, axis=1)
        at = found["cost"].to_numpy().astype(int) - 1
        for column, share in (("lower", 0.25), ("median", 0.5), ("upper", 0.75)):
            np.testing.assert_allclose(found[column], np.quantile(best, share, axis=0)[at])
        assert found["cost"].is_monotonic_increasing

    def test_every_change_and_every_end_is_a_cost(self):
        found = anytime(follow({("A", 1): [5.0, 6.0, 4.0, 7.0], ("B", 1): [1.0, 2.0]}))
        assert found[found["optimizer"] == "B"]["cost"].tolist() == [1, 2, 3, 4]

    def test_a_run_that_ended_keeps_its_value(self):
        found = anytime(follow({("A", 1): [5.0, 4.0, 3.0, 2.0], ("Short", 1): [3.5]}))
        short = found[found["optimizer"] == "Short"]
        assert short["median"].tolist() == [3.5] * 4
        assert short["running"].tolist() == [0, 0, 0, 0]

    def test_running_is_the_share_that_has_not_ended(self):
        found = anytime(follow({("A", 1): [5.0], ("A", 2): [5.0, 4.0, 3.0]}), grid=[0.5, 1, 2, 3])
        assert found["running"].tolist() == [1, 0.5, 0.5, 0]

    def test_runs_without_a_value_count_as_worst(self):
        columns = {("A", 1): [4.0, 1.0], ("A", 2): [3.0, 3.0], ("A", 3): [2.0, 2.0]}
        infeasible = [("A", 1, 0), ("A", 2, 0), ("A", 2, 1)]
        found = anytime(follow(columns, infeasible=infeasible))
        # First two of three have nothing, then one: 1, 2, nothing.
        np.testing.assert_array_equal(found["median"], [math.nan, 2.0])
        np.testing.assert_array_equal(found["lower"], [math.nan, 1.5])
        np.testing.assert_array_equal(found["upper"], [math.nan, math.nan])
        np.testing.assert_allclose(found["found"], [1 / 3, 2 / 3])

    def test_maximized_the_worst_is_low(self):
        columns = {("A", 1): [1.0], ("A", 2): [2.0], ("A", 3): [3.0]}
        found = anytime(follow(columns, direction="maximize", infeasible=[("A", 3, 0)]))
        np.testing.assert_array_equal(found[["lower", "median", "upper"]], [[math.nan, 1.0, 1.5]])

    def test_a_run_without_rows_counts(self):
        found = anytime(follow({("A", 1): [2.0], ("A", 2): []}))
        assert found["runs"].tolist() == [2, 2]
        assert found["found"].tolist() == [0.0, 0.5]
        assert found["median"].isna().all()

    def test_unequal_numbers_of_seeds_are_told(self):
        found = anytime(follow({("A", 1): [2.0], ("A", 2): [2.0], ("B", 1): [2.0]}))
        assert dict(zip(found["optimizer"], found["runs"], strict=True)) == {"A": 2, "B": 1}

    def test_it_names_what_it_is(self):
        assert anytime(follow({("A", 1): [2.0]}, "seconds")).attrs == {
            "problem": "digits",
            "measure": "error",
            "direction": "minimize",
            "cost": "seconds",
        }

    @pytest.mark.parametrize("grid", [[], [2, 1], [1, math.nan], [[1, 2]]])
    def test_a_bad_grid_is_named(self, grid):
        with pytest.raises(ArgumentError, match="grid"):
            anytime(follow({("A", 1): [2.0]}), grid=grid)


class TestValuesAt:
    def test_every_run_has_a_row(self):
        found = follow({("A", 1): [5.0, 4.0], ("A", 2): [], ("B", 1): [3.0]})
        end = values_at(found)
        assert end[["optimizer", "seed"]].to_numpy().tolist() == [["A", 1], ["A", 2], ["B", 1]]
        np.testing.assert_array_equal(end["value"], [4.0, math.nan, 3.0])
        np.testing.assert_array_equal(values_at([found], 1)["value"], [5.0, math.nan, 3.0])


class TestQuantiles:
    @pytest.mark.parametrize("n", [1, 2, 3, 7, 11])
    def test_of_finite_values_they_are_those_of_numpy(self, n):
        values = np.random.default_rng(n).random((n, 4))
        shares = [0.0, 0.1, 0.25, 0.5, 0.7, 1.0]
        np.testing.assert_allclose(quantiles(values, shares), np.quantile(values, shares, axis=0))

    def test_infinite_values_only_count_where_they_are_needed(self):
        assert quantiles([1.0, 3.0, np.inf], [0.25, 0.5, 0.75]).tolist() == [2, 3, np.inf]
        assert quantiles([1.0, np.inf], [0.0, 0.5]).tolist() == [1, np.inf]
        assert quantiles([np.inf, np.inf], [0.5]).tolist() == [np.inf]


class TestCommonGrid:
    def test_of_many_changes_some_are_kept_and_all_ends(self):
        changes = [np.arange(0, 1000.0, 2), np.arange(1, 1000.0, 2)]
        grid = common_grid(changes, [333.3, 2000.0], most=50)
        assert len(grid) == 52
        assert (np.diff(grid) > 0).all()
        assert {0.0, 999.0, 333.3, 2000.0} <= set(grid.tolist())


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda log, runs: (log.drop(columns="feasible"), runs), {}, "`log` has no column 'feas"),
        (lambda log, runs: (log, runs.drop(columns="seed")), {}, "`runs` has no column 'seed'"),
        (lambda log, runs: (log, runs), {"problem": "sine"}, "problem 'sine'; it has 'digits'"),
        (lambda log, runs: (log, runs.iloc[:0]), {}, "it has no problem"),
        (lambda log, runs: (log, runs.iloc[1:]), {}, r"run \('A', .*1.*\) on 'digits'"),
        (lambda log, runs: (log, pd.concat([runs, runs])), {}, "'A' with seed 1 twice"),
        (
            lambda log, runs: (log.assign(seconds=math.nan), runs),
            {"cost": "seconds"},
            "seconds are not a finite",
        ),
        (lambda log, runs: (log, runs), {"cost": "hours"}, "got 'hours'"),
        (lambda log, runs: (log, runs), {"objectives": "error"}, "a list"),
        (lambda log, runs: (log, runs), {"directions": []}, "one for each"),
        (lambda log, runs: (log, runs), {"directions": ["down"]}, "'down'"),
        (lambda log, runs: (log, runs), {"objectives": ["loss"]}, "no column 'loss'"),
        (lambda log, runs: (log, runs), {"reference": [1.0]}, "two objectives or more"),
        (
            lambda log, runs: (log.assign(macs=1.0), runs),
            {"objectives": ["error", "macs"], "directions": ["minimize"] * 2, "reference": [1.0]},
            "2 coordinates",
        ),
    ],
)
def test_bad_input_is_named(change, options, words):
    log, runs = change(*tables({("A", 1): [2.0], ("B", 1): [2.0]}))
    arguments = {"problem": "digits", "objectives": ["error"], "directions": ["minimize"]}
    with pytest.raises(ArgumentError, match=words):
        trajectories(log, runs, **{**arguments, **options})
