"""The pictures of a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from optprune.compare.anytime import anytime
from optprune.compare.attainment import attainment, targets
from optprune.compare.blocks import Direction
from optprune.compare.run_rows import Cost
from optprune.errors import ArgumentError, nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from optprune.compare.comparison import Comparison

__all__ = ["Kind", "Picture", "draw", "pictures_of", "pictures_of_all"]

Kind: TypeAlias = Literal["anytime", "attainment", "targets", "ranks"]

_COSTS = {
    "evaluations": "evaluations",
    "seconds": "seconds",
    "samples": "samples in forward and backward passes",
}


@dataclass(frozen=True)
class Picture:
    """A picture and what it shows.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        The picture.
    caption : str
        In a sentence.
    """

    ax: Axes
    caption: str


def draw(
    comparison: Comparison,
    kind: Kind | None,
    problem: str | None,
    cost: Cost,
    measure: str | None,
    ax: Axes | None,
    options: dict[str, Any],
) -> Axes:
    """Draw a comparison; see `Comparison.plot`."""
    from optprune import plots

    if kind is None:
        kind = "targets" if problem is None and len(comparison.problems) > 1 else "anytime"
    if kind not in get_args(Kind):
        raise ArgumentError(
            f"kind must be one of {', '.join(get_args(Kind))}; got {kind!r}."
            f"{nearest(str(kind), get_args(Kind))}"
        )
    options = {"optimizers": list(comparison.optimizers), **options}
    if kind == "ranks":
        ranked = comparison.ranks(cost=cost)
        options.setdefault("groups", ranked.groups)
        options.setdefault("critical_difference", ranked.critical_difference)
        options.setdefault("note", ranked.note)
        return plots.ranks(ranked.mean_ranks, ax=ax, **options)
    if kind == "attainment":
        return _attainment(comparison, comparison.named(problem), ax, options)
    options.setdefault("x_label", _COSTS.get(cost))
    if kind == "targets":
        chosen = comparison.problems if problem is None else [problem]
        found = [comparison.trajectories(name, cost=cost, measure=measure) for name in chosen]
        return plots.targets(targets(found), ax=ax, **options)
    own = comparison.trajectories(problem, cost=cost, measure=measure)
    known = comparison.problems[own.problem]
    label = own.measure if own.measure == "hypervolume" else known.label(own.measure)
    options.setdefault("y_label", label)
    return plots.anytime(anytime(own), ax=ax, **options)


def pictures_of(comparison: Comparison, problem: str) -> Iterator[Picture]:
    """Draw what there is to see about one problem."""
    measure = comparison.trajectories(problem).measure
    for cost in _costs(comparison, problem):
        yield Picture(
            draw(comparison, "anytime", problem, cost, None, None, {}),
            f"{measure} on {problem} against {_COSTS[cost]}: median and quartiles over the seeds.",
        )
    if len(comparison.problems[problem].objectives) == 2:
        yield Picture(
            draw(comparison, "attainment", problem, "evaluations", None, None, {}),
            f"Trade-offs on {problem}: what half of the runs attained, between what one and what "
            "all of them did.",
        )


def pictures_of_all(comparison: Comparison) -> Iterator[Picture]:
    """Draw what there is to see about all problems together."""
    for cost in _costs(comparison, None):
        yield Picture(
            draw(comparison, "targets", None, cost, None, None, {}),
            f"Share of targets reached on all problems, against {_COSTS[cost]}.",
        )
    if len(comparison.optimizers) > 1:
        yield Picture(
            draw(comparison, "ranks", None, "evaluations", None, None, {}),
            "Average ranks over problems and seeds; a bar connects what was not shown to differ.",
        )


def _costs(comparison: Comparison, problem: str | None) -> list[Cost]:
    """Return the costs against which there is something to see."""
    runs = comparison.runs
    own = runs if problem is None else runs[runs["problem"] == problem]
    return [cost for cost in get_args(Cost) if own[cost].max() > 0]


def _attainment(
    comparison: Comparison, problem: str, ax: Axes | None, options: dict[str, Any]
) -> Axes:
    """Draw the attainment surfaces of two objectives, the first one upwards."""
    from optprune import plots

    known = comparison.problems[problem]
    table = attainment(
        comparison.log,
        comparison.runs,
        problem=problem,
        objectives=known.objectives,
        directions=[cast(Direction, direction) for direction in known.directions],
    )
    up, across = known.objectives
    options.setdefault("labels", {name: known.label(name) for name in (across, up)})
    options.setdefault("directions", (known.directions[1], known.directions[0]))
    return plots.attainment(table, across, up, ax=ax, **options)
