"""The loop that the genetic algorithms of DEAP's operators share.

A method is a `Selection`: who survives and who mates. Variation, the first population, what was
proposed before and DEAP's global randomness are the same for all of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.optimizers.deap_members import Member, fitness_type
from optprune.optimizers.lending import lent, lent_numpy, numpy_source
from optprune.optimizers.parameters import check_at_least, check_index, check_probability
from optprune.optimizers.proposed import Proposed
from optprune.optimizers.starting_points import starting_points
from optprune.optimizers.warm_start import WarmStart, as_warm_start
from optprune.search import to_minimization

if TYPE_CHECKING:
    from optprune.formulation import BoundSpace, Problem
    from optprune.search import Session

__all__ = [
    "Evolving",
    "Selection",
    "check_evolving",
    "check_fours",
    "crowded_parents",
    "crowded_survivors",
    "evolve",
]

# Rounds of variation that may give nothing new before random points fill the gap.
ATTEMPTS = 10

Choose: TypeAlias = Callable[[list[Member], int], list[Member]]
"""Chooses so many members, all evaluated, out of a list."""

Vary: TypeAlias = Callable[[list[float], list[float]], None]
"""Crosses and mutates two points in place."""


class Evolving(Protocol):
    """The parameters that the genetic algorithms have in common."""

    @property
    def population(self) -> int:
        """Members that survive a generation."""
        ...

    @property
    def offspring(self) -> int | None:
        """Children of a generation; as many as `population` by default."""
        ...

    @property
    def crossover(self) -> float:
        """The probability that two parents are crossed."""
        ...

    @property
    def mutation(self) -> float | None:
        """The probability that a variable is mutated; 1 / n_variables by default."""
        ...

    @property
    def mutation_eta(self) -> float:
        """Distribution index of polynomial mutation."""
        ...

    @property
    def seeded_by(self) -> WarmStart | None:
        """What comes first in the first population."""
        ...


@dataclass(frozen=True)
class Selection:
    """Who stays and who mates.

    Parameters
    ----------
    survivors : callable
        Takes parents and offspring, and how many stay.
    parents : callable
        Takes the survivors, and how many mate; repetitions are allowed.
    """

    survivors: Choose
    parents: Choose


def check_evolving(owner: str, method: Evolving) -> None:
    """Check the common parameters, and bring the warm start of a frozen dataclass into its form.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range.
    """
    check_at_least(owner, "population", method.population, 4)
    if method.offspring is not None:
        check_at_least(owner, "offspring", method.offspring, 1)
    check_probability(owner, "crossover", method.crossover)
    if method.mutation is not None:
        check_probability(owner, "mutation", method.mutation)
    check_index(owner, "mutation_eta", method.mutation_eta)
    if method.seeded_by is not None:
        object.__setattr__(method, "seeded_by", as_warm_start(owner, method.seeded_by))


def check_fours(owner: str, population: int) -> None:
    """Raise `ArgumentError` unless all of a population can meet in `crowded_parents`."""
    if population % 4:
        raise ArgumentError(
            f"{owner}: `population` must be a multiple of 4, not {population}: parents are chosen "
            "in tournaments of four."
        )


def evolve(problem: Problem, session: Session, method: Evolving, selection: Selection) -> None:
    """Evolve until the session ends the search or the space is used up.

    Parameters
    ----------
    problem : Problem
        What is searched.
    session : Session
        Evaluates; its generator is the only source of randomness.
    method : Evolving
        The parameters.
    selection : Selection
        Who stays and who mates; called while DEAP's global generators are lent.
    """
    owner = type(method).__name__
    space, generator = problem.bound_space, session.generator
    source = random.Random(int(generator.integers(2**63)))
    fitness = fitness_type(problem.n_objectives)
    vary = _variation(space, method)
    proposed = Proposed(space)
    children = method.offspring or method.population
    points = starting_points(
        owner, problem, generator, proposed, method.population, method.seeded_by
    )
    legacy = numpy_source(generator.spawn(1)[0])
    members: list[Member] = []
    while len(points):
        objectives, violations = to_minimization(problem, session.evaluate(points))
        for point, values, violation in zip(points, objectives, violations, strict=True):
            members.append(Member(point.tolist(), fitness(values, violation.sum())))
        with lent(source), lent_numpy(legacy):
            members = selection.survivors(members, method.population)
            mate = partial(selection.parents, members, children + children % 2)
            points = _offspring(mate, children, vary, space, proposed)
        points = np.concatenate([points, proposed.draw(generator, children - len(points))])


def crowded_survivors(members: list[Member], n: int) -> list[Member]:
    """Return the best by non-dominated sorting and crowding distance."""
    from deap import tools

    best: list[Member] = tools.selNSGA2(members, n)
    return best


def crowded_parents(members: list[Member], n: int) -> list[Member]:
    """Return winners of tournaments by dominance and crowding distance.

    Parameters
    ----------
    members : list of Member
        As `crowded_survivors` returned them.
    n : int
        How many; may exceed the number of members.
    """
    from deap import tools

    whole = len(members) // 4 * 4
    if not whole:
        few: list[Member] = tools.selTournament(members, n, 2)
        return few
    chosen: list[Member] = []
    while len(chosen) < n:
        wanted = -(-(n - len(chosen)) // 4) * 4
        chosen.extend(tools.selTournamentDCD(members[:whole], min(wanted, whole)))
    return chosen[:n]


def _offspring(
    mate: Callable[[], list[Member]], n: int, vary: Vary, space: BoundSpace, proposed: Proposed
) -> npt.NDArray[np.float64]:
    """Return n children that were not proposed before; possibly fewer."""
    points = np.empty((0, space.n_variables))
    for _ in range(ATTEMPTS):
        parents = [list(member) for member in mate()]
        for first, second in zip(parents[::2], parents[1::2], strict=True):
            vary(first, second)
        children = np.clip(np.array(parents, dtype=np.float64), space.lower, space.upper)
        if space.kind != "continuous":
            children = np.rint(children)
        points = np.concatenate([points, proposed.take(children, n - len(points))])
        if len(points) == n:
            break
    return points


def _variation(space: BoundSpace, method: Evolving) -> Vary:
    """Return a function that crosses and mutates two lists in place, by DEAP's operators."""
    from deap import tools

    free = np.flatnonzero(space.upper > space.lower).tolist()
    rate = method.mutation if method.mutation is not None else 1 / max(len(free), 1)
    mutate = (
        partial(tools.mutFlipBit, indpb=rate)
        if space.kind == "binary"
        else partial(
            tools.mutPolynomialBounded,
            eta=method.mutation_eta,
            low=space.lower[free].tolist(),
            up=space.upper[free].tolist(),
            indpb=rate,
        )
    )

    def vary(first: list[float], second: list[float]) -> None:
        # Fixed variables stay outside: polynomial mutation divides by the range.
        one, other = [first[i] for i in free], [second[i] for i in free]
        if random.random() < method.crossover:
            tools.cxUniform(one, other, indpb=0.5)
        for child, target in ((one, first), (other, second)):
            mutate(child)
            for i, value in zip(free, child, strict=True):
                target[i] = value

    return vary
