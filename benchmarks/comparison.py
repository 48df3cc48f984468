"""Which optimizer, measured: three comparisons with `optprune.compare`.

Run ``make benchmark`` or ``python benchmarks/comparison.py``. On digits, the trade-off of error and
MACs in two spaces (steps of four channels with recalibration; every width with least squares), and
the least loss at 30 % of the MACs; on the VGG for Fashion-MNIST, the trade-off, where a candidate
is scored by 1,000 validation images. Every optimizer has the same budget of evaluations and the
same seeds; what evaluates nothing stands at its own cost. At the end the networks that a user would
take, the best at most so many MACs, are measured on all validation images and on the test split,
which nothing is chosen by. Runs are kept in ``build/comparison``, so that a comparison that was
killed goes on. Writes ``benchmarks/results/comparison.json``, the pages in ``docs/comparison`` and
the tables in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from cases import data, scored, share
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
from rich.progress import track

import optprune as op
from optprune.errors import InfeasibleError
from optprune.losses import accuracy
from optprune.optimizers import (
    CMAES,
    CTAEA,
    GA,
    MOCMAES,
    MOEAD,
    NSGA2,
    NSGA3,
    PBIL,
    RVEA,
    SMSEMOA,
    SPEA2,
    UNSGA3,
    BinaryStructuralSearch,
    Calibration,
    CompensationAllocation,
    DeapGA,
    DeapNSGA2,
    DeapNSGA3,
    DifferentialEvolution,
    DualAnnealing,
    GreedyElimination,
    HSICAllocation,
    ParticleSwarm,
    ScipyDE,
    SimulatedAnnealing,
    TableAllocation,
)
from optprune.recovery import BatchNorm, LeastSquares, Pipeline
from optprune.search import Optimizer

BUILD, PAGES = HERE.parent / "build" / "comparison", HERE.parent / "docs" / "comparison"
PACKAGES = ("optprune", "torch", "pymoo", "deap", "scipy", "cvxpy", "moocore")
BOUNDS = (0.5, 0.3)
CURVE = (0.8, 0.65, 0.5, 0.4, 0.3, 0.22, 0.16, 0.12)
"""Targets of what evaluates nothing: a front for the price of one."""
SCORED = 1000
"""Validation images that score a candidate of the VGG."""
SEARCHING = Pipeline((LeastSquares("symmetric"), BatchNorm()))


@dataclass(frozen=True)
class Case:
    """One comparison."""

    title: str
    problems: Mapping[str, op.Problem]
    optimizers: Mapping[str, Optimizer]
    evaluations: int
    seeds: int
    bounds: tuple[float, ...] = BOUNDS
    tasks: Mapping[str, op.Task] = field(default_factory=dict)
    """With all validation images, where a problem scores by a part of them."""


def named(*optimizers: Optimizer, **more: Optimizer) -> dict[str, Optimizer]:
    """Name optimizers."""
    return {each.name: each for each in optimizers} | more


def digits() -> Case:
    """Return the trade-off on digits, in two spaces."""
    fine = op.Widths(score=op.scores.Compensation())
    return Case(
        "Digits: error and MACs",
        {
            "steps of 4, BN": op.problems.digits.problem(subject_to=()),
            "every width, LS": op.problems.digits.problem(
                subject_to=(), space=fine, recovery=LeastSquares("symmetric")
            ),
        },
        {
            **named(NSGA2(), NSGA3(), UNSGA3(), SMSEMOA(), SPEA2(), RVEA(), CTAEA(), MOEAD()),
            **named(DeapNSGA2(), DeapNSGA3(), MOCMAES()),
            **named(GreedyElimination((0.1,)), BinaryStructuralSearch(macs=0.3)),
            **named(HSICAllocation(CURVE), CompensationAllocation(CURVE)),
            "NSGA2 from tables": NSGA2(seeded_by=CompensationAllocation(CURVE)),
            "NSGA2, 16 members": NSGA2(population=16),
        },
        evaluations=200,
        seeds=5,
    )


def bounded() -> Case:
    """Return the least loss at 30 % of the MACs, on digits."""
    tables = CompensationAllocation((0.3,))
    problem = op.Problem(
        op.problems.digits.task(),
        space=op.Widths(score=op.scores.Compensation()),
        recovery=LeastSquares("symmetric"),
        objectives=op.metrics.loss,
        subject_to=op.metrics.macs <= 0.3,
    )
    return Case(
        "Digits: loss at ≤ 30 % MACs",
        {"30 % MACs": problem},
        {
            **named(GA(), DeapGA(), PBIL(), DifferentialEvolution(), ScipyDE(), CMAES()),
            **named(ParticleSwarm(), SimulatedAnnealing(), DualAnnealing(), NSGA2(), tables),
            "GA from tables": GA(seeded_by=tables),
            "SimulatedAnnealing from tables": SimulatedAnnealing(seeded_by=tables),
        },
        evaluations=200,
        seeds=5,
        bounds=(0.3,),
    )


def vgg() -> Case:
    """Return the trade-off on Fashion-MNIST."""
    whole = data()
    problem = op.Problem(
        scored(whole, SCORED),
        space=op.Widths(step=8, score=op.scores.Compensation()),
        recovery=SEARCHING,
        objectives=[op.metrics.error, op.metrics.macs],
    )
    return Case(
        "Fashion-MNIST, VGG: error and MACs",
        {"vgg": problem},
        {
            **named(NSGA2(population=16), SMSEMOA(population=16), DeapNSGA2(population=16)),
            **named(CompensationAllocation(CURVE), HSICAllocation(CURVE)),
            "NSGA2 from tables": NSGA2(population=16, seeded_by=CompensationAllocation(CURVE)),
            "calibrated tables": TableAllocation(CURVE, calibration=Calibration()),
        },
        evaluations=60,
        seeds=3,
        tasks={"vgg": whole},
    )


CASES = {"digits": digits, "bounded": bounded, "vgg": vgg}


def finals(case: Case, found: op.Comparison) -> list[dict[str, Any]]:
    """Measure what a user would take: the best of each run within each bound."""
    rows = []
    for entry in track(found.entries, description="finals", transient=True):
        if entry.result is None:
            continue
        problem = case.problems[entry.problem]
        task = case.tasks.get(entry.problem, problem.task)
        for bound in case.bounds:
            try:
                choice = entry.result.select(op.metrics.macs <= bound)
            except InfeasibleError:
                continue
            network = choice.network()
            splits = {"validation": task.validation, "test": task.test_split()}
            measured = {
                name: accuracy(task.predict(network, split), split.labels)
                for name, split in splits.items()
            }
            rows.append(
                {
                    "problem": entry.problem,
                    "optimizer": entry.optimizer,
                    "seed": entry.seed,
                    "bound": bound,
                    "macs": share(problem, choice.structure),
                    **measured,
                }
            )
    return rows


def run(name: str, workers: int, seeds: int | None) -> dict[str, Any]:
    """Run one comparison, or go on with it; write its page; return its tables."""
    case = CASES[name]()
    found = op.compare(
        case.problems,
        case.optimizers,
        seeds=seeds or case.seeds,
        evaluations=case.evaluations,
        workers=workers,
        folder=BUILD / name,
    )
    PAGES.mkdir(parents=True, exist_ok=True)
    bounds = [op.metrics.macs <= bound for bound in case.bounds]
    found.to_html(PAGES / f"{name}.html", within=bounds if len(bounds) > 1 else ())
    ranks = found.ranks()
    return {
        "title": case.title,
        "seeds": seeds or case.seeds,
        "evaluations": case.evaluations,
        "summary": records(found.summary()),
        "ranks": dict(ranks.mean_ranks),
        "note": ranks.note,
        "statistics": records(found.statistics()),
        "failed": records(found.runs[found.runs["failed"]]),
        "finals": finals(case, found),
        "seconds": float(found.runs["seconds"].sum()),
    }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Turn a table into what JSON can hold: NaN is null."""
    plain = table.astype(object).where(table.notna(), None)
    return [
        {k: v.item() if hasattr(v, "item") else v for k, v in row.items()}
        for row in plain.to_dict("records")
    ]


def text(document: Mapping[str, Any]) -> str:
    """Write the tables of one comparison."""
    summary = pd.DataFrame(document["summary"])
    last = pd.DataFrame(document["finals"])
    parts = []
    for problem, mine in summary.groupby("problem", sort=False):
        own = last[last["problem"] == problem]
        bounds = sorted(own["bound"].unique(), reverse=True)
        measure = mine["measure"].iloc[0]
        rows = []
        for row in mine.sort_values("median", ascending=measure != "hypervolume").itertuples():
            theirs = own[own["optimizer"] == row.optimizer]
            cells = [
                cell(theirs[theirs["bound"] == bound], split)
                for bound in bounds
                for split in ("validation", "test")
            ]
            value = f"{row.median:.4f} ({row.lower:.4f}–{row.upper:.4f})"
            cost = (f"{row.evaluations:.0f}", f"{row.samples:,.0f}", f"{row.seconds:.1f}")
            rows.append([row.optimizer, value, *cells, *cost])
        head = [
            f"{problem}",
            f"{measure}, quartiles",
            *(f"{split} error at ≤ {b:.0%}" for b in bounds for split in ("validation", "test")),
            "evaluations",
            "samples",
            "seconds",
        ]
        parts.append(markdown(head, rows))
    order = ", ".join(f"{name} {rank:.1f}" for name, rank in document["ranks"].items())
    parts.append(f"Average ranks, the best first: {order}. {document['note']}.")
    told = pd.DataFrame(document["statistics"])["verdict"].value_counts()
    parts.append(f"Pairs: {'; '.join(f'{count} × {verdict}' for verdict, count in told.items())}.")
    return (
        f"### {document['title']}\n\n{document['evaluations']} evaluations, {document['seeds']} "
        f"seeds, {document['seconds'] / 60:.0f} minutes of searching in all.\n\n"
        + "\n\n".join(parts)
    )


def cell(rows: pd.DataFrame, split: str) -> str:
    """Write the median error and its range."""
    if rows.empty:
        return "–"
    errors = 100 * (1 - rows[split])
    return f"{errors.median():.2f} ({errors.min():.2f}–{errors.max():.2f})"


def main() -> None:
    """Measure what is missing, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=[*CASES], metavar="NAME")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time; default 2")
    parser.add_argument("--seeds", type=int, help="how many; by default each comparison's own")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    options = parser.parse_args()
    for name in [] if options.show else options.only:
        measured = run(name, options.workers, options.seeds)
        known = read_json("comparison")
        found = environment(PACKAGES, workers=options.workers)
        write_json("comparison", {**known, "environment": found, name: measured})
    document = read_json("comparison")
    parts = [text(document[name]) for name in CASES if name in document]
    whole = "\n\n".join([*parts, measured_with(document["environment"])])
    Console().print(Markdown(whole))
    write_section(HERE / "README.md", "comparison", whole)


if __name__ == "__main__":
    main()
