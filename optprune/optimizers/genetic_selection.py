"""Genetic selection: which units of each group stay, by a closed-form fitness."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.moments import Sample, collect, unit_gram
from optprune.optimizers.deap_members import Member, fitness_type
from optprune.optimizers.lending import lent
from optprune.optimizers.parameters import check_at_least, check_number, check_probability
from optprune.surgery import consumed

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["GeneticSelection"]

_Floats = npt.NDArray[np.float64]
_ELITE = 2


@dataclass(frozen=True)
class GeneticSelection:
    r"""Choose the units of every group with a genetic algorithm, group by group.

    How many stay is uniform over the groups; which, decides a genetic algorithm whose fitness needs
    no network: what the layers behind lose when units leave is a quadratic form.

    Parameters
    ----------
    ratios : tuple of float
        Keep-ratios, each of which gives one structure, in (0, 1).
    population : int, default 50
        Members of the population.
    generations : int, default 80
        Generations for each group and ratio.
    crossover : float, default 0.8
        The probability that two parents are crossed rather than copied.
    mutation : float, default 0.3
        The probability that a child exchanges one unit that stays for one that leaves.
    samples : int
        Calibration samples for the moments, at most.
    positions : int or None
        Output positions of a sample and layer, at most; None for all.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if no convolution or linear layer takes in
        a group.

    Notes
    -----
    With the form Q of `optprune.moments.unit_gram`, added up over the group's consumers, each
    relative to the variance of its outputs, and the removed units r, the fitness is
    :math:`r^T Q r`: exactly the squared error of the consumers' outputs without compensation.
    Every member keeps the same number of units: a child takes what both parents keep and fills up
    at random from what one of them keeps. The best two survive. The first population is random but
    for one member, which keeps the units of the largest own contribution. With the score of the
    space, units are not ranked: this takes its place. Population, rates and generations are ours;
    the paper does not give them.

    References
    ----------
    .. [1] Y. Hu, S. Sun, J. Li, X. Wang and Q. Gu, A novel channel pruning method for deep neural
       network compression, 2018, arXiv:1805.11394.
    """

    ratios: tuple[float, ...] = (0.75, 0.5, 0.25)
    population: int = 50
    generations: int = 80
    crossover: float = 0.8
    mutation: float = 0.3
    samples: int = 1024
    positions: int | None = 16
    name: str = "GeneticSelection"

    def __post_init__(self) -> None:
        owner = "GeneticSelection"
        if not isinstance(self.ratios, tuple) or not self.ratios:
            raise ArgumentTypeError(
                f"{owner}: `ratios` must be a tuple of keep-ratios, not {self.ratios!r}."
            )
        for ratio in self.ratios:
            if not 0 < check_number(owner, "ratios", ratio) < 1:
                raise ArgumentError(f"{owner}: `ratios` must lie between 0 and 1, not {ratio!r}.")
        check_at_least(owner, "population", self.population, 2 * _ELITE)
        check_at_least(owner, "generations", self.generations, 1)
        check_probability(owner, "crossover", self.crossover)
        check_probability(owner, "mutation", self.mutation)
        _ = self._sample

    @property
    def _sample(self) -> Sample:
        return Sample(self.samples, self.positions)

    def search(self, problem: Problem, session: Session) -> None:
        """Select the units for one ratio after another, and evaluate each structure."""
        graph, space = problem.graph, problem.bound_space
        grams = self._grams(problem, session)
        source = random.Random(int(session.generator.integers(2**63)))
        for ratio in self.ratios:
            widths = space.widths(space.uniform(ratio))[0]
            kept = np.ones(graph.n_units, dtype=np.bool_)
            for group in graph.groups:
                if widths[group.index] < group.width:
                    count = int(widths[group.index])
                    kept[group.slice] = self.select(grams[group.index], count, source)
            session.evaluate([graph.structure(kept)])

    def select(
        self, gram: npt.ArrayLike, count: int, source: random.Random
    ) -> npt.NDArray[np.bool_]:
        """Choose units that lose least when all others leave.

        Parameters
        ----------
        gram : array_like of float, shape (n, n)
            The quadratic form Q.
        count : int
            How many to keep, from 1 to n.
        source : random.Random
            The only source of randomness.

        Returns
        -------
        ndarray of bool, shape (n,)
            Exactly `count` are True.
        """
        from deap import tools

        form = np.asarray(gram, dtype=np.float64)
        n = len(form)
        if count >= n:
            return np.ones(n, dtype=np.bool_)
        fitness = fitness_type(1)

        def members(proposed: list[list[int]]) -> list[Member]:
            removed = np.ones((len(proposed), n))
            for row, units in zip(removed, proposed, strict=True):
                row[units] = 0
            errors = ((removed @ form) * removed).sum(1)
            return [Member(u, fitness((e,))) for u, e in zip(proposed, errors, strict=True)]

        largest = np.argsort(-np.diag(form), kind="stable")[:count].tolist()
        first = [source.sample(range(n), count) for _ in range(self.population - 1)]
        population = members([largest, *first])
        with lent(source):
            for _ in range(self.generations):
                parents = tools.selTournament(population, self.population - _ELITE, 3)
                children = [
                    self._child(one, other, n)
                    for one, other in zip(parents, [*parents[1:], parents[0]], strict=True)
                ]
                population = [*tools.selBest(population, _ELITE), *members(children)]
        best = tools.selBest(population, 1)[0]
        kept = np.zeros(n, dtype=np.bool_)
        kept[[int(unit) for unit in best]] = True
        return kept

    def _child(self, one: list[int], other: list[int], n: int) -> list[int]:
        """Cross two members and mutate; as many units stay."""
        child = list(one)
        if random.random() < self.crossover:
            both = sorted(set(one) & set(other))
            either = sorted(set(one) ^ set(other))
            child = both + random.sample(either, len(one) - len(both))
        if random.random() < self.mutation:
            outside = sorted(set(range(n)) - set(child))
            child[random.randrange(len(child))] = random.choice(outside)
        return child

    def _grams(self, problem: Problem, session: Session) -> list[_Floats]:
        """Return the quadratic form of every group."""
        graph, task = problem.graph, problem.task
        owners = consumed(graph)
        taken, _ = collect(task, task.network, self._sample, meter=session.meter)
        grams = []
        for group in graph.groups:
            units = range(group.start, group.stop)
            gram = np.zeros((group.width, group.width))
            for name, channels in owners[group.index].items():
                if name in taken:
                    own = unit_gram(taken[name], channels, units)
                    gram += own / max(float(own.sum()), np.finfo(float).tiny)
            decided = problem.bound_space.narrowest[group.index] < group.width
            if decided and not gram.any():
                raise ArgumentError(
                    f"GeneticSelection: no convolution or linear layer takes in the group "
                    f"{group.name!r}, so that nothing tells what it loses; give the space "
                    f"frozen=[{group.name!r}], or use another optimizer."
                )
            grams.append(gram)
        return grams
