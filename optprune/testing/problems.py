"""Small problems with known optima: the list that every optimizer runs.

Each is a real pruning problem on a small network. The metrics of most are formulas in the
structure, so that no data pass is needed; those on the real network cut it and measure its
predictions. The best structures of all of them are known by listing every structure. Among the
candidates are such that a constraint stops before they are run, such that fail, and such that
measure NaN.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optprune.errors import ArgumentError
from optprune.formulation import Masks, Metric, Problem, Ratios, Widths, metrics
from optprune.recovery import BatchNorm
from optprune.scores import L1
from optprune.testing.networks import chain_task, digits_task
from optprune.testing.objectives import (
    Distortion,
    Fragile,
    Load,
    Mildness,
    Pairs,
    Ripples,
    Traps,
    Valley,
)

if TYPE_CHECKING:
    from optprune.formulation import Candidate
    from optprune.search import Evaluations
    from optprune.surgery import Structure

__all__ = [
    "CASES",
    "Case",
    "Distortion",
    "Fragile",
    "Load",
    "Pairs",
    "Ripples",
    "Traps",
    "Valley",
    "exhaustive",
]

LISTABLE = 100_000


@dataclass(frozen=True)
class Case:
    """A problem of the list.

    Parameters
    ----------
    name : str
        What is special about it.
    make : callable
        Returns a new problem.
    evaluations : int
        A budget with which a check of it makes sense.
    """

    name: str
    make: Callable[[], Problem]
    evaluations: int = 60

    def __repr__(self) -> str:
        return self.name


def _analytic(name: str, function: Callable[[Candidate], float], **options: object) -> Metric:
    """Make a metric of a formula in the structure."""
    return Metric(name, function, needs="structure", version=1, **options)  # type: ignore[arg-type]


def valley() -> Problem:
    """One smooth objective on 120 structures."""
    return Problem(chain_task((4, 5, 6)), objectives=[_analytic("valley", Valley((0.5, 0.6, 0.5)))])


def ripples() -> Problem:
    """One rugged objective on 5,184 structures; the optimum keeps the widths 3, 6, 2 and 7."""
    return Problem(
        chain_task((8, 8, 9, 9)), objectives=[_analytic("ripples", Ripples((3, 6, 2, 7)))]
    )


def trade() -> Problem:
    """Two objectives that pull apart, on 120 structures."""
    return Problem(
        chain_task((4, 5, 6)),
        objectives=[_analytic("distortion", Distortion((1.0, 4.0, 2.0))), metrics.macs],
    )


def bounded() -> Problem:
    """One objective under two constraints that exclude its free optimum."""
    return Problem(
        chain_task((4, 5, 6)),
        objectives=[_analytic("distortion", Distortion((1.0, 4.0, 2.0)))],
        subject_to=[metrics.macs <= 0.5, metrics.parameters >= 0.3],
    )


def narrow() -> Problem:
    """Two objectives under a constraint that fewer than one structure in twenty meets."""
    return Problem(
        chain_task((8, 8, 9, 9)),
        objectives=[_analytic("distortion", Distortion((1.0, 4.0, 2.0, 1.0))), metrics.parameters],
        subject_to=[metrics.macs <= 0.2],
    )


def maximized() -> Problem:
    """One objective to maximize and one to minimize, with a frozen group and bounds."""
    return Problem(
        chain_task((4, 5, 6)),
        space=Widths(bounds={"hidden0": (2, 3)}, frozen=["hidden1"]),
        objectives=[
            _analytic("mildness", Mildness((1.0, 4.0, 2.0)), direction="maximize"),
            metrics.macs,
        ],
    )


def masks() -> Problem:
    """One objective on the bits of 9 units."""
    return Problem(
        chain_task((4, 5)), space=Masks(score=L1()), objectives=[_analytic("pairs", Pairs())]
    )


def ratios() -> Problem:
    """Two objectives on real keep-ratios, many of which mean the same structure."""
    return Problem(
        chain_task((4, 5, 6)),
        space=Ratios(score=L1()),
        objectives=[_analytic("distortion", Distortion((1.0, 4.0, 2.0))), metrics.macs],
    )


def fragile() -> Problem:
    """One objective that cannot be measured on more than half of the structures."""
    return Problem(
        chain_task((4, 5, 6)), objectives=[_analytic("fragile", Fragile((0.5, 0.6, 0.5)))]
    )


def three() -> Problem:
    """Three objectives, on 120 structures; the third is best in the middle of the other two."""
    return Problem(
        chain_task((4, 5, 6)),
        objectives=[
            _analytic("distortion", Distortion((1.0, 4.0, 2.0))),
            metrics.macs,
            _analytic("valley", Valley((0.5, 0.6, 0.5))),
        ],
    )


def front_of_masks() -> Problem:
    """Two objectives on the bits of 9 units."""
    return Problem(
        chain_task((4, 5)),
        space=Masks(score=L1()),
        objectives=[_analytic("pairs", Pairs()), metrics.parameters],
    )


def bounded_ratios() -> Problem:
    """One objective on real keep-ratios, under a constraint that excludes its free optimum."""
    return Problem(
        chain_task((4, 5, 6)),
        space=Ratios(score=L1()),
        objectives=[_analytic("distortion", Distortion((1.0, 4.0, 2.0)))],
        subject_to=[metrics.macs <= 0.5],
    )


def fragile_front() -> Problem:
    """Two objectives, one of which cannot be measured on more than half of the structures."""
    return Problem(
        chain_task((4, 5, 6)),
        objectives=[_analytic("fragile", Fragile((0.5, 0.6, 0.5))), metrics.macs],
    )


def tiny() -> Problem:
    """Fewer structures than anyone's population."""
    return Problem(
        chain_task((2, 3)),
        objectives=[_analytic("distortion", Distortion((1.0, 2.0))), metrics.macs],
    )


def deceptive() -> Problem:
    """One objective whose slopes lead away from its optimum, the widths 2, 6 and 3, of 336."""
    return Problem(chain_task((6, 7, 8)), objectives=[_analytic("traps", Traps((2, 6, 3)))])


def knapsack() -> Problem:
    """One objective to maximize, a sum over 9 bits, under a constraint on another such sum."""
    return Problem(
        chain_task((4, 5)),
        space=Masks(score=L1()),
        objectives=[_analytic("value", Load(seed=0), direction="maximize")],
        subject_to=[_analytic("weight", Load(seed=1)) <= 20],
    )


def single() -> Problem:
    """One variable: a smooth objective on 10 widths, which is best at 4."""
    return Problem(chain_task((10,)), objectives=[_analytic("valley", Valley((0.4,)))])


def single_front() -> Problem:
    """One variable, and two objectives that pull apart: every width is on the front."""
    return Problem(
        chain_task((10,)), objectives=[_analytic("distortion", Distortion((1.0,))), metrics.macs]
    )


def infeasible() -> Problem:
    """One objective under two constraints, each of which can be met, but not both at once."""
    distortion = _analytic("distortion", Distortion((1.0, 4.0, 2.0)))
    return Problem(
        chain_task((4, 5, 6)),
        objectives=[_analytic("valley", Valley((0.5, 0.6, 0.5)))],
        subject_to=[distortion <= 0.05, metrics.macs <= 0.4],
    )


def infeasible_front() -> Problem:
    """Two objectives, both bounded: each bound can be met, but not both at once."""
    distortion = _analytic("distortion", Distortion((1.0, 4.0, 2.0)))
    return Problem(
        chain_task((4, 5, 6)),
        objectives=[distortion, metrics.macs],
        subject_to=[distortion <= 0.05, metrics.macs <= 0.4],
    )


def real() -> Problem:
    """The loss of a real network that is cut and not repaired, under a constraint on its MACs."""
    return Problem(digits_task(), objectives=[metrics.loss], subject_to=[metrics.macs <= 0.3])


def real_front() -> Problem:
    """Loss and MACs of a real network that is cut and whose statistics are taken anew."""
    return Problem(digits_task(), recovery=BatchNorm(), objectives=[metrics.loss, metrics.macs])


CASES: tuple[Case, ...] = (
    Case("smooth", valley),
    Case("rugged", ripples),
    Case("two objectives", trade),
    Case("constrained", bounded),
    Case("narrow", narrow),
    Case("maximized", maximized),
    Case("binary", masks),
    Case("continuous", ratios),
    Case("failing", fragile),
    Case("three objectives", three),
    Case("binary front", front_of_masks),
    Case("continuous, one objective", bounded_ratios),
    Case("failing, several objectives", fragile_front),
    Case("tiny", tiny),
    Case("deceptive", deceptive),
    Case("knapsack", knapsack),
    Case("single", single),
    Case("single, several objectives", single_front),
    Case("infeasible", infeasible),
    Case("infeasible, several objectives", infeasible_front),
    Case("real network", real, evaluations=30),
    Case("real network, several objectives", real_front, evaluations=30),
)
"""The list that every optimizer runs."""


def exhaustive(problem: Problem) -> Evaluations:
    """Evaluate every structure of a small problem.

    Parameters
    ----------
    problem : Problem
        With at most 100,000 vectors of whole numbers or bits, or, if it is continuous,
        combinations of widths.

    Returns
    -------
    Evaluations
        Of every structure once.

    Raises
    ------
    ArgumentError
        If the problem is larger.
    """
    from optprune.search import Budget, Session

    structures = _every_structure(problem)
    with Session(problem, Budget(evaluations=len(structures))) as session:
        return session.evaluate(structures)


def _every_structure(problem: Problem) -> list[Structure]:
    space, graph = problem.bound_space, problem.graph
    ends = np.stack([space.lower, space.upper])
    if space.kind == "continuous":
        low, high = space.widths(ends)
    else:
        low, high = ends
    if np.prod(high - low + 1.0) > LISTABLE:
        raise ArgumentError(
            f"problem: its space is too large to be listed ({np.prod(high - low + 1.0):.3g} "
            f"vectors, at most {LISTABLE:,}); narrow it by bounds."
        )
    ranges = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
    vectors = np.array(list(itertools.product(*ranges)), dtype=np.float64)
    if space.kind == "continuous":
        return [
            graph.structure_from_widths(v.astype(np.int64), problem.importance) for v in vectors
        ]
    return list(dict.fromkeys(space.decode(vectors)))
