"""Train the network of `optprune.problems.digits` and write its weights.

Run as ``python -m optprune.problems.train_digits``. Validation data decide nothing here but what
is printed; test data are read once, at the end.

The train images are also shown shifted by one pixel, and weight decay is twenty times the usual: so
many channels end with small weights, and the network has room to be pruned.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from optprune.problems.digits import WEIGHTS, Network, splits
from safetensors.torch import save_file

from optprune.losses import accuracy, cross_entropy
from optprune.meter import Meter
from optprune.split import Split
from optprune.surgery.calling import call, input_tensors
from optprune.training import SGD, FitReport

__all__ = ["TRAINER", "main", "shifted", "train"]

SEED = 0
TRAINER = SGD(epochs=15, batch_size=64, lr=0.05, weight_decay=1e-2)


def shifted(split: Split) -> Split:
    """Return images followed by the same shifted by one pixel right, left, down and up.

    Parameters
    ----------
    split : Split
        n images of shape ``(n, 1, 8, 8)`` with labels.

    Returns
    -------
    Split
        5 n images; zeros move in.
    """
    (images,) = input_tensors(split.inputs)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    moves = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))
    parts = [padded[..., 1 + down : 9 + down, 1 + right : 9 + right] for down, right in moves]
    return Split(torch.cat(parts), split.labels.repeat(len(moves)))


def train(trainer: SGD = TRAINER, seed: int = SEED) -> tuple[Network, FitReport]:
    """Return a network trained on the train split, in evaluation mode, and how the fit went."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network()
    report = trainer.fit(
        network,
        shifted(splits()["train"]),
        loss=cross_entropy,
        outputs=call,
        seed=seed,
        meter=Meter(),
    )
    return network.eval(), report


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print the accuracies, and write the weights."""
    parser = argparse.ArgumentParser(description="Train the digits network.")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the weights go")
    parser.add_argument("--epochs", type=int, default=TRAINER.epochs)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(arguments)
    trainer = SGD(
        epochs=options.epochs,
        batch_size=TRAINER.batch_size,
        lr=TRAINER.lr,
        weight_decay=TRAINER.weight_decay,
    )
    torch.set_num_threads(1)  # batches are small, and sums depend on the number of threads
    network, report = train(trainer, options.seed)
    print(f"{report.reason}: {report.steps} steps in {report.seconds:.0f} s")
    with torch.no_grad():
        for name, split in splits().items():
            print(f"{name:<11}{accuracy(call(network, split.inputs), split.labels):7.2%}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
