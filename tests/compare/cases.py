"""Problems and optimizers that the tests of comparisons share, also in other processes."""

from __future__ import annotations

import os
import random
import signal
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from optprune.formulation import Candidate, Metric, Problem, metrics
from optprune.search import Session
from optprune.testing.networks import chain_task, residual_task
from optprune.testing.problems import Distortion


def trade(**changes: Any) -> Problem:
    """Two objectives on 120 structures, from formulas."""
    distortion = Metric("distortion", Distortion((1.0, 4.0, 2.0)), needs="structure", version=1)
    settings: dict[str, Any] = {"objectives": [distortion, metrics.macs]}
    return Problem(chain_task((4, 5, 6)), **(settings | changes))


def single(**changes: Any) -> Problem:
    """One objective on 6 structures."""
    distortion = Metric("distortion", Distortion((1.0, 2.0)), needs="structure", version=1)
    return Problem(chain_task((2, 3)), **({"objectives": [distortion]} | changes))


def measured() -> Problem:
    """Error and MACs of a small network: candidates pass data."""
    return Problem(residual_task(), objectives=[metrics.error, metrics.macs])


@dataclass(frozen=True)
class Draws:
    """Random points, a batch at a time."""

    batch: int = 5
    name: str = "Draws"

    def search(self, problem: Problem, session: Session) -> None:
        while True:
            session.evaluate(problem.bound_space.sample(session.generator, self.batch))


@dataclass(frozen=True)
class Global:
    """Random points from the global generators, and memory of earlier runs: bad manners."""

    name: str = "Global"

    def search(self, problem: Problem, session: Session) -> None:
        count = self.__dict__.setdefault("count", 0)
        self.__dict__["count"] += 1
        for _ in range(3):
            seed = random.randrange(1 << 30) + np.random.randint(1 << 30) + count  # noqa: NPY002
            points = problem.bound_space.sample(np.random.default_rng(seed), 2)
            session.evaluate(points)


@dataclass(frozen=True)
class Raises:
    """Fails after some evaluations."""

    after: int = 4
    name: str = "Raises"

    def search(self, problem: Problem, session: Session) -> None:
        session.evaluate(problem.bound_space.sample(session.generator, self.after))
        raise RuntimeError("nothing <works> here")


@dataclass(frozen=True)
class Dies:
    """Ends its process on problems with an objective of this name, with one seed."""

    objective: str = "timed"
    name: str = "Dies"

    def search(self, problem: Problem, session: Session) -> None:
        warnings.warn("this one dies", RuntimeWarning)
        session.evaluate(problem.bound_space.sample(session.generator, 3))
        if session.seed == 1 and self.objective in problem.objective_names:
            os._exit(7)


@dataclass(frozen=True)
class Spends:
    """Passes data itself before it proposes, and between."""

    name: str = "Spends"

    def search(self, problem: Problem, session: Session) -> None:
        session.meter.forward(1000)
        problem.setup_meter.backward(500)
        session.evaluate([problem.graph.full()])
        session.meter.backward(70)
        session.evaluate(problem.bound_space.smallest()[None])
        session.meter.forward(3)


@dataclass(frozen=True)
class Interrupts:
    """Presses Ctrl-C once, when a file is not there yet."""

    mark: str
    name: str = "Interrupts"

    def search(self, problem: Problem, session: Session) -> None:
        session.evaluate(problem.bound_space.sample(session.generator, 4))
        if not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        session.evaluate(problem.bound_space.sample(session.generator, 4))


@dataclass(frozen=True)
class Recorded:
    """The distortion, slowly, with a line in a file for each candidate that is measured."""

    path: str
    seconds: float = 0.0

    def __call__(self, candidate: Candidate) -> float:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{candidate.proposal.digest} {candidate.seed}\n")
        time.sleep(self.seconds)
        return Distortion((1.0, 4.0, 2.0))(candidate)


def recorded(path: Path, seconds: float = 0.0) -> Problem:
    """One objective that leaves lines in a file."""
    metric = Metric("distortion", Recorded(str(path), seconds), needs="network", version=1)
    return Problem(chain_task((4, 5, 6)), objectives=[metric])
