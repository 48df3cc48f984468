"""What optprune adds to an evaluation, beside pymoo's and DEAP's own algebra.

Run ``make benchmark`` or ``python benchmarks/overhead.py``. NSGA-II with 100 members for 100
generations on six widths of 1 to 128 and two objectives that are formulas, once as
`optprune.solve` with a journal on disk, and once as each library's own loop with the same operators
and formulas. In optprune's search the time inside the library is measured too: as no structure is
proposed twice there, the library mates more, and sorts more members that differ. The rest of the
search is what optprune adds: decoding, duplicates, the cache, rows and the journal. The two
alternate in one process. Writes ``benchmarks/results/overhead.json`` and the
table in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from deap import base, tools
from pymoo.core.algorithm import Algorithm
from reporting import (
    HERE,
    environment,
    markdown,
    measured_with,
    read_json,
    write_json,
    write_section,
)
from rich.console import Console
from rich.markdown import Markdown

import optprune as op
from optprune.testing.networks import chain_task
from optprune.testing.problems import Distortion

MEMBERS, GENERATIONS = 100, 100
EVALUATIONS = MEMBERS * GENERATIONS
WIDTHS = (128,) * 6
SENSITIVITY = (1.0, 4.0, 2.0, 3.0, 1.0, 2.0)
CROSSOVER, CROSSOVER_ETA, MUTATION_ETA = 0.9, 3.0, 3.0
ASKED = 150.0
"""Microseconds."""
PACKAGES = ("optprune", "pymoo", "deap", "numpy", "torch")

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """Wall-clock seconds of one search of 10,000 evaluations."""

    library: str
    how: str
    """``optprune`` or ``alone``."""
    wall: float
    inside: float = 0.0
    """Of a search with optprune, those inside the library."""


def problem() -> op.Problem:
    """Return the problem: formulas of widths."""
    distortion = op.Metric("distortion", Distortion(SENSITIVITY), needs="structure", version=1)
    return op.Problem(chain_task(WIDTHS), objectives=[distortion, op.metrics.macs])


def formulas(posed: op.Problem) -> Callable[[Points], Points]:
    """Return the same objectives of widths counted from 0, for a library alone."""
    distortion, macs, graph = Distortion(SENSITIVITY), posed.graph.costs.macs, posed.graph

    def measure(points: Points) -> Points:
        widths = np.rint(points).astype(np.int64) + 1
        values = distortion.population(graph, widths), macs(widths) / macs.dense
        return np.stack(values, axis=1)

    return measure


def pymoo_alone(posed: op.Problem, seed: int) -> None:
    """Evolve with pymoo's own loop."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    measure, n = formulas(posed), len(WIDTHS)

    class Formulas(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(n_var=n, n_obj=2, xl=0, xu=np.array(WIDTHS) - 1, vtype=int)

        def _evaluate(self, x: Points, out: dict[str, Any], *_: Any, **__: Any) -> None:
            out["F"] = measure(x)

    algorithm = NSGA2(
        pop_size=MEMBERS,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=CROSSOVER, eta=CROSSOVER_ETA, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob_var=1 / n, eta=MUTATION_ETA, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    minimize(Formulas(), algorithm, ("n_gen", GENERATIONS), seed=seed, verbose=False)


def deap_alone(posed: op.Problem, seed: int) -> None:
    """Evolve with a plain loop of DEAP's operators."""

    class Fitness(base.Fitness):  # type: ignore[misc]
        weights = (-1.0, -1.0)

    class Member(list[float]):
        def __init__(self, values: list[float]) -> None:
            super().__init__(values)
            self.fitness = Fitness()

    measure, n = formulas(posed), len(WIDTHS)
    low, high = [0.0] * n, [width - 1.0 for width in WIDTHS]
    random.seed(seed)

    def evaluate(members: list[Member]) -> None:
        for member, values in zip(members, measure(np.array(members)).tolist(), strict=True):
            member.fitness.values = values

    members = [Member([*map(random.uniform, low, high)]) for _ in range(MEMBERS)]
    evaluate(members)
    members = tools.selNSGA2(members, MEMBERS)
    for _ in range(GENERATIONS - 1):
        children = [Member(list(each)) for each in tools.selTournamentDCD(members, MEMBERS)]
        for one, other in zip(children[::2], children[1::2], strict=True):
            if random.random() <= CROSSOVER:
                tools.cxSimulatedBinaryBounded(one, other, CROSSOVER_ETA, low, high)
            for child in (one, other):
                tools.mutPolynomialBounded(child, MUTATION_ETA, low, high, 1 / n)
                child[:] = map(round, child)
        evaluate(children)
        members = tools.selNSGA2(members + children, MEMBERS)


ALONE = {"pymoo": pymoo_alone, "deap": deap_alone}
OURS = {"pymoo": op.optimizers.NSGA2, "deap": op.optimizers.DeapNSGA2}


class Inside:
    """A stopwatch around functions of a library."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def timed(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


@contextmanager
def watched(library: str) -> Iterator[Inside]:
    """Time what the library does in the searches inside the ``with`` block."""
    inside = Inside()
    if library == "pymoo":
        places = [(Algorithm, "ask"), (Algorithm, "tell")]
    else:
        places = [(tools, name) for name in ("selNSGA2", "selTournamentDCD", "cxUniform")]
        places += [(tools, "mutPolynomialBounded")]
    before = [getattr(owner, name) for owner, name in places]
    for (owner, name), function in zip(places, before, strict=True):
        setattr(owner, name, inside.around(function))
    try:
        yield inside
    finally:
        for (owner, name), function in zip(places, before, strict=True):
            setattr(owner, name, function)


def solved(posed: op.Problem, library: str, seed: int) -> float:
    """Search with optprune, the journal on disk; return the seconds inside the library."""
    with tempfile.TemporaryDirectory() as folder, watched(library) as inside:
        result = op.solve(
            posed,
            OURS[library](population=MEMBERS),
            evaluations=EVALUATIONS,
            seed=seed,
            journal=Path(folder) / "run.db",
            progress=False,
        )
    if len(result.rows) != EVALUATIONS:
        raise SystemExit(f"{library} evaluated {len(result.rows)} structures: {result.reason}")
    return inside.seconds


def timed(library: str, how: str, search: Callable[[], float | None]) -> Run:
    """Measure one search."""
    started = time.perf_counter()
    inside = search() or 0.0
    return Run(library, how, time.perf_counter() - started, inside)


def measure_all(repetitions: int) -> list[Run]:
    """Alternate ours and theirs; the first round, in which modules are loaded, does not count."""
    posed = problem()
    runs: list[Run] = []
    for seed in range(repetitions + 1):
        found = []
        for library, alone in ALONE.items():
            found.append(timed(library, "alone", lambda alone=alone, s=seed: alone(posed, s)))
            ours = timed(library, "optprune", lambda one=library, s=seed: solved(posed, one, s))
            found.append(ours)
        runs += found if seed else []
    return runs


def table(runs: list[Run]) -> str:
    """Write microseconds for each evaluation."""

    def each(library: str, how: str, clock: str) -> list[float]:
        mine = [run for run in runs if (run.library, run.how) == (library, how)]
        return [getattr(run, clock) / EVALUATIONS * 1e6 for run in mine]

    rows = []
    for library in ALONE:
        alone, whole, inside = (
            each(library, *what)
            for what in (("alone", "wall"), ("optprune", "wall"), ("optprune", "inside"))
        )
        around = [a - b for a, b in zip(whole, inside, strict=True)]
        more = [a - b for a, b in zip(whole, alone, strict=True)]
        reached = "yes" if statistics.median(around) <= ASKED else "no"
        rows.append([library, *map(spread, (alone, whole, inside, more, around)), reached])
    head = ["library", "its own loop", "optprune", "inside the library", "more than its loop"]
    return markdown([*head, "around the library", f"≤ {ASKED:.0f}"], rows)


def spread(values: list[float]) -> str:
    """Write the median and the range."""
    return f"{statistics.median(values):.0f} ({min(values):.0f}–{max(values):.0f})"


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--show", action="store_true", help="measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.show:
        runs = measure_all(options.repetitions)
        found = environment(PACKAGES, evaluations=EVALUATIONS, repetitions=options.repetitions)
        write_json("overhead", {"environment": found, "runs": [asdict(run) for run in runs]})
    document = read_json("overhead")
    text = table([Run(**run) for run in document["runs"]])
    Console().print(Markdown(text))
    text = f"{text}\n\n{measured_with(document['environment'])}"
    write_section(HERE / "README.md", "overhead", text)


if __name__ == "__main__":
    main()
