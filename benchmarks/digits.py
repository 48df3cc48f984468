"""The four optimizers on digits: best error under three budgets of MACs, hypervolume, seconds.

Run ``make benchmark`` or ``python benchmarks/digits.py``. Every run has the same budget of
evaluations on the same problem (`optprune.problems.digits`: validation error and MACs, no
constraint), one torch thread, and no journal; two runs at a time by default. Writes
``benchmarks/results/digits.json``, and the table in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context

import numpy as np
import torch
from reporting import HERE, environment, markdown, measured_with, write_json, write_section
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import optprune as op

BUDGETS = (0.6, 0.4, 0.25)
REFERENCE = (0.9, 1.0)
USEFUL = 0.1
PACKAGES = ("optprune", "torch", "numpy", "pymoo", "deap", "moocore", "scikit-learn")
OPTIMIZERS: dict[str, Callable[[], op.search.Optimizer]] = {
    "NSGA2": op.optimizers.NSGA2,
    "DeapNSGA2": op.optimizers.DeapNSGA2,
    "Random": op.optimizers.Random,
    "UniformWidths": op.optimizers.UniformWidths,
}


@dataclass(frozen=True)
class Run:
    """What one run found."""

    optimizer: str
    configuration: str
    seed: int
    evaluations: int
    seconds: float
    hypervolume: float
    best: dict[str, float]
    """Least validation error at each budget of MACs (fraction of dense, as text); 1 if none."""
    useful: int
    """Points of the front with a validation error of at most `USEFUL`."""
    front: list[tuple[float, float]]
    """Error and MACs of the front."""
    reason: str


@cache
def problem() -> op.Problem:
    """Make the problem, once in a process."""
    return op.problems.digits.problem(objectives=[op.metrics.error, op.metrics.macs], subject_to=())


def run(name: str, seed: int, evaluations: int) -> Run:
    """Search once."""
    torch.set_num_threads(1)
    optimizer = OPTIMIZERS[name]()
    result = op.solve(problem(), optimizer, evaluations=evaluations, seed=seed, progress=False)
    error, macs = result.log["error"].to_numpy(), result.log["macs"].to_numpy()
    front = result.front
    return Run(
        optimizer=name,
        configuration=repr(optimizer),
        seed=seed,
        evaluations=len(result.rows),
        seconds=result.seconds,
        hypervolume=result.hypervolume(REFERENCE),
        best={f"{b:g}": float(np.nanmin(error[macs <= b], initial=1.0)) for b in BUDGETS},
        useful=int((front["error"] <= USEFUL).sum()),
        front=[(float(e), float(m)) for e, m in zip(front["error"], front["macs"], strict=True)],
        reason=result.reason,
    )


def run_all(names: Sequence[str], seeds: range, evaluations: int, processes: int) -> list[Run]:
    """Run every optimizer with every seed, a few at a time; sorted by optimizer and seed."""
    jobs = [(name, seed) for seed in seeds for name in names]
    found: dict[tuple[str, int], Run] = {}
    with (
        Progress(transient=True) as progress,
        ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
    ):
        bar = progress.add_task("digits", total=len(jobs))
        futures = {pool.submit(run, *job, evaluations): job for job in jobs}
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            progress.advance(bar)
    return [found[name, seed] for name in names for seed in seeds]


def spread(values: Sequence[float], text: Callable[[float], str]) -> str:
    """Write the median and the range; the median alone where there is no range."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return text(middle) if low == high else f"{text(middle)} ({text(low)}–{text(high)})"


def table(runs: Sequence[Run], names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Make the table: a row for each optimizer."""
    heads = [
        "optimizer",
        *(f"error at ≤ {budget:.0%} MACs" for budget in BUDGETS),
        "hypervolume",
        f"points with error ≤ {USEFUL:.0%}",
        "evaluations",
        "seconds",
    ]
    rows = []
    for name in names:
        mine = [found for found in runs if found.optimizer == name]
        rows.append(
            [
                name,
                *(spread([r.best[f"{b:g}"] for r in mine], "{:.2%}".format) for b in BUDGETS),
                spread([r.hypervolume for r in mine], "{:.4f}".format),
                spread([r.useful for r in mine], "{:.0f}".format),
                spread([r.evaluations for r in mine], "{:.0f}".format),
                spread([r.seconds for r in mine], "{:.0f}".format),
            ]
        )
    return heads, rows


def show(console: Console, title: str, heads: list[str], rows: list[list[str]]) -> None:
    """Print a table, turned, with a column for each optimizer: it fits a narrow terminal."""
    shown = Table(title=title)
    for number, head in enumerate([heads[0], *(row[0] for row in rows)]):
        shown.add_column(head if number else "", justify="right", no_wrap=bool(number))
    for number, head in enumerate(heads[1:], start=1):
        shown.add_row(head, *(row[number].replace(" (", "\n").rstrip(")") for row in rows))
        shown.add_section()
    console.print(shown)


def verdicts(runs: Sequence[Run], names: Sequence[str], seeds: range) -> list[str]:
    """Say how NSGA-II stands against the others."""
    if "NSGA2" not in names:
        return []
    by = {(found.optimizer, found.seed): found for found in runs}
    ours = [by["NSGA2", seed] for seed in seeds]
    lines = [
        f"NSGA2 has at least {min(found.useful for found in ours)} points with an error of at "
        f"most {USEFUL:.0%} on its front."
    ]
    for other in (name for name in names if name != "NSGA2"):
        theirs = [by[other, seed] for seed in seeds]
        wins = sum(a.hypervolume > b.hypervolume for a, b in zip(ours, theirs, strict=True))
        no_worse = [
            f"{budget:.0%}"
            for budget in BUDGETS
            if statistics.median(a.best[f"{budget:g}"] for a in ours)
            <= statistics.median(b.best[f"{budget:g}"] for b in theirs)
        ]
        lines.append(
            f"NSGA2 against {other}: larger hypervolume in {wins} of {len(seeds)} seeds; "
            f"median error no worse at {', '.join(no_worse) or 'none'} MACs."
        )
    return lines


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds; default 5")
    parser.add_argument("--first-seed", type=int, default=1, help="the first of them; default 1")
    parser.add_argument("--evaluations", type=int, default=600, help="a run; default 600")
    parser.add_argument(
        "--optimizers", nargs="+", choices=[*OPTIMIZERS], default=[*OPTIMIZERS], metavar="NAME"
    )
    parser.add_argument("--processes", type=int, choices=(1, 2), default=2, help="runs at a time")
    parser.add_argument("--dry", action="store_true", help="print only, write nothing")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write."""
    options = arguments()
    names: list[str] = options.optimizers
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    runs = run_all(names, seeds, options.evaluations, options.processes)
    heads, rows = table(runs, names)
    said = verdicts(runs, names, seeds)
    runs_of = f"{options.evaluations} evaluations, {options.seeds} seeds from {seeds[0]}"
    title = f"Digits: {runs_of}, median (range)"
    console = Console()
    show(console, title, heads, rows)
    for line in said:
        console.print(line, highlight=False)
    if options.dry:
        return
    found = environment(PACKAGES, processes=options.processes, **{"threads a process": 1})
    write_json(
        "digits",
        {
            "environment": found,
            "settings": {"evaluations": options.evaluations, "reference": REFERENCE},
            "runs": [asdict(each) for each in runs],
        },
    )
    points = "\n".join(f"- {line}" for line in said)
    parts = (f"{title}.", markdown(heads, rows), points, measured_with(found))
    write_section(HERE / "README.md", "digits", "\n\n".join(parts))


if __name__ == "__main__":
    main()
