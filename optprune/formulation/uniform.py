"""The widest structure in which every group keeps the same ratio, under a bound on a cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optprune.errors import ArgumentError, ArgumentTypeError, InfeasibleError
from optprune.formulation.constraint import Constraint

if TYPE_CHECKING:
    from optprune.formulation.space import BoundSpace
    from optprune.surgery import ChannelGraph

__all__ = ["shortest_span", "uniform_ratio"]


def shortest_span(graph: ChannelGraph) -> float:
    """Return a span of ratios in which no more than one group changes its width.

    With a widest group of W, two groups change at ratios (k + 1/2) / W that are equal or at least
    1 / (2 W²) apart; this is half of that.
    """
    return 0.25 / float(graph.widths.max()) ** 2


def uniform_ratio(graph: ChannelGraph, space: BoundSpace, constraint: Constraint) -> float:
    """Return the largest keep-ratio of all groups at which a cost meets its upper bound.

    Parameters
    ----------
    graph : ChannelGraph
        The groups of the network.
    space : BoundSpace
        The space, bound to the graph.
    constraint : Constraint
        An upper bound on a cost that follows from the widths.

    Returns
    -------
    float
        In (0, 1], for `BoundSpace.uniform`. Found by bisection, so costs must not fall with it.

    Raises
    ------
    ArgumentTypeError
        If `constraint` is none.
    ArgumentError
        If it is not an upper bound on such a cost.
    InfeasibleError
        If the narrowest uniform structure breaks it.
    """
    if not isinstance(constraint, Constraint):
        raise ArgumentTypeError(
            "constraint must be a comparison such as op.metrics.macs <= 0.5; got "
            f"{type(constraint).__name__}."
        )

    def value(ratio: float) -> float:
        found = constraint.metric.population(graph, space.widths(space.uniform(ratio)))
        if found is None or constraint.sense != "<=":
            raise ArgumentError(
                "constraint must be an upper bound on a cost that follows from the widths (macs, "
                "parameters, activation_memory), such as op.metrics.macs <= 0.5; got "
                f"{constraint}."
            )
        return float(found[0])

    if constraint.satisfied(value(1.0)):
        return 1.0
    shortest = shortest_span(graph)
    low, high = shortest / 2, 1.0
    narrowest = value(low)
    if not constraint.satisfied(narrowest):
        raise InfeasibleError(
            f"no uniform structure of the space satisfies {constraint}: the narrowest has "
            f"{narrowest:.4g}. Move the bound, or give the space other bounds or a smaller step."
        )
    while high - low > shortest:
        middle = (low + high) / 2
        if constraint.satisfied(value(middle)):
            low = middle
        else:
            high = middle
    return low
