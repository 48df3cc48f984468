"""What every metric must do: the checks that a plug-in's author runs."""

from __future__ import annotations

import numpy as np
import torch

from optprune.errors import MetricError
from optprune.formulation import Candidate, Metric, Problem, Proposal
from optprune.surgery import Structure
from optprune.testing.conformance import ConformanceError, leaves_unchanged, require
from optprune.testing.networks import residual_task

__all__ = ["check_metric"]


class _Guarded(Candidate):
    """A candidate that refuses what a metric has not said that it needs."""

    needs: str = "predictions"

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights, unless only the structure may be used."""
        require(
            self.needs != "structure",
            "it uses the candidate's network, but says needs='structure'; say needs='network'.",
        )
        return super().tensors

    @property
    def predictions(self) -> torch.Tensor:
        """The outputs, if they may be used."""
        require(
            self.needs == "predictions",
            f"it uses the candidate's predictions, but says needs={self.needs!r}; say "
            "needs='predictions'.",
        )
        with self.randomness("predictions"):
            return self.task.predict(self.network, self.task.validation, meter=self.meter)


def check_metric(
    metric: Metric, *, problem: Problem | None = None, repeatable: bool = True
) -> None:
    """Measure a few candidates and check that a metric keeps the rules.

    Parameters
    ----------
    metric : Metric
        What to check.
    problem : Problem, optional
        The problem on whose candidates it is measured; by default one on a small residual network
        that classifies images of shape (1, 6, 6).
    repeatable : bool
        Whether it gives the same value twice. A measured time does not.

    Raises
    ------
    ConformanceError
        With the rule that was broken.

    Notes
    -----
    The rules: it returns one finite number, the same for the same candidate, whatever was measured
    before; it uses no more of the candidate than it `needs`; it changes neither the candidate's
    weights nor the dense network; what it says of a population agrees with what it says of each
    candidate.
    """
    who = f"metric {metric.name!r}"
    if problem is None:
        problem = Problem(residual_task(), objectives=[metric])
    metric = metric.bind(problem.task)
    structures = sample_structures(problem)
    with leaves_unchanged(who, problem.task.network):
        values = [_measure(who, metric, problem, structure) for structure in structures]
    if repeatable:
        backwards = [_measure(who, metric, problem, s) for s in reversed(structures)]
        require(
            values == backwards[::-1],
            f"{who} gives other values when the same candidates are measured again; draw from "
            "the global generators, which are seeded for each candidate, or check with "
            "repeatable=False.",
        )
    widths = np.stack([s.widths for s in structures])
    given = widths.copy()
    try:
        population = metric.population(problem.graph, given)
    except MetricError as error:
        raise ConformanceError(f"{who} fails on a population: {error}") from error
    if population is not None:
        require(
            np.array_equal(given, widths), f"{who}: `population` writes to the widths that it gets."
        )
        require(
            bool(np.allclose(population, values, rtol=1e-9, atol=0.0)),
            f"{who}: `population` gives {population.tolist()}, candidate by candidate it is "
            f"{values}.",
        )


def sample_structures(problem: Problem) -> list[Structure]:
    """Return the full structure, the smallest, and three random ones."""
    space = problem.bound_space
    drawn = space.sample(np.random.default_rng(1), 3)
    points = np.concatenate([np.stack([space.full(), space.smallest()]), drawn])
    return space.decode(points)


def _measure(who: str, metric: Metric, problem: Problem, structure: Structure) -> float:
    candidate = _Guarded(problem, Proposal(structure), seed=1)
    candidate.needs = metric.needs
    before = None
    if metric.needs != "structure":
        before = {name: value.clone() for name, value in candidate.tensors.items()}
    try:
        value = metric(candidate)
    except ConformanceError as error:
        raise ConformanceError(f"{who}: {error}") from error
    except MetricError as error:
        raise ConformanceError(f"{who} fails on {structure!r}: {error}") from error
    if before is not None:
        for name, tensor in candidate.tensors.items():
            require(
                torch.equal(before[name], tensor),
                f"{who} changes {name!r} of the candidate; work on `candidate.standalone()`.",
            )
    return value
