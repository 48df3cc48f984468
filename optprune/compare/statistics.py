"""What a comparison may conclude: paired tests, effect sizes, average ranks.

Runs of one seed on one problem share the problem, the seed and so the randomness of every
candidate: they are paired. All tests here are about such pairs or blocks, need only the order of
values or of differences, and count a run that found nothing as worse than any that found something.
Their p-values come from the permutations of the data themselves, not from a limit for large
samples, which has ties wrong, and small samples too. Where so few pairs were run that no outcome at
all could fall below the level, no p-value is given, and the result says how many pairs could.

References
----------
F. Wilcoxon, 1945, Biometrics Bulletin 1(6):80-83, DOI 10.2307/3001968 (signed ranks).
S. Holm, 1979, Scand. J. Stat. 6(2):65-70 (several comparisons).
A. Vargha, H. Delaney, 2000, J. Educ. Behav. Stat. 25(2):101-132, DOI 10.3102/10769986025002101.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optprune.compare.blocks import Direction, blocks_of, signs_of
from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "a12",
    "holm",
    "pairwise",
    "rank_biserial",
    "signed_rank_p",
]


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Correct p-values for their number after Holm (1979).

    Parameters
    ----------
    p_values : array_like, shape (n_tests,)

    Returns
    -------
    ndarray of float64, shape (n_tests,)
        In the order given, at most 1. The probability that one test or more of true hypotheses
        falls below a level is at most that level, however the tests depend on each other.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def signed_rank_p(differences: npt.ArrayLike) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test.

    Parameters
    ----------
    differences : array_like, shape (n_pairs,)
        Of paired values; infinite where only one of the two was found. Zeros are left out.

    Returns
    -------
    float
        1 if all differences are zero; not below ``2 ** (1 - n_pairs)``.

    Notes
    -----
    Exact with ties too, which errors counted on a finite split often have and for which
    `scipy.stats.wilcoxon` approximates: without a difference between the two, every rank is as
    likely to count for one as for the other, and the distribution of the sum of those that count
    for the first is the product of the polynomials ``(1 + x**r) / 2`` over the ranks r. O(n³) for
    n pairs.
    """
    ranks, positive = _signed_ranks(differences)
    # Mean ranks are multiples of one half.
    steps = np.rint(2 * ranks).astype(np.int64)
    chances: npt.NDArray[np.float64] = np.ones(1)
    for step in steps.tolist():
        chances = 0.5 * (np.pad(chances, (0, step)) + np.pad(chances, (step, 0)))
    total = int(steps[positive].sum())
    tail = min(chances[: total + 1].sum(), chances[total:].sum())
    return float(min(1.0, 2 * tail))


def rank_biserial(differences: npt.ArrayLike) -> float:
    """Return the rank-biserial correlation of paired differences.

    Parameters
    ----------
    differences : array_like, shape (n_pairs,)
        First minus second, to be minimized; zeros are left out.

    Returns
    -------
    float
        Share of the ranks that count for the first minus the share that counts for the second:
        1 if the first was better in every pair, 0 without a difference, -1 the other way round.
    """
    ranks, positive = _signed_ranks(differences)
    if not len(ranks):
        return 0.0
    return float((ranks[~positive].sum() - ranks[positive].sum()) / ranks.sum())


def a12(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return how likely a run of the first is better than one of the second, ties counted half.

    Parameters
    ----------
    first, second : array_like, shapes (n,) and (m,)
        To be minimized; infinite for a run that found nothing.

    Returns
    -------
    float
        Vargha and Delaney's A: 0.5 without a difference, 1 if every run of the first is better.
        Cliff's delta is ``2 * a12 - 1``.

    Raises
    ------
    ArgumentError
        If one of them is empty.
    """
    a, b = (np.asarray(side, dtype=np.float64) for side in (first, second))
    if not a.size or not b.size:
        raise ArgumentError(f"a12 compares runs with runs; got {a.size} and {b.size}.")
    better = (a[:, None] < b).mean() + 0.5 * (a[:, None] == b).mean()
    return float(better)


def pairwise(
    values: pd.DataFrame,
    direction: Direction | Mapping[str, Direction] = "minimize",
    *,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Compare every two optimizers by their paired runs.

    Parameters
    ----------
    values : pandas.DataFrame
        One row a run: ``problem``, ``optimizer``, ``seed`` and ``value``; NaN for a run that found
        nothing, which counts as worst. As `anytime.values_at` gives it.
    direction : {"minimize", "maximize"}, or mapping of problem to such
        Which way is better.
    alpha : float
        The level, for all comparisons together.

    Returns
    -------
    pandas.DataFrame
        One row for each two optimizers: ``first``, ``second``; ``pairs`` (blocks of a problem and
        a seed that both ran); ``better``, ``equal``, ``worse`` (pairs in which the first was);
        ``difference`` (median of first minus second in the values' unit, or with several problems
        in the range of all values of each; NaN where half the pairs lack a value);
        ``rank_biserial`` and ``a12`` (effect sizes, see there; A12 over all runs of each problem,
        not the pairs only, averaged over problems); ``p`` and ``p_holm`` (Wilcoxon's signed-rank
        test, and after Holm's correction for the number of comparisons; NaN where so few pairs
        cannot show anything); ``verdict`` in plain words.

    Raises
    ------
    ArgumentError
        If a column is missing, a run is there twice, a direction is unknown, there are fewer than
        two optimizers, or `alpha` does not lie between 0 and 1.

    Notes
    -----
    With n pairs no outcome has a two-sided p-value below ``2 ** (1 - n)``. A comparison for which
    even this, after the correction, does not fall below `alpha` gets no p-value. Differences on
    several problems are made comparable by the range of each problem's values. Pairs of one
    problem say nothing about other problems, however many seeds there are.
    """
    import pandas as pd

    blocks, optimizers = blocks_of(values, direction, alpha)
    several = blocks.index.get_level_values("problem").nunique() > 1
    rows: list[dict[str, object]] = []
    p_values: list[float] = []
    for first, second in combinations(optimizers, 2):
        paired = blocks[[first, second]].dropna()
        scale = _ranges(blocks).loc[paired.index].to_numpy() if several else np.ones(len(paired))
        a, b = paired[first].to_numpy(), paired[second].to_numpy()
        with np.errstate(invalid="ignore"):
            # Where neither found anything, neither was better.
            d = np.where(a == b, 0.0, (a - b) / scale)
        signs = signs_of(paired.index.get_level_values("problem"), direction)
        middle = float(np.median(_finite(d * signs))) if len(d) else math.nan
        lost = np.isinf(d)
        rows.append(
            {
                "first": first,
                "second": second,
                "pairs": len(d),
                "better": int((d < 0).sum()),
                "equal": int((d == 0).sum()),
                "worse": int((d > 0).sum()),
                "difference": math.nan if 2 * lost.sum() >= max(len(d), 1) else middle,
                "rank_biserial": rank_biserial(d) if len(d) else math.nan,
                "a12": _a12_over_problems(blocks, first, second),
            }
        )
        p_values.append(signed_rank_p(d) if len(d) else math.nan)
    table = pd.DataFrame(rows)
    n_pairs = table["pairs"].to_numpy()
    tested = n_pairs > 0
    p, corrected, least = np.array(p_values), np.full(len(table), math.nan), np.ones(len(table))
    corrected[tested] = holm(p[tested])
    # Holm's correction is monotone, so the least p-values give the least that it can come to.
    least[tested] = holm(0.5 ** (n_pairs[tested] - 1))
    shown = least < alpha
    table["p"] = np.where(shown, p, math.nan)
    table["p_holm"] = np.where(shown, corrected, math.nan)
    table["verdict"] = [
        _verdict(row, bool(can), int(tested.sum()), alpha)
        for row, can in zip(table.to_dict("records"), shown, strict=True)
    ]
    return table


def _signed_ranks(
    differences: npt.ArrayLike,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the ranks of the magnitudes of all non-zero differences, and which are positive."""
    from scipy import stats

    d = _finite(differences)
    # 0.3 - 0.2 and 0.2 - 0.1 are equal but for rounding, and must tie.
    largest = float(np.abs(d).max(initial=0.0)) or 1.0
    shares: npt.NDArray[np.float64] = (d / largest).round(12)
    shares = shares[shares != 0]
    return np.asarray(stats.rankdata(np.abs(shares)), dtype=np.float64), shares > 0


def _finite(differences: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Put differences that are larger than all others in the place of infinite ones."""
    d = np.asarray(differences, dtype=np.float64)
    largest = np.abs(d[np.isfinite(d)]).max(initial=0.0)
    finite: npt.NDArray[np.float64] = np.where(np.isinf(d), np.sign(d) * (2 * largest or 1.0), d)
    return finite


def _ranges(blocks: pd.DataFrame) -> pd.Series[float]:
    """Return for every block the range of all finite values of its problem; 1 without one."""
    finite = blocks.where(np.isfinite(blocks))
    by_problem = finite.groupby(level="problem")
    width = by_problem.max().max(axis=1) - by_problem.min().min(axis=1)
    width = width.where(width > 0, 1.0)
    problems = blocks.index.get_level_values("problem")
    return width.reindex(problems).set_axis(blocks.index)


def _a12_over_problems(blocks: pd.DataFrame, first: str, second: str) -> float:
    """Return the mean of A12 over the problems that both ran; NaN without one."""
    found = []
    for _, part in blocks.groupby(level="problem"):
        a, b = part[first].dropna(), part[second].dropna()
        if len(a) and len(b):
            found.append(a12(a.to_numpy(), b.to_numpy()))
    return float(np.mean(found)) if found else math.nan


def _verdict(row: Mapping[Any, Any], shown: bool, comparisons: int, alpha: float) -> str:
    """Say what a comparison came to."""
    pairs = int(row["pairs"])
    if not pairs:
        return "no seed was run by both"
    if not shown:
        enough = 1 + math.floor(math.log2(comparisons / alpha)) + 1
        after = f" after Holm's correction for {comparisons} comparisons" * (comparisons > 1)
        return (
            f"{pairs} pair{'s' * (pairs != 1)} cannot show p < {alpha:g}{after}; {enough} each can"
        )
    if not row["p_holm"] < alpha:
        return "no difference shown"
    return f"{row['first'] if float(str(row['rank_biserial'])) > 0 else row['second']} is better"
