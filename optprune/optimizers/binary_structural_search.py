"""Binary structural search: group by group, as much goes as a share of the tolerance allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.optimizers.parameters import check_at_least, check_number

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session
    from optprune.surgery import Structure

__all__ = ["BinaryStructuralSearch", "GroupRatios"]

_Floats = npt.NDArray[np.float64]

_FIRST_TOLERANCE = 2.0**-7  # of what the smallest structure loses
_LARGEST_TOLERANCE = 2.0**8  # beyond it, more tolerance removes no more
_LARGEST_FACTOR = 16.0  # between the tolerances of two sweeps


@dataclass(frozen=True)
class BinaryStructuralSearch:
    r"""Bisect the width of one group after another under a growing share of a tolerated loss.

    With a recovery that needs no training (`optprune.recovery.LeastSquares`) this replaces a search
    over all widths at once by a few evaluations for each group.

    Parameters
    ----------
    tolerance : float, optional
        How much worse the first objective may become, in its own unit: 0.01 for one point of error.
    macs : float, optional
        In place of a tolerance: the MACs to reach, as a fraction of dense. The tolerance is then
        searched too, around the whole search.
    steps : int, default 6
        Bisection steps for each group; the share that is removed is found to 2^-steps.
    most : float, default 0.95
        The share of its units that a group may lose, in (0, 1).
    sweeps : int, default 5
        Tolerances that are tried with `macs`; more where none of them has reached it.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If not exactly one of `tolerance` and `macs` is given, or a number cannot be used; in a
        search, if the full structure cannot be measured because it breaks a constraint.

    Notes
    -----
    With the value :math:`p_0` of the full structure, the tolerance t and L groups, the search goes
    through the groups in the network's order. For group l the share of removed units is bisected in
    [0, most]: a structure is accepted if its first objective is at most
    :math:`p_0 + t \, l / L` (at least, where it is maximized) and it breaks no constraint; all
    groups before are as they were accepted, all behind are full. What a group does not use of its
    share is left to those that follow. It makes exactly ``groups × steps`` proposals after the
    full structure; those that round to the same structure cost nothing. With `macs`, each sweep
    does so with another tolerance: the first with 1/128 of what the smallest structure loses, the
    next as if the share of removed MACs rose with the cubic root of the tolerance, and as soon as
    one tolerance was too little and another enough, where the line between the two, over the
    logarithm of the tolerance, meets the target. No seed has any influence.

    References
    ----------
    .. [1] Z. Xie, Y. Fu, S. Tian, J. Zhou and D. Chen, Pruning with compensation: efficient channel
       pruning for deep convolutional neural networks, 2021, arXiv:2108.13728.
    """

    tolerance: float | None = None
    macs: float | None = None
    steps: int = 6
    most: float = 0.95
    sweeps: int = 5
    name: str = "BinaryStructuralSearch"

    def __post_init__(self) -> None:
        owner = "BinaryStructuralSearch"
        check_at_least(owner, "steps", self.steps, 1)
        check_at_least(owner, "sweeps", self.sweeps, 1)
        if not 0 < check_number(owner, "most", self.most) < 1:
            raise ArgumentError(f"{owner}: `most` must lie between 0 and 1, not {self.most!r}.")
        if (self.tolerance is None) == (self.macs is None):
            raise ArgumentTypeError(
                f"{owner}: give either `tolerance` (how much worse the first objective may become) "
                "or `macs` (the fraction of MACs to reach)."
            )
        if self.tolerance is not None and check_number(owner, "tolerance", self.tolerance) < 0:
            raise ArgumentError(f"{owner}: `tolerance` must be at least 0, not {self.tolerance!r}.")
        if self.macs is not None and not 0 < check_number(owner, "macs", self.macs) < 1:
            raise ArgumentError(
                f"{owner}: `macs` is a fraction of the dense network's, between 0 and 1; got "
                f"{self.macs!r}."
            )

    def search(self, problem: Problem, session: Session) -> None:
        """Bisect group after group, with one tolerance after another where the MACs are given."""
        ratios = GroupRatios(problem)
        value = _Value(problem, session)
        start = value(ratios.structure(np.ones(ratios.n_groups)))
        if not math.isfinite(start):
            raise ArgumentError(
                "BinaryStructuralSearch starts from the full structure, which cannot be measured "
                f"here: {value.reason}. Leave constraints on costs out and give `macs=` in their "
                "place."
            )
        if self.tolerance is not None:
            self._tolerating(self.tolerance, start, ratios, value)
            return
        self._reaching(start, problem, ratios, value)

    def _tolerating(
        self, tolerance: float, start: float, ratios: GroupRatios, value: Callable[..., float]
    ) -> _Floats:
        """Search with one tolerance; return the ratio that each group keeps."""
        kept = np.ones(ratios.n_groups)
        for position, group in enumerate(ratios.free):
            allowed = start + tolerance * (position + 1) / len(ratios.free)
            low, high = 0.0, self.most
            for _ in range(self.steps):
                middle = (low + high) / 2
                tried = kept.copy()
                tried[group] = 1 - middle
                if value(ratios.structure(tried)) <= allowed:
                    low = middle
                else:
                    high = middle
            kept[group] = 1 - low
        return kept

    def _reaching(
        self, start: float, problem: Problem, ratios: GroupRatios, value: Callable[..., float]
    ) -> None:
        """Search with tolerance after tolerance until the MACs are met as closely as they can."""
        macs = problem.graph.costs.macs
        smallest = np.full(ratios.n_groups, 1 - self.most)
        worst = value(ratios.structure(smallest))
        lost = worst - start if math.isfinite(worst) else abs(start)
        unit = max(lost, abs(start) / _LARGEST_TOLERANCE, 1e-12)
        target = _Target(1.0 - (self.macs or 0.0), unit * _FIRST_TOLERANCE)
        tried = 0
        while tried < self.sweeps or not target.met:
            if target.tolerance > unit * _LARGEST_TOLERANCE:
                return
            kept = self._tolerating(target.tolerance, start, ratios, value)
            target.tell(1.0 - float(macs(ratios.structure(kept).widths)[0]) / macs.dense)
            tried += 1


@dataclass
class _Target:
    """Which tolerance to try next, that the removed share of the MACs comes near to a wanted one.

    Parameters
    ----------
    wanted : float
        The share to remove, in (0, 1).
    tolerance : float
        The one to try.
    """

    wanted: float
    tolerance: float
    _little: tuple[float, float] | None = None
    _enough: tuple[float, float] | None = None

    @property
    def met(self) -> bool:
        """Whether some tolerance was enough."""
        return self._enough is not None

    def tell(self, removed: float) -> None:
        """Take note of the share that the tolerance removed, and choose the next tolerance."""
        point = (math.log(self.tolerance), removed)
        if removed >= self.wanted:
            self._enough = point
        else:
            self._little = point
        if self._little is None or self._enough is None:
            factor = (self.wanted / max(removed, 1e-12)) ** 3
            enough = removed >= self.wanted
            low, high = (1 / _LARGEST_FACTOR, 0.7) if enough else (1.4, _LARGEST_FACTOR)
            self.tolerance *= min(max(factor, low), high)
            return
        (low, less), (high, more) = self._little, self._enough
        part = (self.wanted - less) / (more - less)
        self.tolerance = math.exp(low + min(max(part, 0.2), 0.8) * (high - low))


class _Value:
    """Evaluates a structure: the first objective, to minimize; infinite if it is not accepted."""

    def __init__(self, problem: Problem, session: Session) -> None:
        self._sign = problem.objectives[0].sign
        self._session = session
        self.reason = ""

    def __call__(self, structure: Structure) -> float:
        evaluations = self._session.evaluate([structure])
        found = float(evaluations.objectives[0, 0]) * self._sign
        accepted = bool(evaluations.feasible[0]) and math.isfinite(found)
        self.reason = evaluations.reasons[0]
        return found if accepted else math.inf


class GroupRatios:
    """Structures in which every group has a keep-ratio of its own, in any space.

    Parameters
    ----------
    problem : Problem
        Its space says what a group keeps at a ratio, and which units.

    Attributes
    ----------
    free : ndarray of int64
        Groups in which something can be removed, in the network's order.
    """

    def __init__(self, problem: Problem) -> None:
        self._graph = problem.graph
        self._space = problem.bound_space
        self.free = np.flatnonzero(self._space.narrowest < self._space.widest)

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return self._graph.n_groups

    def structure(self, ratios: _Floats) -> Structure:
        """Return the structure in which each group is as wide as in the uniform one of its ratio.

        Parameters
        ----------
        ratios : ndarray of float64, shape (n_groups,)
            In (0, 1].
        """
        different, which = np.unique(ratios, return_inverse=True)
        uniform = self._space.widths(self._space.uniform(different))
        widths = uniform[which, np.arange(self.n_groups)]
        widths = np.where(ratios == 1.0, self._space.widest, widths)
        return self._space.decode(self._space.keeping(widths[None]))[0]
