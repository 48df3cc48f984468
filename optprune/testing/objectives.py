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

__all__ = ["Distortion", "Fragile", "Mildness", "Pairs", "Ripples", "Valley"]


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
class Fragile:
    """A `Valley` that raises where the first group keeps an odd number, and is NaN at width 2."""

    target: tuple[float, ...]

    def __call__(self, candidate: Candidate) -> float:
        """Return the value of a candidate, if it has one."""
        first = int(candidate.widths[0])
        if first % 2:
            raise RuntimeError("the first group keeps an odd number of units")
        return math.nan if first == 2 else Valley(self.target)(candidate)
