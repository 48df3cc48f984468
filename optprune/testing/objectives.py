"""Objectives that are formulas in the structure, so that the best structures are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from optprune.formulation import Candidate
    from optprune.surgery import ChannelGraph

__all__ = ["Distortion", "Fragile", "Load", "Mildness", "Pairs", "Ripples", "Traps", "Valley"]


@dataclass(frozen=True)
class Valley:
    """The squared distance of the kept fractions from a target: one smooth valley.

    Parameters
    ----------
    target : tuple of float (n_groups,)
        The kept fraction of each group at the optimum, of value 0.
    """

    target: tuple[float, ...]

    def population(
        self, graph: ChannelGraph, widths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Return the values of a population, shape (n,)."""
        distance: npt.NDArray[np.float64] = widths / graph.widths - np.array(self.target)
        return np.asarray(np.square(distance).sum(axis=1), dtype=np.float64)

    def __call__(self, candidate: Candidate) -> float:
        """Return the value of a candidate."""
        return float(self.population(candidate.graph, candidate.widths[None])[0])


@dataclass(frozen=True)
class Ripples:
    """A bowl with ripples along turned axes: many local optima, and no group can be set alone.

    Parameters
    ----------
    target : tuple of int (n_groups,)
        The widths of the only optimum, of value 0.
    depth : float
        The height of the ripples.

    Notes
    -----
    With d = (w - target) / W and z_g = d_g ± d_{g+1} / 2 (signs alternating, cyclic), the value is
    ``Σ z² + depth · Σ (1 - cos 4π z)``, after the function of Rastrigin.
    """

    target: tuple[int, ...]
    depth: float = 0.15

    def population(
        self, graph: ChannelGraph, widths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Return the values of a population, shape (n,)."""
        distance = (widths - np.array(self.target)) / graph.widths
        signs = np.where(np.arange(distance.shape[1]) % 2, -0.5, 0.5)
        turned: npt.NDArray[np.float64] = distance + signs * np.roll(distance, -1, axis=1)
        ripples = self.depth * (1 - np.cos(4 * np.pi * turned))
        return np.asarray((turned**2 + ripples).sum(axis=1), dtype=np.float64)

    def __call__(self, candidate: Candidate) -> float:
        """Return the value of a candidate."""
        return float(self.population(candidate.graph, candidate.widths[None])[0])


@dataclass(frozen=True)
class Traps:
    """A trap for each group: what is better nearby leads away from the only optimum.

    Parameters
    ----------
    target : tuple of int (n_groups,)
        The widths of the only optimum, of value 0.
    bait : float
        The value at the far end, to which every group is drawn from all other widths.

    Notes
    -----
    With the distance of a width from the target as a share u of the longest possible one, a group
    is worth 0 where u = 0 and ``1 - (1 - bait) u`` elsewhere; the value is the mean over the
    groups.

    References
    ----------
    K. Deb, D. E. Goldberg. Analyzing deception in trap functions. Foundations of Genetic Algorithms
    2, Morgan Kaufmann, 1993.
    """

    target: tuple[int, ...]
    bait: float = 0.2

    def population(
        self, graph: ChannelGraph, widths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Return the values of a population, shape (n,)."""
        target = np.array(self.target)
        distance = np.abs(widths - target) / np.maximum(target - 1, graph.widths - target)
        worth = np.where(distance == 0, 0.0, 1 - (1 - self.bait) * distance)
        return np.asarray(worth.mean(axis=1), dtype=np.float64)

    def __call__(self, candidate: Candidate) -> float:
        """Return the value of a candidate."""
        return float(self.population(candidate.graph, candidate.widths[None])[0])


@dataclass(frozen=True)
class Distortion:
    """What pruning might do to the error: it grows as groups narrow, some faster than others.

    Parameters
    ----------
    sensitivity : tuple of float (n_groups,)
        How much each group matters. The value is ``Σ s (1 - w / W)² / Σ s``, from 0 (dense) to
        below 1.
    """

    sensitivity: tuple[float, ...]

    def population(
        self, graph: ChannelGraph, widths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Return the values of a population, shape (n,)."""
        weights = np.array(self.sensitivity) / sum(self.sensitivity)
        return np.asarray(np.square(1 - widths / graph.widths) @ weights, dtype=np.float64)

    def __call__(self, candidate: Candidate) -> float:
        """Return the value of a candidate."""
        return float(self.population(candidate.graph, candidate.widths[None])[0])


@dataclass(frozen=True)
class Mildness:
    """One minus `Distortion`: better is more."""

    sensitivity: tuple[float, ...]

    def population(
        self, graph: ChannelGraph, widths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Return the values of a population, shape (n,)."""
        return 1.0 - Distortion(self.sensitivity).population(graph, widths)

    def __call__(self, candidate: Candidate) -> float:
        """Return the value of a candidate."""
        return float(self.population(candidate.graph, candidate.widths[None])[0])


@dataclass(frozen=True)
class Pairs:
    """A value for every kept unit and every kept pair of neighbors; depends on which units stay.

    Parameters
    ----------
    seed : int
        Seed of the values, normal with mean 0: half of the units are better removed.
    """

    seed: int = 0

    def __call__(self, candidate: Candidate) -> float:
        """Return the sum over the kept units and pairs."""
        kept = candidate.structure.kept
        generator = np.random.default_rng(self.seed)
        alone, together = generator.standard_normal((2, len(kept)))
        return float(alone[kept].sum() + together[:-1][kept[:-1] & kept[1:]].sum())


@dataclass(frozen=True)
class Load:
    """The sum of an amount for every kept unit, from 1 to 9: what a knapsack holds, or weighs.

    Parameters
    ----------
    seed : int
        Seed of the amounts.
    """

    seed: int

    def amounts(self, n: int) -> npt.NDArray[np.int64]:
        """Return the amounts of n units, shape (n,)."""
        return np.random.default_rng(self.seed).integers(1, 10, n)

    def __call__(self, candidate: Candidate) -> float:
        """Return the sum over the kept units."""
        kept = candidate.structure.kept
        return float(self.amounts(len(kept))[kept].sum())


@dataclass(frozen=True)
class Fragile:
    """A `Valley` that raises where the first group keeps an odd number, and is NaN at width 2."""

    target: tuple[float, ...]

    def __call__(self, candidate: Candidate) -> float:
        """Return the value of a candidate, if it has one."""
        first = int(candidate.widths[0])
        if first % 2:
            raise RuntimeError("the first group keeps an odd number of units")
        return math.nan if first == 2 else Valley(self.target)(candidate)
