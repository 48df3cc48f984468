"""Problems and optimizers that the tests of the search share, also in other processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from optprune.formulation import Candidate, Metric, Problem, Widths, metrics
from optprune.search import Session
from optprune.surgery import Structure
from optprune.testing.networks import chain_task, residual_task


def residual(**changes: Any) -> Problem:
    """Error against MACs of a small residual network with two groups (8 and 12 channels)."""
    settings: dict[str, Any] = {"objectives": [metrics.error, metrics.macs]}
    return Problem(residual_task(), **(settings | changes))


def chain(**changes: Any) -> Problem:
    """MACs of a chain with three groups (4, 5 and 6 units)."""
    settings: dict[str, Any] = {"objectives": [metrics.macs]}
    return Problem(chain_task((4, 5, 6)), **(settings | changes))


def custom(function: Callable[[Candidate], Any], name: str = "custom", **changes: Any) -> Metric:
    """A metric of a function, which needs the structure only unless told otherwise."""
    settings: dict[str, Any] = {"needs": "structure", "version": 1}
    return Metric(name, function, **(settings | changes))


@dataclass(frozen=True)
class Noise:
    """Draws from the global generators."""

    def __call__(self, candidate: Candidate) -> float:
        return float(torch.rand(())) + float(np.random.random())  # noqa: NPY002


@dataclass(frozen=True)
class Recorded:
    """The error, which leaves a line in a file for every candidate that is measured."""

    path: str

    def __call__(self, candidate: Candidate) -> float:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{candidate.proposal.digest}\n")
        noise = float(torch.rand(())) * 1e-3
        wrong = candidate.predictions.argmax(dim=1) != candidate.targets
        return float(wrong.double().mean()) + noise


@dataclass(frozen=True)
class Batches:
    """Proposes batches that were prepared."""

    batches: tuple[Any, ...]
    name: str = "batches"

    def search(self, problem: Problem, session: Session) -> None:
        for batch in self.batches:
            session.evaluate(batch)


@dataclass(frozen=True)
class Endless:
    """Proposes what a function of the session returns, for ever."""

    propose: Callable[[Session], Any]
    name: str = "endless"

    def search(self, problem: Problem, session: Session) -> None:
        while True:
            session.evaluate(self.propose(session))


def drawn(session: Session, n: int = 8) -> np.ndarray[Any, Any]:
    """Draw random points."""
    return session.problem.bound_space.sample(session.generator, n)


def structures(problem: Problem, *widths: tuple[int, ...]) -> list[Structure]:
    """The structures of some widths."""
    return [
        problem.graph.structure_from_widths(np.array(row), problem.importance) for row in widths
    ]


__all__ = [
    "Batches",
    "Endless",
    "Noise",
    "Recorded",
    "Widths",
    "chain",
    "custom",
    "drawn",
    "residual",
    "structures",
]
