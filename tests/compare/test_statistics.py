from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from optprune.compare.blocks import sign_of
from optprune.compare.ranks import ranks
from optprune.compare.statistics import a12, holm, pairwise, rank_biserial, signed_rank_p
from optprune.errors import ArgumentError


def table(columns, problem="digits") -> pd.DataFrame:
    """One row a run; seeds count from 1, None is a run that was not made."""
    return pd.DataFrame(
        [
            (problem, name, seed, math.nan if value == "nothing" else value)
            for name, values in columns.items()
            for seed, value in enumerate(values, start=1)
            if value is not None
        ],
        columns=["problem", "optimizer", "seed", "value"],
    )


def random_table(n_blocks, n_optimizers, seed=0, decimals=6) -> pd.DataFrame:
    draws = np.random.default_rng(seed).random((n_optimizers, n_blocks)).round(decimals)
    return table({f"m{i}": row for i, row in enumerate(draws.tolist())})


class TestSignedRank:
    @pytest.mark.parametrize("n", [1, 2, 5, 9, 20, 40])
    def test_without_ties_it_is_the_exact_test_of_scipy(self, n):
        d = np.random.default_rng(n).normal(0.4, 1.0, n)
        expected = stats.wilcoxon(d, method="exact").pvalue
        assert signed_rank_p(d) == pytest.approx(expected, rel=1e-10)

    def test_with_ties_it_counts_all_signs(self):
        d = np.array([1.0, 1.0, -1.0, 2.0, 2.0, 3.0, -4.0])
        ranking = stats.rankdata(np.abs(d))
        sums = [
            ranking[np.array(signs)].sum()
            for signs in itertools.product([False, True], repeat=len(d))
        ]
        observed, center = ranking[d > 0].sum(), ranking.sum() / 2
        share = np.mean(np.abs(np.array(sums) - center) >= abs(observed - center) - 1e-12)
        assert signed_rank_p(d) == pytest.approx(share)

    def test_ties_that_rounding_hides_are_ties(self):
        assert signed_rank_p([0.3 - 0.2, -(0.2 - 0.1), 0.5]) == signed_rank_p([1.0, -1.0, 5.0])

    @pytest.mark.parametrize("n", [1, 3, 6, 10])
    def test_the_least_p_value_halves_with_every_pair(self, n):
        assert signed_rank_p(np.arange(1.0, n + 1)) == pytest.approx(2.0 ** (1 - n))

    def test_zeros_say_nothing(self):
        assert signed_rank_p([0.0, 0.0]) == 1.0
        assert signed_rank_p([0.0, 1.0, 2.0, -3.0]) == signed_rank_p([1.0, 2.0, -3.0])

    def test_an_infinite_difference_has_the_highest_rank(self):
        assert signed_rank_p([np.inf, -1.0, -2.0]) == signed_rank_p([3.0, -1.0, -2.0])
        assert signed_rank_p([np.inf, np.inf]) == 0.5


class TestEffects:
    def test_rank_biserial_is_the_difference_of_the_shares_of_ranks(self):
        # First better by 1 and 3 (ranks 1 and 3), worse by 2 (rank 2).
        assert rank_biserial([-1.0, 2.0, -3.0]) == pytest.approx((4 - 2) / 6)
        assert rank_biserial([-1.0, -5.0]) == 1.0
        assert rank_biserial([1.0]) == -1.0
        assert rank_biserial([0.0]) == 0.0

    def test_a12_counts_wins_and_half_the_ties(self):
        # 1 beats 2, 3, ties 1; 3 ties 3, loses twice.
        assert a12([1.0, 3.0], [1.0, 2.0, 3.0]) == pytest.approx((2 + 0.5 + 0.5) / 6)
        assert a12([np.inf], [np.inf, 1.0]) == 0.25

    def test_a12_is_that_of_mann_and_whitney(self):
        a, b = np.random.default_rng(0).integers(0, 6, (2, 9)).astype(float)
        u = stats.mannwhitneyu(b, a).statistic
        assert a12(a, b) == pytest.approx(u / 81)

    def test_a12_of_nothing_is_an_error(self):
        with pytest.raises(ArgumentError, match="got 0 and 1"):
            a12([], [1.0])


class TestHolm:
    def test_the_steps_are_those_by_hand(self):
        # 4 * 0.01, 3 * 0.02, max(0.06, 2 * 0.025), max(0.06, 0.5)
        np.testing.assert_allclose(holm([0.02, 0.5, 0.01, 0.025]), [0.06, 0.5, 0.04, 0.06])

    def test_one_test_is_not_corrected_and_none_is_above_one(self):
        assert holm([0.03]).tolist() == [0.03]
        assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]

    def test_it_lies_between_no_correction_and_bonferroni(self):
        p = np.random.default_rng(1).random(20) ** 3
        assert (holm(p) >= p).all()
        assert (holm(p) <= np.minimum(20 * p, 1) + 1e-15).all()


class TestPairwise:
    def test_counts_and_effects_are_those_by_hand(self):
        found = pairwise(table({"A": [1.0, 2.0, 3.0, 4.0], "B": [2.0, 2.0, 5.0, 3.0]})).iloc[0]
        assert (found["pairs"], found["better"], found["equal"], found["worse"]) == (4, 2, 1, 1)
        assert found["difference"] == -0.5
        # Differences -1, -2, 1: ranks 1.5, 3, 1.5.
        assert found["rank_biserial"] == pytest.approx((4.5 - 1.5) / 6)
        assert found["a12"] == a12([1, 2, 3, 4], [2, 2, 5, 3])

    def test_few_pairs_say_so_and_how_many_are_needed(self):
        found = pairwise(table({"A": [1.0] * 5, "B": [2.0] * 5})).iloc[0]
        assert math.isnan(found["p"])
        assert math.isnan(found["p_holm"])
        assert found["verdict"] == "5 pairs cannot show p < 0.05; 6 each can"

    def test_the_number_of_pairs_that_is_named_is_enough_and_the_least(self):
        columns = {name: [float(place)] * 7 for place, name in enumerate("ABCD")}
        few = pairwise(table(columns))
        assert few["p"].isna().all()
        assert set(few["verdict"]) == {
            "7 pairs cannot show p < 0.05 after Holm's correction for 6 comparisons; 8 each can"
        }
        enough = pairwise(table({name: values + values[:1] for name, values in columns.items()}))
        assert enough["verdict"].tolist() == [f"{x} is better" for x in "AAABBC"]
        np.testing.assert_allclose(enough["p_holm"], 6 * 2.0**-7)

    def test_p_values_are_corrected_over_all_comparisons(self):
        found = pairwise(random_table(12, 4))
        np.testing.assert_allclose(found["p_holm"], holm(found["p"]))
        assert (found["p_holm"] > found["p"]).any()

    def test_a_maximized_value_is_better_when_larger(self):
        columns = {"A": np.arange(8) + 0.5, "B": np.arange(8.0)}
        up = pairwise(table(columns), "maximize").iloc[0]
        down = pairwise(table(columns)).iloc[0]
        assert (up["verdict"], down["verdict"]) == ("A is better", "B is better")
        assert (up["better"], up["rank_biserial"]) == (8, 1.0)
        assert up["difference"] == down["difference"] == 0.5

    def test_a_run_that_found_nothing_is_worse_than_any(self):
        found = pairwise(table({"A": [9.0, 9.0, "nothing"], "B": ["nothing"] * 3})).iloc[0]
        assert (found["better"], found["equal"], found["worse"]) == (2, 1, 0)
        assert found["rank_biserial"] == 1.0
        assert math.isnan(found["difference"])

    def test_seeds_that_only_one_ran_are_no_pairs(self):
        found = pairwise(table({"A": [1.0, 1.0, None], "B": [2.0, None, 2.0]})).iloc[0]
        assert found["pairs"] == 1
        assert found["a12"] == 1.0

    def test_no_common_seed_is_said(self):
        found = pairwise(table({"A": [1.0, None], "B": [None, 2.0], "C": [1.0, 2.0]}))
        row = found[(found["first"] == "A") & (found["second"] == "B")].iloc[0]
        assert row["verdict"] == "no seed was run by both"
        assert math.isnan(row["p"])

    def test_the_scale_of_a_problem_does_not_matter(self):
        one, other = random_table(6, 2, seed=1), random_table(6, 2, seed=2)
        other["problem"] = "fashion"
        plain = pairwise(pd.concat([one, other]))
        other["value"] *= 1000
        scaled = pairwise(pd.concat([one, other]))
        pd.testing.assert_frame_equal(plain, scaled)

    def test_each_problem_has_its_own_direction(self):
        one, other = random_table(6, 2, seed=1), random_table(6, 2, seed=2)
        other["problem"] = "fashion"
        down = pairwise(pd.concat([one, other]))
        other["value"] *= -1
        directions = {"digits": "minimize", "fashion": "maximize"}
        mixed = pairwise(pd.concat([one, other]), directions)
        kept = ["better", "worse", "rank_biserial", "a12", "p", "p_holm"]
        pd.testing.assert_frame_equal(down[kept], mixed[kept])

    def test_equal_optimizers_show_no_difference(self):
        found = pairwise(table({"A": [1.0] * 8, "B": [1.0] * 8})).iloc[0]
        assert (found["p"], found["rank_biserial"], found["a12"]) == (1.0, 0.0, 0.5)
        assert found["verdict"] == "no difference shown"


class TestRanks:
    def test_average_ranks_are_those_by_hand(self):
        found = ranks(table({"A": [1.0, 2.0], "B": [3.0, 2.0], "C": [2.0, 9.0]}))
        assert found.mean_ranks == {"A": 1.25, "B": 2.25, "C": 2.5}
        assert list(found.mean_ranks) == ["A", "B", "C"]

    @pytest.mark.parametrize("decimals", [6, 1], ids=["without ties", "with ties"])
    def test_the_statistic_is_that_of_scipy(self, decimals):
        values = random_table(15, 4, decimals=decimals)
        wide = values.pivot(index="seed", columns="optimizer", values="value")
        expected = stats.friedmanchisquare(*wide.to_numpy().T)
        found = ranks(values)
        assert found.statistic == pytest.approx(expected.statistic)
        # With 15 blocks the limit is near; the error of 9999 orders is below 0.02.
        assert found.p == pytest.approx(expected.pvalue, abs=0.04)

    def test_the_p_value_counts_the_orders_within_blocks(self):
        values = table({"A": [1.0, 1.0, 1.0], "B": [2.0, 3.0, 2.0], "C": [3.0, 2.0, 3.0]})
        blocks = [[1, 2, 3], [1, 3, 2], [1, 2, 3]]
        observed = (np.sum(blocks, axis=0) ** 2).sum()
        orders = itertools.product(itertools.permutations([1, 2, 3]), repeat=3)
        exact = np.mean([(np.sum(order, axis=0) ** 2).sum() >= observed for order in orders])
        assert ranks(values).p == pytest.approx(exact, abs=0.02)

    def test_the_critical_difference_is_that_of_the_published_table(self):
        # Demšar 2006, table 5: q = 2.343 for three and 3.164 for ten classifiers.
        assert ranks(random_table(10, 3)).critical_difference == pytest.approx(
            2.343 * math.sqrt(12 / 60), abs=1e-3
        )
        assert ranks(random_table(10, 10)).critical_difference == pytest.approx(
            3.164 * math.sqrt(110 / 60), abs=2e-3
        )

    def test_groups_are_the_largest_runs_of_neighbors_that_do_not_differ(self):
        # Ranks 1, 2, 3, 4 in all of 8 blocks; the critical difference is 1.66.
        found = ranks(table({name: [float(i)] * 8 for i, name in enumerate("DACB")}))
        assert found.critical_difference == pytest.approx(1.658, abs=1e-3)
        assert found.groups == (("D", "A"), ("A", "C"), ("C", "B"))

    def test_without_a_difference_all_are_one_group(self):
        found = ranks(random_table(10, 4, seed=3))
        assert found.p > 0.05
        assert found.groups == (tuple(found.mean_ranks),)
        assert "no difference shown" in found.note

    def test_few_blocks_say_so(self):
        found = ranks(table({"A": [1.0, 1.0], "B": [2.0, 2.0], "C": [3.0, 3.0]}))
        assert math.isnan(found.p)
        assert found.note == "2 blocks of 3 optimizers cannot show p < 0.05"
        assert found.groups == (("A", "B", "C"),)

    def test_equal_optimizers_have_the_middle_rank(self):
        found = ranks(table({name: [1.0] * 6 for name in "ABC"}))
        assert set(found.mean_ranks.values()) == {2.0}
        assert (found.statistic, found.p) == (0.0, 1.0)

    def test_two_optimizers_are_ranked_too(self):
        found = ranks(table({"A": [1.0] * 9, "B": [2.0] * 9}))
        assert found.mean_ranks == {"A": 1.0, "B": 2.0}
        assert found.p == pytest.approx(2.0**-8, abs=0.003)
        assert found.groups == ()

    def test_blocks_that_not_all_ran_are_left_out_and_counted(self):
        found = ranks(table({"A": [1.0, 1.0, 9.0], "B": [2.0, 2.0, None]}))
        assert (found.blocks, found.left_out) == (2, 1)
        assert found.mean_ranks == {"A": 1.0, "B": 2.0}

    def test_runs_that_found_nothing_share_the_last_ranks(self):
        found = ranks(table({"A": ["nothing"], "B": ["nothing"], "C": [99.0]}))
        assert found.mean_ranks == {"C": 1.0, "A": 2.5, "B": 2.5}

    def test_no_common_block_is_an_error(self):
        with pytest.raises(ArgumentError, match="run by all of A, B"):
            ranks(table({"A": [1.0, None], "B": [None, 1.0]}))


@pytest.mark.parametrize("function", [pairwise, ranks])
@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda t: t[t["optimizer"] == "A"], {}, r"two optimizers; `values` has \['A'\]"),
        (lambda t: t.drop(columns="seed"), {}, "no column 'seed'"),
        (lambda t: pd.concat([t, t]), {}, "a run twice"),
        (lambda t: t, {"direction": "down"}, "'down'"),
        (lambda t: t, {"direction": {"fashion": "minimize"}}, "no entry for .* 'digits'"),
        (lambda t: t, {"alpha": 1.0}, "alpha"),
    ],
    ids=["one", "column", "twice", "direction", "problem", "alpha"],
)
def test_bad_input_is_named(function, change, options, words):
    values = table({"A": [1.0, 2.0], "B": [2.0, 1.0]})
    with pytest.raises(ArgumentError, match=words):
        function(change(values), **options)


def test_directions_are_signs():
    assert (sign_of("minimize"), sign_of("maximize")) == (1.0, -1.0)
