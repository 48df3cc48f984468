"""Accuracy without retraining: three networks for Fashion-MNIST, at four targets of MACs.

Run ``make benchmark`` or ``python benchmarks/recovery.py``. Nothing takes a gradient step; each
method sees at most 1,024 training images, others for every seed, without labels (Torch-Pruning's
Taylor importance: with labels). Accuracies are those of the test split, which nothing is chosen by.
One torch thread. Writes ``benchmarks/results/recovery.json``, and the tables in
``benchmarks/README.md`` and ``README.md``.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from typing import Any

import torch
from cases import SAMPLES, case, posed, recovered, share, tested
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
from rivals import SETTINGS, macs, prune

import optprune as op
from optprune.recovery import Recovery
from optprune.surgery import ChannelGraph, Structure

NETWORKS = ("vgg", "resnet20", "mobilenet")
TARGETS = (0.7, 0.5, 0.3, 0.2)
PACKAGES = ("optprune", "torch", "torch-pruning", "numpy")
RECOMMENDED = "optprune, recommended"
"""Tables of what compensation cannot make up for, each scaled to how far the network's outputs move
when its group alone is narrowed; then least squares."""
ASKED = {
    ("vgg", 0.5): 0.003,
    ("vgg", 0.3): 0.008,
    ("vgg", 0.2): 0.02,
    ("resnet20", 0.5): 0.008,
    ("resnet20", 0.3): 0.02,
    ("mobilenet", 0.7): 0.008,
    ("mobilenet", 0.5): 0.02,
}
"""What the recommended choice may lose at most."""


Structures = Mapping[float, Structure]


@dataclass(frozen=True)
class Choice:
    """A choice on the axes of optprune."""

    score: Callable[[int], op.scores.Score]
    recovery: Callable[[int], Recovery]
    select: Callable[[op.Problem], Structures]
    """Chooses a structure for every target."""


def uniformly(problem: op.Problem) -> Structures:
    """Let all groups keep the same share."""
    return {target: problem.uniform(op.metrics.macs <= target) for target in TARGETS}


CALIBRATED = op.optimizers.TableAllocation(TARGETS, calibration=op.optimizers.Calibration())
CHOICES = {
    RECOMMENDED: Choice(
        lambda seed: op.scores.Compensation(seed=seed),
        lambda seed: op.recovery.LeastSquares(seed=seed),
        CALIBRATED.select,
    ),
    "optprune, global selection + LeastSquares": Choice(
        lambda seed: op.scores.Compensation(seed=seed),
        lambda seed: op.recovery.LeastSquares(seed=seed),
        op.optimizers.GlobalSelection(TARGETS).select,
    ),
    "optprune, L1 uniform + LeastSquares": Choice(
        lambda _: op.scores.L1(), lambda seed: op.recovery.LeastSquares(seed=seed), uniformly
    ),
    "optprune, L1 uniform + BN": Choice(
        lambda _: op.scores.L1(), lambda _: op.recovery.BatchNorm(SAMPLES), uniformly
    ),
}
PEERS = {str(setting): setting for setting in SETTINGS}
METHODS = [*CHOICES, *PEERS]


@dataclass(frozen=True)
class Run:
    """What one method made of one network."""

    network: str
    target: float
    method: str
    seed: int
    accuracy: float
    dense: float
    macs: float
    """Fraction of dense."""
    seconds: float
    """Of one processor: ranking, choosing the widths, removing and repairing; not Torch-Pruning's
    search for a ratio. A choice that is made for all targets together counts whole for each."""

    @property
    def lost(self) -> float:
        """Accuracy that is lost."""
        return self.dense - self.accuracy


@cache
def graph_of(network: str) -> ChannelGraph:
    """Trace a network once in a process."""
    task = case(network, 0)
    return op.trace(task.network, task.example)


@cache
def dense(network: str) -> float:
    """Return the dense network's accuracy."""
    task = case(network, 0)
    return tested(task, task.network)


@cache
def chosen(network: str, method: str, seed: int) -> tuple[op.Problem, Structures, float]:
    """Choose widths for all targets: the problem, the structures, and the seconds."""
    choice = CHOICES[method]
    problem = op.Problem(
        case(network, seed),
        space=op.Widths(score=choice.score(seed)),
        recovery=choice.recovery(seed),
        objectives=[op.metrics.divergence, op.metrics.macs],
        graph=graph_of(network),
    )
    started = time.process_time()
    structures = choice.select(problem)
    return problem, structures, time.process_time() - started


def ours(network: str, target: float, seed: int, method: str) -> tuple[Any, float, float]:
    """Prune with optprune: the network, its share of the MACs, and the seconds."""
    problem, structures, seconds = chosen(network, method, seed)
    structure = structures[target]
    started = time.process_time()
    small = recovered(problem, structure, CHOICES[method].recovery(seed), seed)
    return small, share(problem, structure), seconds + time.process_time() - started


@cache
def elsewhere(network: str, target: float, name: str, seed: int) -> tuple[Any, float]:
    """Prune with Torch-Pruning: the network and the seconds, before anything is repaired."""
    task = case(network, seed)
    generator = torch.Generator().manual_seed(seed)
    assert task.train is not None
    labelled = task.train.take(torch.randperm(len(task.train), generator=generator)[:SAMPLES])
    return prune(
        task.network, labelled.inputs[:1], PEERS[name], target, (labelled.inputs, labelled.labels)
    )


def theirs(network: str, target: float, seed: int, name: str) -> tuple[Any, float, float]:
    """Prune with Torch-Pruning and recalibrate."""
    task = case(network, seed)
    # only Taylor sees images while it prunes
    small, seconds = elsewhere(network, target, name, seed if "Taylor" in name else 0)
    small = copy.deepcopy(small)
    problem = posed(task, op.scores.L1(), graph_of(network))
    context = op.recovery.RecoveryContext(
        task, problem.graph, problem.graph.full(), seed, op.Meter()
    )
    started = time.process_time()
    op.recovery.BatchNorm(SAMPLES).recover(small, context)
    seconds += time.process_time() - started
    fraction = macs(small, task.example) / macs(task.network, task.example)
    return small, fraction, seconds


def run(network: str, target: float, method: str, seed: int) -> Run:
    """Prune and test once."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="torch_pruning")
    if method in CHOICES:
        small, fraction, seconds = ours(network, target, seed, method)
    else:
        small, fraction, seconds = theirs(network, target, seed, method)
    found = tested(case(network, seed), small)
    return Run(network, target, method, seed, found, dense(network), fraction, seconds)


Key = tuple[str, float, str, int]


def run_all(jobs: Sequence[Key], known: dict[Key, Run], processes: int) -> dict[Key, Run]:
    """Run what is not known yet, and write each row as it comes."""
    missing = [job for job in jobs if job not in known]
    with (
        Progress(transient=True) as progress,
        ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
    ):
        bar = progress.add_task("Fashion-MNIST", total=len(missing))
        futures = {pool.submit(run, *job): job for job in missing}
        for future in as_completed(futures):
            known[futures[future]] = future.result()
            write(known)
            progress.advance(bar)
    return known


def write(known: dict[Key, Run]) -> None:
    """Write all rows."""
    order = sorted(known, key=lambda k: (NETWORKS.index(k[0]), -k[1], METHODS.index(k[2]), k[3]))
    write_json(
        "recovery",
        {
            "environment": environment(PACKAGES, **{"threads a process": 1}),
            "runs": [asdict(known[key]) for key in order],
        },
    )


def read() -> dict[Key, Run]:
    """Read the rows that are there."""
    rows = [Run(**row) for row in read_json("recovery").get("runs", [])]
    return {(r.network, r.target, r.method, r.seed): r for r in rows if r.method in METHODS}


def spread(values: Sequence[float], text: str) -> str:
    """Write the median and the range."""
    low, middle, high = min(values), statistics.median(values), max(values)
    written = [text.format(value) for value in (middle, low, high)]
    return written[0] if written[1] == written[2] else f"{written[0]} ({written[1]}–{written[2]})"


def table(runs: Sequence[Run], network: str, methods: Sequence[str]) -> str:
    """Write the table of one network."""
    mine = [r for r in runs if r.network == network]
    targets = [t for t in TARGETS if any(r.target == t for r in mine)]
    header = [f"{network}, dense {mine[0].dense:.2%}", *(f"{t:.0%} MACs" for t in targets)]
    rows = []
    for method in methods:
        cells = [[r for r in mine if (r.method, r.target) == (method, t)] for t in targets]
        if all(cells):
            accuracies = [spread([100 * r.accuracy for r in cell], "{:.2f}") for cell in cells]
            seconds = spread([r.seconds for cell in cells for r in cell], "{:.1f}")
            rows.append([method, *accuracies, seconds])
    return markdown([*header, "seconds"], rows)


def best(runs: Sequence[Run], network: str, target: float) -> str:
    """Return the peer with the best median accuracy."""

    def median(name: str) -> float:
        own = [r for r in runs if (r.network, r.target, r.method) == (network, target, name)]
        return statistics.median(r.accuracy for r in own)

    return max(PEERS, key=median)


def verdicts(runs: Sequence[Run]) -> str:
    """Set what is lost against what was asked, and against the best of the peers."""
    header = [
        "network",
        "MACs",
        "asked: loses at most",
        "recommended loses",
        "reached",
        "best of Torch-Pruning's six loses",
        "which",
    ]
    rows = []
    for network in NETWORKS:
        for target in TARGETS:
            own = {
                m: [r for r in runs if (r.network, r.target, r.method) == (network, target, m)]
                for m in METHODS
            }
            if not all(own.values()):
                continue
            peer = best(runs, network, target)
            asked = ASKED.get((network, target))
            lost = statistics.median(r.lost for r in own[RECOMMENDED])
            rows.append(
                [
                    network,
                    f"{target:.0%}",
                    "" if asked is None else f"{100 * asked:.1f}",
                    spread([100 * r.lost for r in own[RECOMMENDED]], "{:.2f}"),
                    "" if asked is None else "yes" if round(lost, 6) <= asked else "no",
                    spread([100 * r.lost for r in own[peer]], "{:.2f}"),
                    peer,
                ]
            )
    return markdown(header, rows)


def fewer(runs: Sequence[Run]) -> str:
    """Say for which networks Torch-Pruning has fewer seeds than the recommended choice."""
    lines = []
    for network in NETWORKS:
        seeds = [{r.seed for r in runs if (r.network, r.method) == (network, m)} for m in METHODS]
        least, most = min(map(len, seeds)), max(map(len, seeds))
        if 0 < least < most:
            lines.append(
                f"{network}: some of Torch-Pruning's settings with {least} of {most} seeds."
            )
    return " ".join(lines)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds; default 3")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="NAME")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time; default 2")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    parser.add_argument("--go-on", action="store_true", help="keep the rows that are there")
    parser.add_argument(
        "--again",
        nargs="+",
        choices=METHODS,
        default=[],
        metavar="NAME",
        help="of these, keep none",
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write."""
    options = arguments()
    known = read() if options.go_on or options.show else {}
    known = {key: found for key, found in known.items() if key[2] not in options.again}
    jobs = [
        (network, target, method, seed)
        for network in options.networks
        for method in options.methods
        for seed in range(options.seeds)
        for target in TARGETS
    ]
    if not options.show:
        known = run_all(jobs, known, options.processes)
    runs = list(known.values())
    networks = [n for n in NETWORKS if any(r.network == n for r in runs)]
    tables = "\n\n".join(table(runs, network, METHODS) for network in networks)
    said = "\n\n".join(filter(None, [verdicts(runs), fewer(runs)]))
    Console().print(Markdown(f"{tables}\n\n{said}"))
    found = read_json("recovery")["environment"]
    write_section(HERE / "README.md", "recovery", f"{tables}\n\n{said}\n\n{measured_with(found)}")
    write_section(HERE.parent / "README.md", "recovery", said)


if __name__ == "__main__":
    main()
