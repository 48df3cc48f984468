"""Training without gradients: what data assimilation reaches, and what it costs.

Run ``make benchmark`` or ``python benchmarks/assimilation.py``; ``--only`` runs some. Seconds of
one processor. Networks start from the same weights for every method; nothing is chosen by the test
split. A row that is there already is not measured again without ``--again``, so that an
interrupted run goes on. Writes ``benchmarks/results/assimilation.json`` and the tables in
``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
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
from torch import nn

import optprune as op
from optprune.losses import accuracy, r2, rmse
from optprune.meter import Meter
from optprune.surgery.calling import call
from optprune.training import EKI, ESMDA, EnKF
from optprune.training.assimilation import CrossEntropy, Gaussian, OutputBlocks, analysis

Row = dict[str, Any]
PACKAGES = ("optprune", "torch", "filterpy", "numpy")
SEEDS = 10
FUNCTIONS = ("sine", "mexican_hat")
ESMDA_RMSE = {"sine": 0.010, "mexican_hat": 0.018}
"""What is asked of ESMDA with 100 members."""

TRAINERS = {
    "ESMDA": ESMDA(assimilations=100, coefficients="adaptive", observation=Gaussian(0.005)),
    "ESMDA, 20 assimilations": ESMDA(assimilations=20, observation=Gaussian(0.02)),
    "EnKF, one pass": EnKF(observation=Gaussian(0.05)),
    "EKI": EKI(epochs=30, observation=Gaussian(0.01), momentum=0.0),
}
SECONDS = "ESMDA"
"""Whose seconds the gradient methods get in their second row."""


def descent(network: nn.Module, lr: float, momentum: float = 0.0) -> torch.optim.Optimizer:
    """Return gradient descent on all data."""
    return torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum)


GRADIENT: dict[str, tuple[Callable[[nn.Module], torch.optim.Optimizer], int]] = {
    "gradient descent, 1,000 epochs": (partial(descent, lr=0.05), 1000),
    "momentum, 5,000 epochs": (partial(descent, lr=0.05, momentum=0.9), 5000),
    "Adam, 5,000 epochs": (lambda network: torch.optim.Adam(network.parameters(), lr=0.01), 5000),
    "L-BFGS, 500 steps": (
        lambda network: torch.optim.LBFGS(
            network.parameters(), lr=1, max_iter=500, history_size=20, line_search_fn="strong_wolfe"
        ),
        1,
    ),
}
"""Optimizers and their epochs."""


def minimized(
    task: op.Task,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    seconds: float | None,
) -> None:
    """Minimize the squared error on all data by a torch optimizer."""
    assert task.train is not None
    inputs, targets = task.train.inputs, task.train.labels

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = nn.functional.mse_loss(call(network, inputs), targets)
        value.backward()
        return value

    started = time.process_time()
    for _ in range(epochs):
        if seconds is not None and time.process_time() - started >= seconds:
            return
        optimizer.step(closure)


def regression(function: str, method: str, equal: bool) -> Row:
    """Fit a 1-20-1 network to noise-free data from ten starts."""
    task = op.problems.regression.task(function, trained=False)
    test = task.test_split()
    seconds = None
    if equal:
        seconds = statistics.median(
            read_json("assimilation")["rows"][f"regression/{function}/{SECONDS}"]["seconds"]
        )
    found: Row = {"rmse": [], "r2": [], "seconds": []}
    for seed in range(SEEDS):
        network = op.problems.regression.network(seed=seed)
        started = time.process_time()
        if method in TRAINERS:
            assert task.train is not None
            TRAINERS[method].fit(
                network, task.train, loss=task.loss, outputs=call, seed=seed, meter=Meter()
            )
        else:
            make, epochs = GRADIENT[method]
            endless = 10**9 if equal else epochs
            minimized(task, network, make(network), endless, seconds)
        found["seconds"].append(time.process_time() - started)
        outputs = task.predict(network, test)
        found["rmse"].append(rmse(outputs, test.labels))
        found["r2"].append(r2(outputs, test.labels))
    return found


def perceptron(seed: int, inputs: int = 64, hidden: int = 32) -> nn.Module:
    """Return a network with one hidden layer, from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, 10)
        ).eval()


DIGITS: dict[str, Any] = {
    "EKI, cross-entropy": EKI(observation=CrossEntropy(), batch_size=256, epochs=50, momentum=0.8),
    "ESMDA": ESMDA(members=300, assimilations=10, observation=Gaussian(0.5)),
    "ESMDA, blocks of outputs": ESMDA(
        members=300, assimilations=10, observation=Gaussian(0.5), localization=OutputBlocks()
    ),
    "Adam": None,
}
"""How the digits are learned; Adam by gradients."""


def digits(method: str) -> Row:
    """Train a 64-32-10 network from scratch, all layers, five seeds."""
    task = op.problems.digits.task()
    assert task.train is not None
    test = task.test_split()
    found: Row = {"accuracy": [], "validation": [], "seconds": [], "forward": []}
    for seed in range(5):
        network, meter = perceptron(seed), Meter()
        started = time.process_time()
        if DIGITS[method] is None:
            order = torch.Generator().manual_seed(seed)
            optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, weight_decay=1e-4)
            for _ in range(60):
                for inputs, targets in task.train.batches(64, generator=order):
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(call(network, inputs), targets).backward()
                    optimizer.step()
                    meter.forward(len(targets))
        else:
            DIGITS[method].fit(
                network, task.train, loss=task.loss, outputs=call, seed=seed, meter=meter
            )
        found["seconds"].append(time.process_time() - started)
        found["forward"].append(meter.forward_samples)
        for name, split in (("accuracy", test), ("validation", task.validation)):
            found[name].append(accuracy(task.predict(network, split), split.labels))
    return found


def ridge() -> Row:
    """Fit the last layer alone, by ridge regression on the same random hidden layer."""
    task = op.problems.digits.task()
    assert task.train is not None
    test = task.test_split()
    found: Row = {"accuracy": [], "validation": [], "seconds": [], "forward": []}
    for seed in range(5):
        hidden = perceptron(seed)[:3]  # type: ignore[index]
        started = time.process_time()
        with torch.no_grad():
            features, valid, tested = (
                torch.cat([f := call(hidden, s.inputs), torch.ones(len(f), 1)], 1).double()
                for s in (task.train, task.validation, test)
            )
        wanted = nn.functional.one_hot(task.train.labels, 10).double()
        gram, eye = features.T @ features, torch.eye(features.shape[1], dtype=torch.float64)
        fits = [torch.linalg.solve(gram + w * eye, features.T @ wanted) for w in (0.01, 0.1, 1, 10)]
        best = max(fits, key=lambda fit: accuracy(valid @ fit, task.validation.labels))
        found["seconds"].append(time.process_time() - started)
        found["forward"].append(len(features))
        found["accuracy"].append(accuracy(tested @ best, test.labels))
        found["validation"].append(accuracy(valid @ best, task.validation.labels))
    return found


def scale(parameters: int) -> Row:
    """One analysis of 100 members and 1,000 observations, beside its bare products."""
    generator = torch.Generator().manual_seed(0)
    members = torch.randn(100, parameters, generator=generator)
    predictions = torch.randn(100, 1000, generator=generator)
    observed = torch.randn(1000, generator=generator)
    matrix = torch.randn(100, 100, generator=generator)

    def timed(work: Callable[[], object]) -> float:
        taken = []
        for _ in range(5):
            started = time.process_time()
            work()
            taken.append(time.process_time() - started)
        return statistics.median(taken)

    def bare() -> None:
        predictions @ predictions.T
        predictions @ predictions.T
        matrix @ members

    return {
        "analysis": timed(
            lambda: analysis(members, predictions, observed, 1.0, generator=generator, out=members)
        ),
        "bare": timed(bare),
    }


def by_filterpy(parameters: int) -> Row:
    """The same by filterpy's filter, up to what it bears."""
    import numpy as np
    from filterpy.kalman import EnsembleKalmanFilter

    draw = np.random.default_rng(0)
    rows = iter(draw.standard_normal((100, 1000)))
    started = time.process_time()
    engine = EnsembleKalmanFilter(
        x=np.zeros(parameters),
        P=np.eye(parameters),
        dim_z=1000,
        dt=1.0,
        N=100,
        hx=lambda _: next(rows),
        fx=lambda x, _: x,
    )
    made = time.process_time() - started
    started = time.process_time()
    engine.update(np.zeros(1000), np.eye(1000))
    return {"made": made, "update": time.process_time() - started}


SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
ROWS: dict[str, Callable[[], Row]] = {
    **{
        f"regression/{f}/{m}": partial(regression, f, m, False)
        for f in FUNCTIONS
        for m in (*TRAINERS, *GRADIENT)
    },
    **{
        f"equal/{f}/{m}": partial(regression, f, m, True)
        for f in FUNCTIONS
        for m in GRADIENT
        if "L-BFGS" not in m
    },
    **{f"digits/{m}": partial(digits, m) for m in DIGITS},
    "digits/ridge": ridge,
    **{f"scale/{n}": partial(scale, n) for n in (1000, *SIZES)},
    **{f"filterpy/{n}": partial(by_filterpy, n) for n in (100, 1000)},
}


def fitted(rows: dict[str, Row]) -> str:
    """Write the table of the curves."""
    header = ["1-20-1 network, median of 10 starts", *(
        f"{f.replace('_', ' ')}: {what}" for f in FUNCTIONS for what in ("RMSE", "R²", "seconds")
    )]  # fmt: skip
    lines = []
    names = [("regression", m, m) for m in (*TRAINERS, *GRADIENT)] + [
        ("equal", m, f"{m.partition(',')[0]}, as many seconds as {SECONDS}")
        for m in GRADIENT
        if "L-BFGS" not in m
    ]
    for part, method, said in names:
        cells = [rows.get(f"{part}/{f}/{method}") for f in FUNCTIONS]
        if all(cells):
            line = [said]
            for cell in cells:
                assert cell is not None
                middle = {name: statistics.median(values) for name, values in cell.items()}
                line += [
                    f"{middle['rmse']:.4f}",
                    f"{middle['r2']:.5f}",
                    f"{middle['seconds']:.2f}",
                ]
            lines.append(line)
    asked = " and ".join(f"{v:.3f} ({f.replace('_', ' ')})" for f, v in ESMDA_RMSE.items())
    table = markdown(header, lines)
    return f"{table}\n\nAsked of ESMDA with 100 members: RMSE at most {asked}."


def learned(rows: dict[str, Row]) -> str:
    """Write the table of the digits."""
    header = ["64-32-10 network, digits, five seeds", "test accuracy", "least to greatest",
              "validation", "seconds", "forward samples"]  # fmt: skip
    said = {"ridge": "ridge regression of the last layer on the random hidden layer"}
    lines = []
    for method in (*DIGITS, "ridge"):
        row = rows.get(f"digits/{method}")
        if row is not None:
            lines.append(
                [
                    said.get(method, method),
                    f"{statistics.median(row['accuracy']):.2%}",
                    f"{min(row['accuracy']):.2%} to {max(row['accuracy']):.2%}",
                    f"{statistics.median(row['validation']):.2%}",
                    f"{statistics.median(row['seconds']):.1f}",
                    f"{statistics.median(row['forward']):,.0f}",
                ]
            )
    return markdown(header, lines)


def sized(rows: dict[str, Row]) -> str:
    """Write the table of sizes."""
    header = ["parameters, 100 members, 1,000 observations", "analysis, seconds",
              "bare products, seconds", "ratio", "filterpy: made", "filterpy: update"]  # fmt: skip
    lines = []
    for n in (100, 1000, *SIZES):
        own, theirs = rows.get(f"scale/{n}"), rows.get(f"filterpy/{n}")
        if own is None and theirs is None:
            continue
        lines.append(
            [
                f"{n:,}",
                *(["", "", ""] if own is None else [
                    f"{own['analysis']:.4f}",
                    f"{own['bare']:.4f}",
                    f"{own['analysis'] / own['bare']:.2f}",
                ]),
                *(["", ""] if theirs is None else [
                    f"{theirs['made']:.2f}", f"{theirs['update']:.2f}"
                ]),
            ]
        )  # fmt: skip
    return markdown(header, lines)


def main() -> None:
    """Measure what is missing, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="ROW", help="names, or how they begin")
    parser.add_argument("--again", action="store_true", help="measure rows that are there again")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    chosen = [name for name in ROWS if name.startswith(tuple(options.only or [""]))]
    for name in [] if options.show else chosen:
        if name in read_json("assimilation").get("rows", {}) and not options.again:
            continue
        with console.status(name):
            row = ROWS[name]()
        known = read_json("assimilation").get("rows", {})
        write_json(
            "assimilation", {"environment": environment(PACKAGES), "rows": {**known, name: row}}
        )
    found = read_json("assimilation")
    rows = found["rows"]
    text = "\n\n".join([fitted(rows), learned(rows), sized(rows)])
    console.print(Markdown(text))
    write_section(
        HERE / "README.md", "assimilation", f"{text}\n\n{measured_with(found['environment'])}"
    )


if __name__ == "__main__":
    main()
