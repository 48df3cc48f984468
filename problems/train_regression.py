"""Fit the networks of `optprune.problems.regression` and write their weights.

Run as ``python -m optprune.problems.train_regression [NAME ...]``, by default for both functions.
Validation data decide nothing here but what is printed; test data are read once, at the end.

The train points have no noise, so that a close fit is a good one: L-BFGS on all of them at once, in
float64, on the mean squared error with a little weight decay, which leaves the network room to be
pruned. Weights are written in float32.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from optprune.problems import regression
from optprune.problems.train_fashion import write
from torch import nn

from optprune.losses import mse, r2, rmse
from optprune.split import Split
from optprune.surgery.calling import call, input_tensors

__all__ = ["ITERATIONS", "SEED", "WEIGHT_DECAY", "fit", "main"]

SEED = 0
ITERATIONS = 1000
WEIGHT_DECAY = 1e-6


def fit(
    network: nn.Module,
    data: Split,
    *,
    iterations: int = ITERATIONS,
    weight_decay: float = WEIGHT_DECAY,
) -> nn.Module:
    """Fit a network to all samples at once.

    Parameters
    ----------
    network : nn.Module
        Changed in place; in float32 after it, though it is fitted in float64.
    data : Split
        Inputs and targets.
    iterations : int
        Iterations of L-BFGS, at most.
    weight_decay : float
        Half of it times the squared norm of all parameters is added to the mean squared error.

    Returns
    -------
    nn.Module
        The network.
    """
    network.double()
    (inputs,) = input_tensors(data.inputs)
    x, y = inputs.double(), data.labels.double()
    parameters = list(network.parameters())
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=iterations,
        max_eval=2 * iterations,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        squares = sum((p.square().sum() for p in parameters), start=torch.zeros((), dtype=y.dtype))
        loss = mse(network(x), y) + weight_decay / 2 * squares
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return network.float()


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, print RMSE and R², and write the weights."""
    parser = argparse.ArgumentParser(description="Fit the networks for regression.")
    known = ", ".join(regression.FUNCTIONS)
    parser.add_argument("functions", nargs="*", metavar="NAME", help=f"of {known}; default all")
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--weight-decay", type=float, default=WEIGHT_DECAY)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, help="folder for the weights; default the package's")
    options = parser.parse_args(arguments)
    for name in options.functions:
        if name not in regression.FUNCTIONS:
            parser.error(f"there is no function {name!r}; there are {known}")
    torch.set_num_threads(1)  # sums depend on the number of threads
    for name in options.functions or regression.FUNCTIONS:
        data = regression.splits(name)
        network = fit(
            regression.network(seed=options.seed),
            data["train"],
            iterations=options.iterations,
            weight_decay=options.weight_decay,
        )
        print(f"{name}:")
        with torch.no_grad():
            for part, split in data.items():
                outputs = call(network, split.inputs)
                scores = rmse(outputs, split.labels), r2(outputs, split.labels)
                print(f"  {part:<11}RMSE {scores[0]:.2e}, 1 - R² {1 - scores[1]:.1e}")
        path = regression.WEIGHTS[name]
        path = path if options.out is None else options.out / path.name
        write(network, path)
        print(f"  {path}: {path.stat().st_size / 1024:.1f} KiB", flush=True)


if __name__ == "__main__":
    main()
