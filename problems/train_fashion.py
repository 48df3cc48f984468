"""Train the networks of `optprune.problems.fashion` and write their weights.

Run as ``python -m optprune.problems.train_fashion [NAME ...]``, by default for all networks.
Validation data decide nothing here but what is printed; test data are read once, at the end.

The loss is the cross-entropy, and images are mirrored at random. The same seed gives the same
weights on the same kind of processor with the same number of threads (sums depend on it); where the
processor computes in bfloat16, training does.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import torch
from optprune.problems import fashion
from optprune.problems.fashion import splits
from safetensors.torch import save_file
from torch import nn

from optprune.device import has_bfloat16
from optprune.losses import accuracy, cross_entropy
from optprune.meter import Meter
from optprune.split import Split
from optprune.surgery import Inputs, call
from optprune.surgery.calling import input_tensors
from optprune.training import SGD, FitReport, Hooks, TrainingStep

__all__ = ["TRAINER", "augmented", "main", "outputs", "train", "write"]

SEED = 0
TRAINER = SGD(epochs=10, batch_size=128, lr=0.1, weight_decay=5e-4)

_EVALUATION_BATCH = 500


def augmented(images: torch.Tensor) -> torch.Tensor:
    """Mirror each image or not.

    Parameters
    ----------
    images : Tensor, shape ``(n, channels, height, width)``
        Images.

    Returns
    -------
    Tensor, the same shape
        Draws are independent for each image, from torch's global generator of the CPU, whatever the
        images' device.
    """
    mirrored = (torch.rand(len(images)) < 0.5).to(images.device)
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def outputs(network: nn.Module, inputs: Inputs) -> torch.Tensor:
    """Call a network, in training on augmented images, as fast as the device can.

    Parameters
    ----------
    network : nn.Module
        In whatever mode it is.
    inputs : Tensor, shape ``(n, 1, 28, 28)``
        Standardized images.

    Returns
    -------
    Tensor of float32, shape ``(n, 10)``
        Computed in bfloat16 where the device has it.
    """
    (images,) = input_tensors(inputs)
    if network.training:
        images = augmented(images)
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(
        images.device.type, dtype=torch.bfloat16, enabled=has_bfloat16(images.device)
    ):
        found: torch.Tensor = call(network, images)
    return found.float()


def train(
    name: str, data: Split, trainer: SGD = TRAINER, seed: int = SEED
) -> tuple[nn.Module, FitReport]:
    """Train a network from new weights.

    Parameters
    ----------
    name : {"vgg", "resnet20", "mobilenet"}
        Which network.
    data : Split
        Images of shape ``(n, 1, 28, 28)`` with labels.
    trainer : SGD
        How.
    seed : int
        Decides the first weights, the order of the data, and the augmentation.

    Returns
    -------
    network : nn.Module
        In evaluation mode.
    report : FitReport
        How the fit went.

    Raises
    ------
    ArgumentError
        When there is no such network.
    TrainingError
        When the loss or a parameter becomes infinite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = fashion.network(name, weights=False)
    network.to(memory_format=torch.channels_last)
    report = trainer.fit(
        network, data, loss=cross_entropy, outputs=outputs, seed=seed, meter=Meter()
    )
    return network.eval(), report


def write(network: nn.Module, path: Path) -> None:
    """Write a network's weights, whole or not at all.

    Parameters
    ----------
    network : nn.Module
        Parameters and buffers are written as they are, but contiguous.
    path : Path
        A safetensors file; its folder is made where it is missing.
    """
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}-{uuid.uuid4().hex[:12]}")
    try:
        save_file(state, unfinished)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _accuracy(network: nn.Module, split: Split) -> float:
    """Return a network's accuracy as it is shipped: in float32, without augmentation."""
    with torch.no_grad():
        found = [call(network, inputs) for inputs, _ in split.batches(_EVALUATION_BATCH)]
    return accuracy(torch.cat(found), split.labels)


def _tell(step: TrainingStep) -> None:
    print(f"  step {step.step + 1} of {step.steps}: loss {step.loss:.3f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print the accuracies, and write the weights."""
    parser = argparse.ArgumentParser(description="Train the networks for Fashion-MNIST.")
    known = ", ".join(fashion.NETWORKS)
    parser.add_argument("networks", nargs="*", metavar="NAME", help=f"of {known}; default all")
    parser.add_argument("--epochs", type=int, default=TRAINER.epochs)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, help="folder for the weights; default the package's")
    parser.add_argument("--folder", type=Path, help="where the data set is")
    parser.add_argument("--download", action="store_true", help="download the data set if missing")
    parser.add_argument("--threads", type=int, default=1, help="sums depend on it; default 1")
    options = parser.parse_args(arguments)
    for name in options.networks:
        if name not in fashion.NETWORKS:
            parser.error(f"there is no network {name!r}; there are {known}")
    if options.threads < 1:
        parser.error(f"--threads must be a positive number, got {options.threads}")
    torch.set_num_threads(options.threads)
    data = splits(options.folder, download=options.download)
    steps = math.ceil(len(data["train"]) / TRAINER.batch_size)
    trainer = dataclasses.replace(
        TRAINER, epochs=options.epochs, hooks=Hooks(every=((steps, _tell),))
    )
    for name in options.networks or fashion.NETWORKS:
        print(f"{name}:", flush=True)
        network, report = train(name, data["train"], trainer, options.seed)
        print(f"  {report.reason}, {report.seconds / report.epochs:.1f} s an epoch")
        for part in ("validation", "test"):
            print(f"  {part:<11}{_accuracy(network, data[part]):7.2%}")
        path = fashion.WEIGHTS[name]
        path = path if options.out is None else options.out / path.name
        write(network, path)
        print(f"  {path}: {path.stat().st_size / 1024:.0f} KiB", flush=True)


if __name__ == "__main__":
    main()
