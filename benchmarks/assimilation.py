"""Training without gradients: what data assimilation reaches, and what it costs.

Run ``make benchmark`` or ``python benchmarks/assimilation.py``; ``--only`` runs some. Seconds of
one processor. Networks start from the same weights for every method; nothing is chosen by the test
split. A row that is there already is not measured again without ``--again``, so that an
interrupted run goes on. Writes ``benchmarks/results/assimilation.json`` and the tables in
``benchmarks/README.md``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import assimilation_learning
import assimilation_repair
import assimilation_scale
import numpy as np
import torch
from reporting import markdown, read_json
from rows import Row, measure_rows
from scipy.optimize import least_squares
from torch import nn
from torch.func import functional_call, grad, vmap

import optprune as op
from optprune.losses import r2, rmse
from optprune.meter import Meter
from optprune.surgery.calling import call, input_tensors
from optprune.training import EKI, ESMDA, EnKF
from optprune.training.assimilation import Gaussian

PACKAGES = ("optprune", "torch", "filterpy", "cma", "numpy", "scipy")
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

LEAST_SQUARES = {"Levenberg-Marquardt, 100 evaluations": 100}
"""How often the residuals are evaluated."""


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


def levenberg_marquardt(task: op.Task, network: nn.Module, evaluations: int) -> None:
    """Minimize the squared error on all data by the Levenberg-Marquardt method of SciPy.

    Residuals and Jacobian are those of the network in float64, which SciPy computes in: in float32
    their rounding would end the descent early. The weights are rounded once, at the end.
    """
    assert task.train is not None
    (inputs,) = (tensor.double() for tensor in input_tensors(task.train.inputs))
    targets = task.train.labels.double()
    start = {name: p.detach().double() for name, p in network.named_parameters()}
    sizes = [value.numel() for value in start.values()]

    def named(weights: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = weights.split(sizes)
        return {
            name: part.view_as(value)
            for (name, value), part in zip(start.items(), parts, strict=True)
        }

    def output(weights: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = functional_call(network, named(weights), (sample,))
        return found.squeeze()

    def residuals(weights: np.ndarray) -> np.ndarray:
        found = functional_call(network, named(torch.from_numpy(weights)), (inputs,))
        return (found - targets).flatten().numpy()

    # An output depends on its own sample alone: a row of the Jacobian is one gradient.
    rows = vmap(grad(output), in_dims=(None, 0))

    def jacobian(weights: np.ndarray) -> np.ndarray:
        return rows(torch.from_numpy(weights), inputs).numpy()

    with torch.no_grad():
        first = torch.cat([value.flatten() for value in start.values()]).numpy()
        found = least_squares(residuals, first, jac=jacobian, method="lm", max_nfev=evaluations)
        fitted = named(torch.from_numpy(found.x))
        for name, parameter in network.named_parameters():
            parameter.copy_(fitted[name])


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
        elif method in LEAST_SQUARES:
            levenberg_marquardt(task, network, LEAST_SQUARES[method])
        else:
            make, epochs = GRADIENT[method]
            endless = 10**9 if equal else epochs
            minimized(task, network, make(network), endless, seconds)
        found["seconds"].append(time.process_time() - started)
        outputs = task.predict(network, test)
        found["rmse"].append(rmse(outputs, test.labels))
        found["r2"].append(r2(outputs, test.labels))
    return found


ROWS: dict[str, Callable[[], Row]] = {
    **{
        f"regression/{f}/{m}": partial(regression, f, m, False)
        for f in FUNCTIONS
        for m in (*TRAINERS, *GRADIENT, *LEAST_SQUARES)
    },
    **{
        f"equal/{f}/{m}": partial(regression, f, m, True)
        for f in FUNCTIONS
        for m in GRADIENT
        if "L-BFGS" not in m
    },
    **assimilation_learning.ROWS,
    **assimilation_repair.ROWS,
    **assimilation_scale.ROWS,
}


def fitted(rows: dict[str, Row]) -> str:
    """Write the table of the curves."""
    header = ["1-20-1 network, median of 10 starts", *(
        f"{f.replace('_', ' ')}: {what}" for f in FUNCTIONS for what in ("RMSE", "R²", "seconds")
    )]  # fmt: skip
    lines = []
    names = [("regression", m, m) for m in (*TRAINERS, *GRADIENT, *LEAST_SQUARES)] + [
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
                    f"{middle['rmse']:{'.4f' if middle['rmse'] >= 1e-4 else '.1e'}}",
                    f"{middle['r2']:.5f}",
                    f"{middle['seconds']:.2f}",
                ]
            lines.append(line)
    asked = " and ".join(f"{v:.3f} ({f.replace('_', ' ')})" for f, v in ESMDA_RMSE.items())
    table = markdown(header, lines)
    return f"{table}\n\nAsked of ESMDA with 100 members: RMSE at most {asked}."


def report(rows: dict[str, Row]) -> str:
    """Write all tables."""
    parts = (assimilation_learning, assimilation_repair, assimilation_scale)
    return "\n\n".join(filter(None, [fitted(rows), *(part.table(rows) for part in parts)]))


def main() -> None:
    """Measure what is missing, print, and write."""
    measure_rows("assimilation", __doc__.splitlines()[0], ROWS, PACKAGES, report)


if __name__ == "__main__":
    main()
