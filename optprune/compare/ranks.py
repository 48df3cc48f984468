"""Average ranks of optimizers over blocks, and whether they differ.

References
----------
M. Friedman, 1937, J. Am. Stat. Assoc. 32:675-701, DOI 10.1080/01621459.1937.10503522 (ranks).
J. Demšar, 2006, J. Mach. Learn. Res. 7:1-30 (tests over problems, critical difference).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.compare.blocks import Direction, blocks_of
from optprune.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Ranks", "ranks"]

_PERMUTATIONS = 9999


@dataclass(frozen=True)
class Ranks:
    """Average ranks of optimizers over blocks, and whether they differ; `ranks` makes it.

    Parameters
    ----------
    mean_ranks : mapping of str to float
        Average rank of each optimizer, from 1 (best in every block); the best first.
    blocks : int
        Number of blocks (problem and seed) in which every optimizer was run.
    left_out : int
        Number of blocks in which some was not, which say nothing here.
    statistic : float
        Friedman's, corrected for ties; 0 when all ranks are equal.
    p : float
        Its p-value; NaN where so few blocks cannot show a difference.
    critical_difference : float
        Average ranks that are at least so far apart differ (Nemenyi).
    groups : tuple of tuple of str
        Largest sets of optimizers that were not shown to differ, each sorted by rank.
    alpha : float
        The level of both tests.
    note : str
        What follows, in plain words.
    """

    mean_ranks: Mapping[str, float]
    blocks: int
    left_out: int
    statistic: float
    p: float
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]
    alpha: float
    note: str


def ranks(
    values: pd.DataFrame,
    direction: Direction | Mapping[str, Direction] = "minimize",
    *,
    alpha: float = 0.05,
) -> Ranks:
    """Rank the optimizers in every block and ask whether their average ranks differ.

    Parameters
    ----------
    values : pandas.DataFrame
        One row a run, as in `pairwise`.
    direction : {"minimize", "maximize"}, or mapping of problem to such
        Which way is better.
    alpha : float
        The level.

    Returns
    -------
    Ranks
        Ties get the mean of their ranks. Where Friedman's test shows no difference, all optimizers
        are one group.

    Raises
    ------
    ArgumentError
        As in `pairwise`, or if there is no block that all optimizers ran.

    Notes
    -----
    Friedman's statistic is ``(k - 1) n² Σ_j (R_j - (k + 1)/2)² / Σ_ij (r_ij - (k + 1)/2)²`` for
    ranks r of k optimizers in n blocks and their averages R. Its p-value is the share of 9999
    random orders within the blocks (always the same ones) that give as much or more; the
    chi-squared limit is only good for many blocks. The least possible is ``(k!) ** (1 - n)``.
    The critical difference is Nemenyi's, ``q sqrt(k (k + 1) / (6 n))`` with q the quantile of the
    studentized range for infinite degrees of freedom over √2, a limit for many blocks.
    Seeds of one problem are blocks of their own: the result is about these problems.
    """
    from scipy import stats

    blocks, optimizers = blocks_of(values, direction, alpha)
    whole = blocks.dropna()
    n, k = whole.shape
    if not n:
        raise ArgumentError(
            f"ranks: no problem and seed was run by all of {', '.join(optimizers)}; give all the "
            "same seeds, or leave one out."
        )
    table = stats.rankdata(whole.to_numpy(), axis=1)
    centered = table - (k + 1) / 2
    spread = float((centered**2).sum())
    factor = (k - 1) * n**2 / spread if spread else 0.0
    statistic = factor * float((centered.mean(axis=0) ** 2).sum())
    least = math.exp((1 - n) * math.lgamma(k + 1))
    p = _friedman_p(centered) if least < alpha else math.nan
    quantile = float(stats.studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)
    difference = quantile * math.sqrt(k * (k + 1) / (6 * n))
    means = table.mean(axis=0)
    order = np.argsort(means, kind="stable")
    ordered = {optimizers[i]: float(means[i]) for i in order}
    groups = _groups(ordered, difference) if p < alpha else (tuple(ordered),)
    of = f"{n} block{'s' * (n != 1)} of {k} optimizers"
    if math.isnan(p):
        note = f"{of} cannot show p < {alpha:g}"
    elif p < alpha:
        note = f"{of}: the ranks differ, p = {p:.2g} (Friedman)"
        if len(groups) == 1 and len(groups[0]) == k:
            note += f", but no two by {difference:.2f} or more (Nemenyi)"
    else:
        note = f"{of}: no difference shown, p = {p:.2g} (Friedman)"
    return Ranks(
        mean_ranks=ordered,
        blocks=n,
        left_out=len(blocks) - n,
        statistic=statistic,
        p=p,
        critical_difference=difference,
        groups=groups,
        alpha=alpha,
        note=note,
    )


def _friedman_p(centered: npt.NDArray[np.float64]) -> float:
    """Return the share of orders within blocks that set the average ranks as far apart."""
    rng = np.random.default_rng(0)
    n, k = centered.shape
    observed = float((centered.sum(axis=0) ** 2).sum())
    reached, left = 0, _PERMUTATIONS
    while left:
        # At most some 16 MB at once.
        count = min(left, max(1, 2_000_000 // (n * k)))
        drawn = rng.permuted(np.broadcast_to(centered, (count, n, k)), axis=2)
        sums = (drawn.sum(axis=1) ** 2).sum(axis=1)
        reached += int((sums >= observed * (1 - 1e-9)).sum())
        left -= count
    return (1 + reached) / (1 + _PERMUTATIONS)


def _groups(ordered: Mapping[str, float], difference: float) -> tuple[tuple[str, ...], ...]:
    """Return the largest sets of neighbors by rank whose ends are less than so far apart."""
    names, means = list(ordered), np.array(list(ordered.values()))
    groups: list[tuple[str, ...]] = []
    reached = 0
    for start in range(len(names)):
        stop = int(np.searchsorted(means, means[start] + difference, side="left"))
        if stop > reached and stop - start > 1:
            groups.append(tuple(names[start:stop]))
        reached = max(reached, stop)
    return tuple(groups)
