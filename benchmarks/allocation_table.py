"""Ways to choose widths, and what each loses when all else is the same.

Run ``make benchmark`` or ``python benchmarks/allocation_table.py``. Each method chooses the widths;
the same score, `Compensation`, says which units stay, and `LeastSquares` repairs, so that only the
widths differ. Calibration samples are others for every seed; accuracies are those of the test
split, which nothing is chosen by. Rows that are there already are kept, and all rows of a method
with a seed are written as they come, so that an interrupted run goes on. Writes
``benchmarks/results/allocation_table.json`` and the tables in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import base64
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import torch
from cases import case, posed, recovered, scored, share
from recovery import spread
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
from rich.progress import Progress
from torch import nn

import optprune as op
from optprune.dependence import Dependence
from optprune.optimizers import (
    Calibration,
    CompensationAllocation,
    ConvexAllocation,
    HSICAllocation,
    RandomImportance,
    ScoreSum,
    TableAllocation,
)
from optprune.optimizers.selector import Selector
from optprune.recovery import BatchNorm, FineTune, LeastSquares, Pipeline
from optprune.surgery import ChannelGraph, Structure

Bits = npt.NDArray[np.bool_]
Structures = Mapping[float, Structure]
Choose = Callable[[op.Problem, tuple[float, ...], int], Structures]
"""Chooses a structure for every target, with a seed."""

NETWORKS = ("digits", "vgg", "resnet20", "mobilenet")
TARGETS = (0.5, 0.3)
TUNED = (("vgg", 0.3), ("resnet20", 0.3))
"""What is fine-tuned too."""
PACKAGES = ("optprune", "torch", "cvxpy", "pymoo", "numpy")
EPOCH = op.training.SGD(epochs=1, batch_size=128, lr=0.01, weight_decay=5e-4)
DIGITS = 512
"""Calibration images of the digits; `cases` says how many of Fashion-MNIST."""
EVALUATIONS, SCORED = 100, 1000
"""Of NSGA-II: evaluations, and validation images that each scores, at most."""
SEARCHING = Pipeline((LeastSquares("symmetric"), BatchNorm()))


@cache
def task_of(network: str, seed: int) -> op.Task:
    """Return a trained network, with a calibration split of its own for every seed."""
    if network != "digits":
        return case(network, seed)
    given = op.problems.digits.task()
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(given.train), generator=generator)[:DIGITS]
    return op.Task(
        given.network,
        train=given.train,
        validation=given.validation,
        test=given.test_split(),
        calibration=given.train.take(chosen).inputs,
        name=f"digits/{seed}",
        batch_size=given.batch_size,
    )


@cache
def graph_of(network: str) -> ChannelGraph:
    """Trace a network once in a process."""
    task = task_of(network, 0)
    return op.trace(task.network, task.example)


def allocated(of: Callable[[tuple[float, ...], int], Selector]) -> Choose:
    """Let an optimizer choose that evaluates nothing."""
    return lambda problem, targets, seed: of(targets, seed).select(problem)


def uniformly(problem: op.Problem, targets: tuple[float, ...], _: int) -> Structures:
    """Let all groups keep the same share."""
    return {target: problem.uniform(op.metrics.macs <= target) for target in targets}


def searched(problem: op.Problem, targets: tuple[float, ...], seed: int) -> Structures:
    """Search with NSGA-II, once for all targets; take the least loss within each."""
    result = op.solve(
        op.Problem(
            scored(problem.task, SCORED, seed),
            space=problem.space,
            recovery=SEARCHING,
            objectives=[op.metrics.loss, op.metrics.macs],
            graph=problem.graph,
        ),
        op.optimizers.NSGA2(),
        evaluations=EVALUATIONS,
        seed=seed,
        progress=False,
    )
    return {target: result.select(op.metrics.macs <= target).structure for target in targets}


def calibrated(problem: op.Problem, targets: tuple[float, ...], seed: int) -> Structures:
    """Scale the compensation tables to the divergence of each group narrowed alone."""
    measured = op.Problem(
        problem.task,
        space=problem.space,
        recovery=LeastSquares(seed=seed),
        objectives=[op.metrics.divergence, op.metrics.macs],
        graph=problem.graph,
    )
    return TableAllocation(targets, calibration=Calibration()).select(measured)


UNIFORM = "uniform"
METHODS: dict[str, Choose] = {
    "nHSIC, convex": allocated(
        lambda targets, seed: HSICAllocation(targets, dependence=Dependence(seed=seed))
    ),
    "Taylor, convex": allocated(
        lambda targets, seed: ConvexAllocation(
            targets, importance=ScoreSum(op.scores.Taylor(seed=seed))
        )
    ),
    "compensation tables": allocated(lambda targets, _: CompensationAllocation(targets)),
    "compensation tables, calibrated": calibrated,
    "equal importance, convex": allocated(lambda targets, _: ConvexAllocation(targets)),
    "random importance, convex": allocated(
        lambda targets, seed: ConvexAllocation(targets, importance=RandomImportance(seed=seed))
    ),
    UNIFORM: uniformly,
    f"NSGA-II, {EVALUATIONS} evaluations": searched,
}


@dataclass(frozen=True)
class Run:
    """What one choice of widths made of one network."""

    network: str
    target: float
    method: str
    seed: int
    tuned: bool
    """Whether an epoch of fine-tuning followed."""
    accuracy: float
    dense: float
    macs: float
    """Fraction of dense."""
    seconds: float
    """Choosing the widths for all targets together, seconds of one processor; the score that ranks
    the units is there already."""
    widths: tuple[int, ...]
    wrong: str
    """Which test images are wrong: bits, deflated, in base 85."""

    @property
    def lost(self) -> float:
        """Accuracy that is lost."""
        return self.dense - self.accuracy


Key = tuple[str, float, str, int, bool]
Job = tuple[str, str, int]
"""Network, method and seed."""


def key(run: Run) -> Key:
    """Return what tells a row from the others."""
    return run.network, run.target, run.method, run.seed, run.tuned


def wrong(task: op.Task, network: nn.Module) -> Bits:
    """Return which test images a network gets wrong."""
    split = task.test_split()
    found: Bits = (task.predict(network, split).argmax(1) != split.labels).cpu().numpy()
    return found


@cache
def dense(network: str) -> float:
    """Return the dense network's accuracy."""
    task = task_of(network, 0)
    return 1 - float(wrong(task, task.network).mean())


def packed(bits: Bits) -> str:
    """Write bits as text, their number first."""
    deflated = zlib.compress(np.packbits(bits).tobytes(), 9)
    return f"{len(bits)} {base64.b85encode(deflated).decode()}"


def unpacked(text: str) -> Bits:
    """Read bits that `packed` wrote."""
    count, _, deflated = text.partition(" ")
    inflated = np.frombuffer(zlib.decompress(base64.b85decode(deflated)), dtype=np.uint8)
    return np.unpackbits(inflated)[: int(count)].astype(bool)


def run(job: Job, wanted: Sequence[tuple[float, bool]]) -> list[Run]:
    """Choose widths for all targets, and repair and test each."""
    torch.set_num_threads(1)
    network, method, seed = job
    task = task_of(network, seed)
    problem = posed(task, op.scores.Compensation(seed=seed), graph_of(network))
    _ = problem.importance
    targets = tuple(sorted({target for target, _ in wanted}, reverse=True))
    started = time.process_time()
    structures = METHODS[method](problem, targets, seed)
    seconds = time.process_time() - started
    rows = []
    for target, tuned in wanted:
        structure = structures[target]
        fit = LeastSquares(seed=seed)
        recovery = Pipeline((fit, FineTune(EPOCH))) if tuned else fit
        bits = wrong(task, recovered(problem, structure, recovery, seed))
        rows.append(
            Run(
                network,
                target,
                method,
                seed,
                tuned,
                1 - float(bits.mean()),
                dense(network),
                share(problem, structure),
                seconds,
                tuple(structure.widths.tolist()),
                packed(bits),
            )
        )
    return rows


def run_all(keys: Sequence[Key], known: dict[Key, Run], processes: int) -> dict[Key, Run]:
    """Run what is not known yet, and write the rows of each job as they come."""
    jobs: dict[Job, list[tuple[float, bool]]] = defaultdict(list)
    for network, target, method, seed, tuned in keys:
        if (network, target, method, seed, tuned) not in known:
            jobs[network, method, seed].append((target, tuned))
    with (
        Progress(transient=True) as progress,
        ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
    ):
        bar = progress.add_task("allocation", total=sum(map(len, jobs.values())))
        for future in as_completed([pool.submit(run, *item) for item in jobs.items()]):
            rows = future.result()
            known |= {key(row): row for row in rows}
            write(known)
            progress.advance(bar, len(rows))
    return known


def write(known: Mapping[Key, Run]) -> None:
    """Write all rows."""
    methods = [*METHODS]

    def place(key: Key) -> tuple[int, float, bool, int, int]:
        network, target, method, seed, tuned = key
        return NETWORKS.index(network), -target, tuned, methods.index(method), seed

    rows = [asdict(known[key]) for key in sorted(known, key=place)]
    found = environment(PACKAGES, **{"threads a process": 1})
    write_json("allocation_table", {"environment": found, "runs": rows})


def read() -> dict[Key, Run]:
    """Read the rows that are there."""
    rows = read_json("allocation_table").get("runs", [])
    runs = [Run(**{**row, "widths": tuple(row["widths"])}) for row in rows]
    return {key(each): each for each in runs if each.method in METHODS}


@dataclass(frozen=True)
class Against:
    """How a method stands against uniform widths, in points of accuracy; more is better."""

    method: str
    differences: tuple[float, ...]
    """One for each seed."""
    interval: tuple[float, float]
    """95 % interval of the mean over seeds, from the spread over the test images."""

    @property
    def real(self) -> bool:
        """Whether all seeds agree, and chance in the choice of test images does not explain it."""
        agree = min(self.differences) > 0 or max(self.differences) < 0
        return agree and not self.interval[0] <= 0 <= self.interval[1]

    def __str__(self) -> str:
        """Say it in numbers."""
        low, high = min(self.differences), max(self.differences)
        return f"{self.method} {np.mean(self.differences):+.2f} ({low:+.2f} to {high:+.2f})"


def against(method: str, own: Mapping[int, Run], uniform: Mapping[int, Run]) -> Against | None:
    """Compare with uniform widths, seed by seed and image by image."""
    seeds = sorted(set(own) & set(uniform))
    if not seeds:
        return None
    images = [
        100.0 * unpacked(uniform[seed].wrong) - 100.0 * unpacked(own[seed].wrong) for seed in seeds
    ]
    mean = np.mean(images, axis=0)
    half = 1.96 * float(mean.std(ddof=1)) / len(mean) ** 0.5
    middle = float(mean.mean())
    differences = tuple(float(each.mean()) for each in images)
    return Against(method, differences, (middle - half, middle + half))


def cells(runs: Sequence[Run], network: str) -> list[tuple[float, bool]]:
    """Return what is measured of a network: targets, and whether tuned."""
    found = {(r.target, r.tuned) for r in runs if r.network == network}
    return sorted(found, key=lambda cell: (cell[1], -cell[0]))


def titled(cell: tuple[float, bool]) -> str:
    """Say which column it is."""
    return f"{cell[0]:.0%} MACs" + (", one epoch" if cell[1] else "")


def table(runs: Sequence[Run], network: str) -> str:
    """Write the table of one network: points lost, and seconds of the choice."""
    mine = [r for r in runs if r.network == network]
    columns = cells(mine, network)
    header = [
        f"{network}, dense {mine[0].dense:.2%}: points lost",
        *map(titled, columns),
        "seconds to choose",
    ]
    rows = []
    for method in METHODS:
        own = [[r for r in mine if (r.method, (r.target, r.tuned)) == (method, c)] for c in columns]
        if any(own):
            lost = [spread([100 * r.lost for r in part], "{:.2f}") if part else "" for part in own]
            chosen = {r.seed: r.seconds for part in own for r in part}
            rows.append([method, *lost, spread([*chosen.values()], "{:.1f}")])
    return markdown(header, rows)


def verdict(runs: Sequence[Run], network: str, cell: tuple[float, bool]) -> str:
    """Say which differences to uniform widths are real."""
    by: dict[str, dict[int, Run]] = defaultdict(dict)
    for each in runs:
        if (each.network, (each.target, each.tuned)) == (network, cell):
            by[each.method][each.seed] = each
    compared = [against(m, by[m], by[UNIFORM]) for m in METHODS if m != UNIFORM]
    found = [each for each in compared if each is not None]
    if not found:
        return ""
    parts = {
        "Better": [str(each) for each in found if each.real and each.differences[0] > 0],
        "Worse": [str(each) for each in found if each.real and each.differences[0] < 0],
        "Could be chance": [str(each) for each in found if not each.real],
    }
    seeds = min(len(each.differences) for each in found)
    said = [f"{name}: {'; '.join(those) or 'none'}." for name, those in parts.items()]
    return f"- {network}, {titled(cell)}, {seeds} seed{'s' * (seeds != 1)}. {' '.join(said)}"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds; default 3")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time; default 2")
    parser.add_argument("--again", action="store_true", help="measure rows that are there again")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    return parser.parse_args()


def main() -> None:
    """Measure what is missing, print, and write."""
    options = arguments()
    known = read()
    keys = [
        (network, target, method, seed, tuned)
        for network in options.networks
        for method in options.methods
        for seed in range(options.seeds)
        for target in TARGETS
        for tuned in (False, True)
        if not tuned or (network, target) in TUNED
    ]
    if not options.show:
        if options.again:
            known = {each: row for each, row in known.items() if each not in keys}
        known = run_all(keys, known, options.processes)
    runs = list(known.values())
    networks = [n for n in NETWORKS if any(r.network == n for r in runs)]
    tables = "\n\n".join(table(runs, network) for network in networks)
    lines = [verdict(runs, network, cell) for network in networks for cell in cells(runs, network)]
    said = "\n".join(filter(None, lines))
    text = f"{tables}\n\nWhich differences to uniform widths are real, in points kept:\n\n{said}"
    Console().print(Markdown(text))
    found = read_json("allocation_table")["environment"]
    write_section(HERE / "README.md", "allocation-table", f"{text}\n\n{measured_with(found)}")


if __name__ == "__main__":
    main()
