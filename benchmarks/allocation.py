"""Widths from convex programs: seconds, certificates, and SciPy's SLSQP on the same problems.

Run ``make benchmark`` or ``python benchmarks/allocation.py``; ``--only`` runs some. The MACs are
those of torchvision's networks on 224×224 pixels, from a trace without verification; the weights,
which no MACs depend on, are random. Seconds of one processor. A row that is there already is not
measured again without ``--again``, so that an interrupted run goes on. Writes
``benchmarks/results/allocation.json`` and the tables in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any

import cvxpy  # noqa: F401  (imported here, so that no first solve pays for it)
import numpy as np
import numpy.typing as npt
import torch
import torchvision
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
from scipy.optimize import brentq, minimize
from torch import nn

import optprune as op
from optprune.allocation import Program, SignomialProgram, allocate
from optprune.allocation.geometric import pulled_back
from optprune.dependence import Dependence, hsic, linear_gram
from optprune.dependence.sources import consuming
from optprune.surgery import ChannelGraph, CostPolynomial

Row = dict[str, Any]
Floats = npt.NDArray[np.float64]

PACKAGES = ("optprune", "cvxpy", "clarabel", "scipy", "torch", "torchvision", "numpy")
NETWORKS = ("resnet50", "vgg16_bn", "mobilenet_v2", "densenet121")
CHAIN = "chain of 500"
INSTANCES = (*NETWORKS, CHAIN)
SPREAD = 10.0
"""Importances are drawn log-uniformly between 1 / SPREAD and SPREAD."""
SWEEP = np.linspace(0.02, 0.98, 50)
HALF = 0.5
STARTS, ITERATIONS = 20, 200
"""Of SLSQP: how often it starts, and its iterations at most."""
FEASIBLE, NEAR = 1e-6, 1e-6
"""Relative excess over a budget, and relative distance from the best utility."""
STEPS = (1, 8)
PUBLISHED = 1 - 0.453
"""What Zheng et al. leave of the MACs of ResNet-50."""
SAMPLES, PIXELS, COMPARED = 128, 64, 512
"""Random images that dependence is measured on, their size, and samples of the timed comparison."""
STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")
TASTES = {
    "nHSIC, log x": "hsic",
    "equal importance, log x": "equal",
    "uniform": "uniform",
    "projection, Σ (1 - x)²": "projection",
    "nHSIC, Σ I x (local optimum)": "linear",
}


@cache
def network(name: str) -> nn.Module:
    """Return one of torchvision's networks with random weights."""
    torch.manual_seed(0)
    made: nn.Module = getattr(torchvision.models, name)(weights=None)
    return made.eval()


@cache
def graph_of(name: str) -> ChannelGraph:
    """Trace a network on 224×224 pixels."""
    return op.trace(network(name), torch.zeros(1, 3, 224, 224), verify=False)


@cache
def chain(groups: int) -> CostPolynomial:
    """Return the MACs of a chain of 3×3 convolutions of 16 to 512 channels, and a linear layer."""
    widths = 2 ** np.random.default_rng(0).integers(4, 10, groups)
    single = np.eye(groups)
    between = [(9.0, [(0.0, a), (0.0, b)]) for a, b in pairwise(single)]
    terms = [(27.0, [(0.0, single[0])]), *between, (10.0, [(0.0, single[-1])])]
    return CostPolynomial.from_terms(terms, widths, "MACs")


def instance(name: str) -> tuple[CostPolynomial, Floats]:
    """Return the MACs of a network and a random importance of its groups."""
    macs = chain(500) if name == CHAIN else graph_of(name).costs.macs
    powers = np.random.default_rng(0).uniform(-1, 1, len(macs.dense_widths))
    return macs, SPREAD**powers


def excess(macs: CostPolynomial, widths: npt.ArrayLike, budget: float) -> float:
    """Return by how much widths are over a budget, relative to it."""
    return float(macs(widths)[0]) / budget - 1


def programmed(name: str) -> Row:
    """Solve the convex program: once, over a sweep of budgets, and with a scaled importance."""
    macs, importance = instance(name)
    started = time.process_time()
    program = Program({"macs": macs}, importance)
    half = program.solve({"macs": HALF * macs.dense})
    first = time.process_time() - started
    found, seconds = [], []
    for fraction in SWEEP:
        started = time.process_time()
        found.append(program.solve({"macs": fraction * macs.dense}))
        seconds.append(time.process_time() - started)
    ratios = np.array([each.widths / macs.dense_widths for each in found])
    scaled = Program({"macs": macs}, 1e-8 * importance).solve({"macs": HALF * macs.dense})
    return {
        "groups": len(macs.dense_widths),
        "monomials": len(macs.monomials()[0]),
        "first": first,
        "seconds": seconds,
        "kkt": max(each.kkt for each in found),
        "gap": max(each.gap / abs(each.utility) for each in found),
        "shrinks": float(np.maximum(ratios[:-1] - ratios[1:], 0).max()),
        "excess": max(
            excess(macs, each.widths, fraction * macs.dense)
            for each, fraction in zip(found, SWEEP, strict=True)
        ),
        "overshoot": max(each.overshoot for each in found),
        "inaccurate": sum(each.status != "optimal" for each in found),
        "scaled": float(np.abs(scaled.widths - half.widths).max()),
    }


def slsqp(
    objective: Callable[[Floats], float],
    slope: Callable[[Floats], Floats],
    room: Callable[[Floats], float],
    room_slope: Callable[[Floats], Floats],
    bounds: Sequence[tuple[float, float]],
    start: Floats,
) -> tuple[Floats, bool]:
    """Minimize where there is room, by SciPy's SLSQP; return the point and whether it converged."""
    room_in: Any = {"type": "ineq", "fun": room, "jac": room_slope}
    found = minimize(
        objective,
        start,
        jac=slope,
        bounds=bounds,
        constraints=room_in,
        method="SLSQP",
        # An accuracy of 1e-6, its default, is not enough for groups of little importance.
        options={"maxiter": ITERATIONS, "ftol": 1e-10},
    )
    return found.x, bool(found.success)


def exact(macs: CostPolynomial, budget: float, widths: Floats) -> Floats:
    """Pull back what is over by rounding, as Program's own points are."""
    least = np.ones(len(widths))
    widths = np.clip(widths, least, macs.dense_widths)
    return pulled_back({"macs": macs}, {"macs": budget}, least, widths)[0]


def weighted(
    macs: CostPolynomial, weights: Floats, budget: float, start: Floats
) -> tuple[Floats, bool]:
    """Maximize the weighted sum of log x by SLSQP; return the widths and whether it converged."""
    dense = macs.dense_widths.astype(np.float64)
    logs, converged = slsqp(
        lambda y: float(-weights @ y),
        lambda _: -weights,
        lambda y: float(np.log(budget / macs(dense * np.exp(y))[0])),
        lambda y: -macs.shares(dense * np.exp(y)),
        [(low, 0.0) for low in -np.log(dense)],
        np.maximum(start, -np.log(dense)),
    )
    return dense * np.exp(logs), converged


def rivalled(name: str) -> Row:
    """Let SLSQP solve the same program from several starts, in the same variables."""
    macs, importance = instance(name)
    weights = importance / importance.mean()
    dense, budget = macs.dense_widths, HALF * macs.dense
    own = Program({"macs": macs}, importance).solve({"macs": budget}).utility / importance.mean()
    generator = np.random.default_rng(0)
    starts = [np.zeros(len(dense))]
    starts += [np.log(0.05) * generator.random(len(dense)) for _ in range(STARTS - 1)]
    utilities, converged, seconds, over = [], [], [], []
    for start in starts:
        started = time.process_time()
        widths, success = weighted(macs, weights, budget, start)
        seconds.append(time.process_time() - started)
        converged.append(success)
        over.append(excess(macs, widths, budget))
        if np.isfinite(over[-1]) and over[-1] <= FEASIBLE:
            utilities.append(float(weights @ np.log(exact(macs, budget, widths) / dense)))
    best = max(utilities, default=-np.inf)
    plain, _ = weighted(macs, weights, budget, starts[0])
    scaled, _ = weighted(macs, 1e-8 * weights, budget, starts[0])
    return {
        "starts": STARTS,
        "converged": sum(converged),
        "feasible": len(utilities),
        "near": sum(each >= best - NEAR * abs(best) for each in utilities),
        "own": own,
        "best": best,
        "worst": min(utilities, default=-np.inf),
        "seconds": seconds,
        "scaled": float(np.abs(scaled - plain).max()),
    }


def whole(name: str) -> Row:
    """Choose integer widths at half of the MACs, in steps of 1 and 8."""
    macs, importance = instance(name)
    budget = {"macs": HALF * macs.dense}
    row: Row = {}
    for step in STEPS:
        options = [
            np.unique([*range(min(step, width), width + 1, step), width])
            for width in macs.dense_widths.tolist()
        ]
        lower = [widths[0] for widths in options]
        program = Program({"macs": macs}, importance, lower=lower)
        program.solve(budget)  # what is compiled once for all budgets
        started = time.process_time()
        found = allocate(program, budget, options)
        row[str(step)] = {
            "seconds": time.process_time() - started,
            "gap": found.gap / abs(found.objective),
            "excess": excess(macs, found.widths, budget["macs"]),
        }
    return row


def compared(graph: ChannelGraph, samples: int) -> float:
    """Return the seconds that the comparison of all groups takes, without the forward pass."""
    torch.manual_seed(0)
    features = []
    for group in graph.groups:
        sources = consuming(network("resnet50"), graph, group)
        shapes = [group.width if s.channels is None else s.channels.numel() for s in sources]
        features.append([torch.randn(samples, shape) for shape in shapes])
    started = time.process_time()
    grams = []
    for parts in features:
        parted = [linear_gram(part) for part in parts]
        grams.append(torch.stack([gram / gram.trace() for gram in parted]).sum(0))
    hsic(grams)
    return time.process_time() - started


def imported() -> float:
    """Return the seconds that importing cvxpy takes."""
    code = (
        "import time, torch, optprune; s = time.process_time(); import cvxpy; "
        "print(time.process_time() - s)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


@cache
def independence() -> Floats:
    """Return nHSIC importances of ResNet-50 with random weights, on random images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(SAMPLES, 3, PIXELS, PIXELS, generator=generator)
    labels = torch.randint(1000, (SAMPLES,), generator=generator)
    task = op.Task(
        network("resnet50"),
        train=(images, labels),
        validation=(images, labels),
        name="random",
        batch_size=32,
    )
    found = Dependence(samples=SAMPLES).measure(task, graph_of("resnet50"))
    return found.importance()


def headline() -> Row:
    """ResNet-50 with 45.3 % fewer MACs: what is to be done after the forward pass."""
    macs = graph_of("resnet50").costs.macs
    importance = independence()
    dependence = min(compared(graph_of("resnet50"), COMPARED) for _ in range(3))
    budget = {"macs": PUBLISHED * macs.dense}
    row: Row = {"import": imported(), "dependence": dependence}
    for step in STEPS:
        options = [np.arange(step, width + 1, step) for width in macs.dense_widths]
        started = time.process_time()
        program = Program({"macs": macs}, importance, lower=[widths[0] for widths in options])
        program.solve(budget)
        relaxed = time.process_time()
        found = allocate(program, budget, options)
        row[str(step)] = {
            "program": relaxed - started,
            "integer": time.process_time() - relaxed,
            "gap": found.gap / abs(found.objective),
            "excess": excess(macs, found.widths, budget["macs"]),
        }
    return row


def projected(macs: CostPolynomial, budget: float) -> Floats:
    """Return the widths within a budget that are nearest to the dense ones, as ratios, by SLSQP."""
    dense = macs.dense_widths.astype(np.float64)

    def room_slope(x: Floats) -> Floats:
        return -macs.shares(dense * x) * float(macs(dense * x)[0]) / x / budget

    ratios, converged = slsqp(
        lambda x: float(((1 - x) ** 2).sum()),
        lambda x: 2 * (x - 1),
        lambda x: 1 - float(macs(dense * x)[0]) / budget,
        room_slope,
        [(1 / width, 1.0) for width in dense],
        np.ones(len(dense)),
    )
    if not converged:
        raise SystemExit("SLSQP did not find the projection")
    return exact(macs, budget, dense * ratios)


def uniform(macs: CostPolynomial, budget: float) -> Floats:
    """Return widths that are all the same share of the dense ones."""
    ratio = brentq(lambda r: float(macs(r * macs.dense_widths)[0]) - budget, 1e-3, 1.0)
    return np.asarray(ratio * macs.dense_widths, dtype=np.float64)


def stages(taste: str) -> Row:
    """ResNet-50 with 45.3 % fewer MACs: what is left of every stage."""
    graph = graph_of("resnet50")
    macs = graph.costs.macs
    dense = macs.dense_widths
    budget = {"macs": PUBLISHED * macs.dense}
    row: Row = {}
    if taste == "uniform":
        widths = uniform(macs, budget["macs"])
    elif taste == "projection":
        widths = projected(macs, budget["macs"])
    elif taste == "linear":
        found = SignomialProgram({"macs": macs}, independence()).solve(budget)
        widths = found.widths
        at = (np.log(widths) < 1e-4) | (np.log(dense / widths) < 1e-4)
        row = {
            "bound": int(at.sum()),
            "least": int((np.log(widths) < 1e-4).sum()),
            "gap": found.gap / found.bound,
            "kkt": found.kkt,
        }
    else:
        importance = independence() if taste == "hsic" else np.ones(len(dense))
        widths = Program({"macs": macs}, importance).solve(budget).widths
        row = {"importance": [float(importance.min()), float(importance.max())]}
    ratios = widths / dense
    names = [group.name.split(".")[0] for group in graph.groups]
    stage_of = np.array([name if name in STAGES else "stem" for name in names])
    return {
        **row,
        "groups": len(dense),
        "macs": float(macs(widths)[0]) / macs.dense,
        "ratios": {stage: float(ratios[stage_of == stage].mean()) for stage in STAGES},
        "narrowest": float(ratios.min()),
        "mean": float(ratios.mean()),
    }


ROWS: dict[str, Callable[[], Row]] = {
    **{f"program/{n}": partial(programmed, n) for n in INSTANCES},
    **{f"integer/{n}": partial(whole, n) for n in INSTANCES},
    **{f"slsqp/{n}": partial(rivalled, n) for n in INSTANCES},
    "headline": headline,
    **{f"stages/{taste}": partial(stages, taste) for taste in TASTES.values()},
}


def milliseconds(seconds: Sequence[float]) -> str:
    """Write the median of times in milliseconds."""
    return f"{1000 * float(np.median(seconds)):.0f}"


def small(value: float) -> str:
    """Write a small number; none at all as 0."""
    return f"{value:.0e}" if value else "0"


def transposed(
    title: str,
    found: Sequence[Row | None],
    lines: Sequence[tuple[str, Callable[[Row], str]]],
) -> str:
    """Write a table with a column for each instance."""
    if not any(found):
        return ""
    body = [[name, *("" if row is None else cell(row) for row in found)] for name, cell in lines]
    return markdown([title, *INSTANCES], body)


def programs(rows: dict[str, Row]) -> str:
    """Times and certificates of the convex program."""
    return transposed(
        "convex program, log x",
        [rows.get(f"program/{n}") for n in INSTANCES],
        [
            ("groups", lambda r: str(r["groups"])),
            ("monomials of the MACs", lambda r: str(r["monomials"])),
            ("first solve, ms", lambda r: milliseconds([r["first"]])),
            ("another budget, ms: median of 50", lambda r: milliseconds(r["seconds"])),
            (
                "… slowest (asked: ≤ 50 up to 60 groups, ≤ 500 at 500)",
                lambda r: milliseconds([max(r["seconds"])]),
            ),
            ("KKT residual, largest (asked: ≤ 1e-4)", lambda r: small(r["kkt"])),
            ("certified gap / utility, largest", lambda r: small(r["gap"])),
            ("over the budget, largest, relative (asked: ≤ 0)", lambda r: small(r["excess"])),
            ("… before it is pulled back", lambda r: small(r["overshoot"])),
            ("inaccurate by the solver's word, of 50", lambda r: str(r["inaccurate"])),
            (
                "a larger budget narrows a group by, of dense, at most",
                lambda r: small(r["shrinks"]),
            ),
            ("importance × 1e-8 moves a width by, units", lambda r: small(r["scaled"])),
        ],
    )


def rivals(rows: dict[str, Row]) -> str:
    """SLSQP beside the convex program."""
    return transposed(
        f"SLSQP, {STARTS} starts, 50 % of the MACs",
        [rows.get(f"slsqp/{n}") for n in INSTANCES],
        [
            ("says that it converged", lambda r: str(r["converged"])),
            ("ended within 1e-6 of the budget", lambda r: str(r["feasible"])),
            ("… within 1e-6 of its best utility", lambda r: str(r["near"])),
            (
                "optprune's utility less its best, relative (asked: ≥ 0)",
                lambda r: f"{(r['own'] - r['best']) / abs(r['best']):+.0e}",
            ),
            (
                "… less its worst",
                lambda r: f"{(r['own'] - r['worst']) / abs(r['best']):+.0e}",
            ),
            ("a start, ms: median", lambda r: milliseconds(r["seconds"])),
            ("all starts, s", lambda r: f"{sum(r['seconds']):.1f}"),
            ("importance × 1e-8 moves a width by, units", lambda r: f"{r['scaled']:.0f}"),
        ],
    )


def integers(rows: dict[str, Row], step: int) -> str:
    """Times and gaps of integer widths."""

    def cell(name: str, text: str) -> Callable[[Row], str]:
        return lambda row: text.format(row[str(step)][name])

    return transposed(
        f"integer widths, step {step}, 50 % of the MACs",
        [rows.get(f"integer/{n}") for n in INSTANCES],
        [
            ("seconds", cell("seconds", "{:.2f}")),
            ("certified gap / utility", cell("gap", "{:.4%}")),
            ("over the budget, relative (asked: ≤ 0)", cell("excess", "{:.0e}")),
        ],
    )


def times(rows: dict[str, Row]) -> str:
    """ResNet-50 as published: seconds after the forward pass."""
    row = rows.get("headline")
    if row is None:
        return ""
    header = ["ResNet-50, 45.3 % fewer MACs, seconds after the forward pass", "step 1", "step 8"]
    steps = [row[str(step)] for step in STEPS]
    totals = [row["dependence"] + step["program"] + step["integer"] for step in steps]
    return markdown(
        header,
        [
            [f"dependence of 37 groups, {COMPARED} samples", *[f"{row['dependence']:.2f}"] * 2],
            ["convex program", *(f"{step['program']:.2f}" for step in steps)],
            ["integer widths", *(f"{step['integer']:.2f}" for step in steps)],
            ["together (asked: < 2)", *(f"{total:.2f}" for total in totals)],
            ["certified gap / utility", *(f"{step['gap']:.4%}" for step in steps)],
            ["once a process: importing cvxpy", *[f"{row['import']:.2f}"] * 2],
        ],
    )


def kept(rows: dict[str, Row]) -> str:
    """ResNet-50 as published: keep-ratios by stage."""
    header = ["mean keep-ratio at 54.7 % of the MACs", *STAGES, "narrowest", "MACs"]
    lines = []
    for name, taste in TASTES.items():
        row = rows.get(f"stages/{taste}")
        if row is not None:
            cells = [*row["ratios"].values(), row["narrowest"]]
            lines.append([name, *(f"{cell:.2f}" for cell in cells), f"{row['macs']:.1%}"])
    if not lines:
        return ""
    said = []
    if "stages/linear" in rows:
        row = rows["stages/linear"]
        said.append(
            f"The linear objective leaves {row['bound']} of {row['groups']} widths at a bound, "
            f"{row['least']} of them at one unit; no widths have a sum that is more than "
            f"{row['gap']:.2%} larger."
        )
    if "stages/hsic" in rows:
        low, high = rows["stages/hsic"]["importance"]
        said.append(f"The nHSIC importances lie between {low:.2f} and {high:.2f}.")
    return "\n\n".join(filter(None, [markdown(header, lines), " ".join(said)]))


def main() -> None:
    """Measure what is missing, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="ROW", help="names, or how they begin")
    parser.add_argument("--again", action="store_true", help="measure rows that are there again")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [name for name in ROWS if name.startswith(tuple(options.only or [""]))]
    console = Console()
    for name in [] if options.show else chosen:
        known = read_json("allocation").get("rows", {})
        if name in known and not options.again:
            continue
        with console.status(name):
            row = ROWS[name]()
        found = {**known, name: row}
        write_json("allocation", {"environment": environment(PACKAGES), "rows": found})
    found = read_json("allocation")
    rows = found["rows"]
    tables = [programs(rows), rivals(rows), *(integers(rows, step) for step in STEPS)]
    text = "\n\n".join(filter(None, [*tables, times(rows), kept(rows)]))
    console.print(Markdown(text))
    said = measured_with(found["environment"])
    write_section(HERE / "README.md", "allocation", f"{text}\n\n{said}")


if __name__ == "__main__":
    main()
