"""Published claims about pruning with compensation, tried on Fashion-MNIST.

Run ``make benchmark`` or ``python benchmarks/claims.py``; ``--only`` runs some. Test accuracies of
networks that nothing was chosen by; seconds of one processor. A row that is there already is not
measured again without ``--again``, so that an interrupted run goes on. Writes
``benchmarks/results/claims.json`` and the tables in ``benchmarks/README.md``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from cases import SAMPLES, case, posed, recovered, scored, share, tested
from reporting import markdown
from rows import Row, measure_rows
from scipy.stats import spearmanr
from torch import nn

import optprune as op
from optprune.meter import Meter
from optprune.optimizers.selector import Selector
from optprune.recovery import Recovery, RecoveryContext, Shared
from optprune.surgery import Structure

NETWORKS = ("vgg", "resnet20", "mobilenet")
PACKAGES = ("optprune", "torch", "numpy")
RETRAINING = op.training.SGD(epochs=20, batch_size=128, lr=0.02, weight_decay=5e-4)
SHORT = op.training.SGD(epochs=2, batch_size=128, lr=0.005, weight_decay=5e-4)
TAUGHT = op.training.Distillation(
    trainer=op.training.SGD(epochs=30, batch_size=128, lr=0.05, weight_decay=5e-4), cache=True
)
SPEEDUPS = (2, 4, 5)
SCORED = 1000
"""Validation images that a search scores."""

RECOVERIES: dict[str, Recovery] = {
    "Nothing": op.recovery.Nothing(),
    "BatchNorm": op.recovery.BatchNorm(),
    "LeastSquares symmetric": op.recovery.LeastSquares("symmetric"),
    "LeastSquares symmetric, BatchNorm": op.recovery.Pipeline(
        (op.recovery.LeastSquares("symmetric"), op.recovery.BatchNorm())
    ),
    "LeastSquares": op.recovery.LeastSquares(),
}


def described(problem: op.Problem, structure: Structure, network: nn.Module) -> Row:
    """Say what came out: accuracies on the test split, and costs as fractions."""
    return {
        "accuracy": tested(problem.task, network),
        "dense": tested(problem.task, problem.task.network),
        "macs": share(problem, structure),
        "parameters": share(problem, structure, "parameters"),
    }


def train_images(task: op.Task) -> int:
    """Count the images of the train split."""
    assert task.train is not None
    return len(task.train)


def retrained(network: str) -> Row:
    """Half of the MACs by L1 and uniform widths, then 20 epochs on all training images."""
    problem = posed(case(network, 0), op.scores.L1())
    started = time.process_time()
    structure = problem.uniform(op.metrics.macs <= 0.5)
    small = recovered(problem, structure, op.recovery.FineTune(RETRAINING))
    seconds = time.process_time() - started
    images = train_images(problem.task)
    return {"seconds": seconds, "images": images, **described(problem, structure, small)}


def searched(network: str, metric: op.Metric) -> Row:
    """Binary structural search to half of the MACs, with compensation; then a last fit."""
    agreeing = metric is op.metrics.divergence  # which needs the calibration split alone
    task = case(network, 0) if agreeing else scored(case(network, 0), SCORED)
    graph = op.trace(task.network, task.example)
    started = time.process_time()
    problem = op.Problem(
        task,
        space=op.Widths(score=op.scores.Compensation()),
        recovery=op.recovery.LeastSquares("symmetric"),
        objectives=[metric, op.metrics.macs],
        graph=graph,
    )
    search = op.optimizers.BinaryStructuralSearch(macs=0.5, steps=4, sweeps=4)
    result = op.solve(problem, search, evaluations=10_000, progress=False)
    structure = result.select(op.metrics.macs <= 0.5).structure
    small = recovered(problem, structure, op.recovery.LeastSquares())
    seconds = time.process_time() - started
    return {
        "seconds": seconds,
        "images": SAMPLES if agreeing else SAMPLES + SCORED,
        "evaluations": len(result.rows),
        **described(problem, structure, small),
    }


HALF = (0.5,)
SELECTORS: dict[str, Selector] = {
    "calibrated": op.optimizers.TableAllocation(HALF, calibration=op.optimizers.Calibration()),
    "global": op.optimizers.GlobalSelection(HALF),
}
"""What chooses widths without labels; the first evaluates two widths of every group."""


def compensated(network: str, selector: str | None) -> Row:
    """Half of the MACs with compensation: widths by a selector, or uniform ones."""
    task = case(network, 0)
    problem = op.Problem(
        task,
        space=op.Widths(score=op.scores.Compensation()),
        recovery=op.recovery.LeastSquares(),
        objectives=[op.metrics.divergence, op.metrics.macs],
    )
    started = time.process_time()
    if selector is None:
        structure = problem.uniform(op.metrics.macs <= 0.5)
    else:
        structure = SELECTORS[selector].select(problem)[0.5]
    small = recovered(problem, structure, op.recovery.LeastSquares())
    seconds = time.process_time() - started
    return {"seconds": seconds, "images": SAMPLES, **described(problem, structure, small)}


def faster(speedup: int, compensating: bool, tuned: bool) -> Row:
    """VGG with fewer MACs and uniform widths: LASSO and least squares, or L1 alone."""
    score: op.scores.Score = op.scores.Lasso() if compensating else op.scores.L1()
    problem = posed(case("vgg", 0), score)
    structure = problem.uniform(op.metrics.macs <= 1 / speedup)
    steps: list[Recovery] = [op.recovery.LeastSquares()] if compensating else []
    if tuned:
        steps.append(op.recovery.FineTune(SHORT))
    recovery = op.recovery.Pipeline(tuple(steps)) if steps else op.recovery.Nothing()
    return described(problem, structure, recovered(problem, structure, recovery))


def distilled() -> Row:
    """VGG with an eighth of the parameters and a third of the MACs, taught by the dense one."""
    problem = op.Problem(
        case("vgg", 0),
        space=op.Widths(score=op.scores.Compensation()),
        objectives=[op.metrics.error],
        subject_to=[op.metrics.parameters <= 1 / 8],
    )
    structure = op.optimizers.CompensationAllocation((1 / 3,)).select(problem)[1 / 3]
    recovery = op.recovery.Pipeline((op.recovery.LeastSquares(), op.recovery.FineTune(TAUGHT)))
    small = recovered(problem, structure, recovery)
    task = problem.task
    split = task.test_split()
    right = [
        (task.predict(network, split).argmax(1) == split.labels).double()
        for network in (small, task.network)
    ]
    difference = right[0] - right[1]
    error = float(difference.std()) / len(difference) ** 0.5
    mean = float(difference.mean())
    return {
        **described(problem, structure, small),
        "difference": mean,
        "interval": [mean - 1.96 * error, mean + 1.96 * error],
    }


def gradual(network: str, rounds: int) -> Row:
    """A fifth of the MACs, uniform widths: in rounds, or at once."""
    task = case(network, 0)
    problem = op.Problem(
        task,
        space=op.Widths(score=op.scores.Compensation()),
        recovery=op.recovery.LeastSquares(),
        objectives=[op.metrics.loss, op.metrics.macs],
    )
    started = time.process_time()
    optimizer = op.optimizers.Rounds(rounds, macs=0.2)
    result = op.solve(problem, optimizer, evaluations=50, progress=False)
    seconds = time.process_time() - started
    last = result.select(op.metrics.macs <= float(result.log["macs"].min()))
    return {"seconds": seconds, **described(problem, last.structure, last.network())}


def rate(network: str, name: str) -> Row:
    """Seconds of a candidate in a search, of random widths."""
    problem = op.Problem(
        scored(case(network, 0), SCORED), recovery=RECOVERIES[name], objectives=[op.metrics.error]
    )
    generator = np.random.default_rng(0)
    structures = problem.bound_space.decode(problem.bound_space.sample(generator, 9))
    problem.evaluate(structures[0])  # what is made once for all
    started = time.process_time()
    for structure in structures[1:]:
        problem.evaluate(structure)
    return {"seconds": (time.process_time() - started) / (len(structures) - 1)}


def speed(network: str) -> Row:
    """Seconds of a fit at half widths, beside those of forward passes of the same images."""
    problem = posed(case(network, 0), op.scores.L1())
    task, graph = problem.task, problem.graph
    structure = problem.bound_space.decode(problem.bound_space.uniform(0.5))[0]
    small = op.cut(task.network, graph, structure)
    assert task.calibration is not None
    split = task.calibration

    def median(work: Callable[[], object]) -> float:
        taken = []
        for _ in range(3):
            started = time.process_time()
            work()
            taken.append(time.process_time() - started)
        return sorted(taken)[1]

    shared = Shared()

    def fit(statistics: Literal["asymmetric", "symmetric"]) -> None:
        made = op.cut(task.network, graph, structure)
        # what is made once for all candidates is there; what the last one left is not
        once = Shared(_made={k: v for k, v in shared._made.items() if k[0] != "fits"})
        op.recovery.LeastSquares(statistics).recover(
            made, RecoveryContext(task, graph, structure, 0, Meter(), once)
        )
        shared._made.update(once._made)

    for statistics in ("asymmetric", "symmetric"):
        fit(statistics)
    return {
        "dense": median(lambda: task.predict(task.network, split)),
        "small": median(lambda: task.predict(small, split)),
        "symmetric": median(lambda: fit("symmetric")),
        "asymmetric": median(lambda: fit("asymmetric")),
    }


def agreement() -> Row:
    """Rank correlation of Taylor with leaving one out, pooled over the layers of VGG."""
    task = case("vgg", 0)
    graph = op.trace(task.network, task.example)
    context = op.scores.ScoreContext(task)
    oracle = op.scores.Oracle(samples=256)(task.network, graph, context)
    taylor = op.scores.Taylor()(task.network, graph, context)
    return {"spearman": float(spearmanr(taylor, oracle).statistic), "units": graph.n_units}


ROWS: dict[str, Callable[[], Row]] = {
    **{f"rate/{n}/{name}": partial(rate, n, name) for n in NETWORKS for name in RECOVERIES},
    **{f"speed/{n}": partial(speed, n) for n in NETWORKS},
    **{f"searched/{n}": partial(searched, n, op.metrics.loss) for n in ("vgg", "resnet20")},
    **{f"agreeing/{n}": partial(searched, n, op.metrics.divergence) for n in ("vgg", "resnet20")},
    **{f"{s}/{n}": partial(compensated, n, s) for s in SELECTORS for n in ("vgg", "resnet20")},
    **{f"uniform/{n}": partial(compensated, n, None) for n in ("vgg", "resnet20")},
    **{f"rounds/{n}/{r}": partial(gradual, n, r) for n in NETWORKS for r in (1, 5)},
    **{
        f"faster/{s}/{score}/{state}": partial(faster, s, score == "LASSO", state == "tuned")
        for s in SPEEDUPS
        for score in ("L1", "LASSO")
        for state in ("cut", "tuned")
    },
    "taylor/vgg": agreement,
    "distilled": distilled,
    **{f"retrained/{n}": partial(retrained, n) for n in ("vgg", "resnet20")},
}


def rates(rows: dict[str, Row]) -> str:
    """Candidates a minute in a search."""
    header = ["candidates a minute on two cores", *NETWORKS]
    lines = []
    for name in RECOVERIES:
        cells = [rows.get(f"rate/{n}/{name}") for n in NETWORKS]
        lines.append([name, *("" if c is None else f"{120 / c['seconds']:.0f}" for c in cells)])
    return markdown(header, lines)


def speeds(rows: dict[str, Row]) -> str:
    """A fit against forward passes."""
    header = ["seconds at half widths, 1,024 images", *NETWORKS]
    cells = [rows.get(f"speed/{n}") for n in NETWORKS]
    if not all(cells):
        return ""
    found = [cell for cell in cells if cell]
    both = [row["dense"] + row["small"] for row in found]
    return markdown(
        header,
        [
            ["forward pass, dense", *(f"{row['dense']:.2f}" for row in found)],
            ["forward passes, dense and small", *(f"{passes:.2f}" for passes in both)],
            ["symmetric fit", *(f"{row['symmetric']:.2f}" for row in found)],
            [
                "… of the dense pass (asked: < 1)",
                *(f"{row['symmetric'] / row['dense']:.2f}" for row in found),
            ],
            ["asymmetric fit", *(f"{row['asymmetric']:.2f}" for row in found)],
            [
                "… of both passes (asked: ≤ 3)",
                *(f"{r['asymmetric'] / p:.2f}" for r, p in zip(found, both, strict=True)),
            ],
        ],
    )


def against_retraining(rows: dict[str, Row]) -> str:
    """What Xie et al. claim."""
    header = ["at half of the MACs", "accuracy", "lost", "seconds", "of retraining", "images",
              "of retraining"]  # fmt: skip
    words = {
        "retrained": "L1, uniform widths, 20 epochs on all images",
        "searched": "binary structural search by the loss, compensation",
        "agreeing": "binary structural search by the divergence from dense, compensation",
        "calibrated": "calibrated tables, compensation",
        "global": "global selection, compensation",
        "uniform": "uniform widths, compensation",
    }
    lines = []
    for network in ("vgg", "resnet20"):
        base = rows.get(f"retrained/{network}")
        for name, said in words.items():
            row = rows.get(f"{name}/{network}")
            if row is not None:
                of = [
                    "" if base is None else f"{row[key] / base[key]:.1%}"
                    for key in ("seconds", "images")
                ]
                lines.append(
                    [f"{network}: {said}", f"{row['accuracy']:.2%}",
                     f"{100 * (row['dense'] - row['accuracy']):.2f}", f"{row['seconds']:.0f}",
                     of[0], f"{row['images']:,}", of[1]]
                )  # fmt: skip
    return markdown(header, lines)


def speedups(rows: dict[str, Row]) -> str:
    """What He et al. claim."""
    header = ["VGG, points lost", *(f"{s}× fewer MACs" for s in SPEEDUPS)]
    words = {
        "L1/cut": "L1",
        "LASSO/cut": "LASSO, LeastSquares",
        "L1/tuned": "L1, two epochs",
        "LASSO/tuned": "LASSO, LeastSquares, two epochs",
    }
    lines = []
    for name, said in words.items():
        cells = [rows.get(f"faster/{s}/{name}") for s in SPEEDUPS]
        if all(cells):
            lines.append([said, *(f"{100 * (c['dense'] - c['accuracy']):.2f}" for c in cells if c)])
    return markdown(header, lines) if lines else ""


def taught(rows: dict[str, Row]) -> str:
    """What Hu et al. claim."""
    if "distilled" not in rows:
        return ""
    row = rows["distilled"]
    low, high = row["interval"]
    return (
        f"VGG with {1 / row['parameters']:.1f}× fewer parameters and {1 / row['macs']:.1f}× fewer "
        f"MACs after distillation: {row['accuracy']:.2%}, dense {row['dense']:.2%}; paired on the "
        f"test images, the difference is {100 * row['difference']:+.2f} points (95 % interval "
        f"{100 * low:+.2f} to {100 * high:+.2f})."
    )


def ranked(rows: dict[str, Row]) -> str:
    """What Molchanov et al. claim."""
    row = rows.get("taylor/vgg")
    if row is None:
        return ""
    return (
        f"Taylor and leaving one out: Spearman correlation {row['spearman']:.3f} over the "
        f"{row['units']} units of VGG (asked: ≥ 0.9)."
    )


def in_rounds(rows: dict[str, Row]) -> str:
    """Gradual pruning beside one shot."""
    header = ["a fifth of the MACs, points lost", *NETWORKS]
    if not any(name.startswith("rounds/") for name in rows):
        return ""
    lines = []
    for rounds, said in ((1, "at once"), (5, "in five rounds")):
        cells = [rows.get(f"rounds/{n}/{rounds}") for n in NETWORKS]
        shown = [
            "" if c is None else f"{100 * (c['dense'] - c['accuracy']):.2f} ({c['seconds']:.0f} s)"
            for c in cells
        ]
        lines.append([said, *shown])
    return markdown(header, lines)


def report(rows: dict[str, Row]) -> str:
    """Write all tables."""
    parts = (speeds, rates, against_retraining, speedups, taught, ranked, in_rounds)
    return "\n\n".join(filter(None, (part(rows) for part in parts)))


def main() -> None:
    """Measure what is missing, print, and write."""
    measure_rows("claims", __doc__.splitlines()[0], ROWS, PACKAGES, report)


if __name__ == "__main__":
    main()
