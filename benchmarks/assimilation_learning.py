"""Classifiers learned from scratch: by an ensemble, by gradients, and by evolution."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from reporting import markdown, read_json
from rows import Row
from torch import nn

import optprune as op
from optprune.losses import accuracy
from optprune.meter import Meter
from optprune.surgery.calling import call
from optprune.training import EKI, ESMDA, Trainer
from optprune.training.assimilation import (
    BinaryCrossEntropy,
    CrossEntropy,
    Ensemble,
    Gaussian,
    Mask,
    OutputBlocks,
)
from optprune.training.assimilation.layout import Layout

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Fit = Callable[[op.Task, nn.Sequential, int, Meter, int], None]
"""Fits a network in place: the task, the network, a seed, a meter, and the forward samples that it
may take at most, where it does not know an end of its own."""

ENSEMBLE = "EKI, cross-entropy"
"""Whose forward samples the evolution strategies get."""
RIDGE = "ridge regression of the last layer on the random hidden layers"
WEIGHT_DECAYS = (0.01, 0.1, 1, 10, 100)


class Halved(nn.Module):
    """The largest of every 2 × 2 pixels, by slices: fast for many members at once."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Halve height and width."""
        rows = torch.maximum(inputs[..., ::2, :], inputs[..., 1::2, :])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


def perceptron() -> nn.Sequential:
    """Return 64-32-10: 2,410 parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


def convolutional() -> nn.Sequential:
    """Return two convolutions and a linear layer for 8 × 8 pixels: 1,898 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        Halved(),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        Halved(),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


class Apart(nn.Module):
    """A linear layer whose outputs share no input: each has some of its own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        like = nn.Linear(inputs // outputs, outputs)
        self.weight, self.bias = like.weight, like.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return shape (n, outputs)."""
        own = inputs.unflatten(-1, self.weight.shape)
        found: torch.Tensor = (own * self.weight).sum(-1) + self.bias
        return found


class Components(nn.Module):
    """Principal components of the images: from unlabelled training images, and not learned on.

    Each is divided by the root of its standard deviation, so that the first do not drown the rest.
    """

    def __init__(self, images: torch.Tensor, count: int) -> None:
        super().__init__()
        flat = images.flatten(1).double()
        values, vectors = torch.linalg.eigh(flat.T.cov())
        largest, directions = values.flip(0)[:count], vectors.flip(1)[:, :count]
        scales = largest.pow(-0.25) * (largest.sqrt().mean()) ** -0.5
        self.register_buffer("center", flat.mean(0).float())
        self.register_buffer("directions", (directions * scales).float())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return shape (n, count)."""
        found: torch.Tensor = (inputs.flatten(1) - self.center) @ self.directions
        return found


def one_against_rest(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean over the samples of the sum of each output's binary cross-entropy."""
    wanted = nn.functional.one_hot(targets, outputs.shape[1]).to(outputs)
    found = nn.functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="none")
    return found.sum(1).mean()


def trained(trainer: Trainer, loss: Loss = nn.functional.cross_entropy) -> Fit:
    """Fit by a trainer of optprune."""

    def fit(task: op.Task, network: nn.Sequential, seed: int, meter: Meter, _: int) -> None:
        assert task.train is not None
        trainer.fit(network, task.train, loss=loss, outputs=call, seed=seed, meter=meter)

    return fit


def adam(epochs: int, size: int, lr: float) -> Fit:
    """Fit by Adam, by gradients."""

    def fit(task: op.Task, network: nn.Sequential, seed: int, meter: Meter, _: int) -> None:
        assert task.train is not None
        order = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(network.parameters(), lr=lr, weight_decay=1e-4)
        for _epoch in range(epochs):
            for inputs, targets in task.train.batches(size, generator=order):
                optimizer.zero_grad()
                nn.functional.cross_entropy(call(network, inputs), targets).backward()
                optimizer.step()
                meter.forward(len(targets))

    return fit


def losses(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of each member."""
    flat = nn.functional.cross_entropy(
        outputs.flatten(0, 1), targets.repeat(len(outputs)), reduction="none"
    )
    return flat.reshape(len(outputs), -1).mean(1)


def natural_evolution(size: int, *, members: int = 100, lr: float, std: float) -> Fit:
    """Fit by a natural evolution strategy: antithetic members, ranks, and Adam on the estimate.

    T. Salimans, J. Ho, X. Chen, S. Sidor and I. Sutskever, Evolution strategies as a scalable
    alternative to reinforcement learning, 2017, arXiv:1703.03864.
    """

    def fit(task: op.Task, network: nn.Sequential, seed: int, meter: Meter, samples: int) -> None:
        assert task.train is not None
        generator = torch.Generator().manual_seed(seed)
        layout = Layout.of(network, "*", owner="benchmark")
        mean = layout.flat(network)
        optimizer = torch.optim.Adam([mean], lr=lr)
        while True:
            for inputs, targets in task.train.batches(size, generator=generator):
                if meter.forward_samples + members * len(targets) > samples:
                    return
                drawn = torch.randn(members // 2, layout.size, generator=generator)
                drawn = torch.cat([drawn, -drawn])
                outputs = Ensemble(network, layout, mean + std * drawn).forward(inputs)
                meter.forward(members * len(targets))
                ranks = losses(outputs, targets).argsort().argsort() / (members - 1) - 0.5
                mean.grad = ranks @ drawn / (members * std)
                optimizer.step()
                layout.write(mean, network)

    return fit


def covariance_adaptation(std: float) -> Fit:
    """Fit by CMA-ES with a diagonal covariance, which is linear in the parameters, on all data."""

    def fit(task: op.Task, network: nn.Sequential, seed: int, meter: Meter, samples: int) -> None:
        import cma

        assert task.train is not None
        layout = Layout.of(network, "*", owner="benchmark")
        options = {"CMA_diagonal": True, "seed": seed + 1, "verbose": -9, "maxiter": math.inf}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            strategy = cma.CMAEvolutionStrategy(layout.flat(network).numpy(), std, options)
        inputs, targets = task.train.inputs, task.train.labels
        while meter.forward_samples + strategy.popsize * len(targets) <= samples:
            points = strategy.ask()
            members = torch.stack([torch.as_tensor(p, dtype=torch.float32) for p in points])
            outputs = Ensemble(network, layout, members).forward(inputs)
            meter.forward(len(members) * len(targets))
            strategy.tell(points, losses(outputs, targets).tolist())
        layout.write(torch.as_tensor(strategy.mean, dtype=torch.float32), network)

    return fit


def ridge(task: op.Task, network: nn.Sequential, seed: int, meter: Meter, samples: int) -> None:  # noqa: ARG001
    """Fit a last linear layer alone, one-hot labels on what the random layers before it give."""
    assert task.train is not None
    hidden = network[:-1]

    def features(split: op.Split) -> torch.Tensor:
        found = torch.cat([call(hidden, inputs) for inputs, _ in split.batches(1000)]).double()
        return torch.cat([found, torch.ones(len(found), 1, dtype=torch.float64)], 1)

    with torch.no_grad():
        given, valid = features(task.train), features(task.validation)
        meter.forward(len(given))
        wanted = nn.functional.one_hot(task.train.labels, 10).double()
        gram, eye = given.T @ given, torch.eye(given.shape[1], dtype=torch.float64)
        fits = [torch.linalg.solve(gram + w * eye, given.T @ wanted) for w in WEIGHT_DECAYS]
        best = max(fits, key=lambda fit: accuracy(valid @ fit, task.validation.labels)).float()
        network[-1] = last = nn.Linear(len(best) - 1, 10)
        last.weight.copy_(best[:-1].T)
        last.bias.copy_(best[-1])


@dataclass(frozen=True)
class Lesson:
    """A network, its data, and the ways to learn it."""

    title: str
    network: Callable[[], nn.Sequential]
    task: Callable[[], op.Task]
    methods: dict[str, Fit]
    seeds: int
    asked: float | None = None
    """Test accuracy asked of the ensemble."""


def inversion(**changes: Any) -> Fit:
    """Fit by ensemble Kalman inversion, with 100 members unless said otherwise."""
    settings = {"observation": CrossEntropy(), "batch_size": 256, "epochs": 50, "momentum": 0.8}
    return trained(EKI(**{**settings, **changes}))


@cache
def fashion() -> op.Task:
    """Read Fashion-MNIST once."""
    return op.problems.fashion.task("vgg")


@cache
def components() -> Components:
    """Find the first 50 components once."""
    train = fashion().train
    assert train is not None
    return Components(train.inputs[:20_000], 50)


def of_components() -> nn.Sequential:
    """Return 50-64-10 behind fixed components: 3,914 parameters are learned."""
    return nn.Sequential(components(), nn.Linear(50, 64), nn.Tanh(), nn.Linear(64, 10))


def apart() -> nn.Sequential:
    """Return ten networks of 50-8-1 behind fixed components: 4,170 parameters are learned."""
    return nn.Sequential(components(), nn.Linear(50, 80), nn.Tanh(), Apart(80, 10))


APART = Mask(
    {
        "1.*": torch.eye(10).repeat_interleave(8, 0).tolist(),
        "3.*": torch.eye(10).tolist(),
    }
)
"""Which outputs the rows of its parameters have a part in."""


LESSONS = {
    "digits": Lesson(
        "64-32-10 network, digits",
        perceptron,
        op.problems.digits.task,
        {
            ENSEMBLE: inversion(),
            "ESMDA": trained(ESMDA(members=300, assimilations=10, observation=Gaussian(0.1))),
            "ESMDA, blocks of outputs": trained(
                ESMDA(
                    members=300,
                    assimilations=10,
                    observation=Gaussian(0.1),
                    localization=OutputBlocks(),
                )
            ),
            "natural evolution strategy": natural_evolution(256, lr=0.02, std=0.1),
            "CMA-ES, diagonal": covariance_adaptation(0.1),
            "Adam": adam(60, 64, 3e-3),
            RIDGE: ridge,
        },
        seeds=5,
    ),
    "convolutional": Lesson(
        "two convolutions and a linear layer, digits",
        convolutional,
        op.problems.digits.task,
        {
            ENSEMBLE: inversion(weight_decay=3e-3),
            "natural evolution strategy": natural_evolution(256, lr=0.02, std=0.1),
            "CMA-ES, diagonal": covariance_adaptation(0.1),
            "Adam": adam(60, 64, 3e-3),
            RIDGE: ridge,
        },
        seeds=5,
        asked=0.96,
    ),
    "fashion": Lesson(
        "50 principal components-64-10, Fashion-MNIST",
        of_components,
        fashion,
        {
            ENSEMBLE: inversion(members=300, batch_size=4096, epochs=28, momentum=0.7, damping=3.0),
            "natural evolution strategy": natural_evolution(1024, lr=0.02, std=0.1),
            "Adam": adam(5, 128, 3e-3),
            RIDGE: ridge,
        },
        seeds=1,
    ),
    "apart": Lesson(
        "50 principal components-ten networks of 8-1, Fashion-MNIST",
        apart,
        fashion,
        {
            ENSEMBLE: trained(
                EKI(
                    members=300,
                    observation=BinaryCrossEntropy(),
                    localization=APART,
                    batch_size=4096,
                    epochs=14,
                    momentum=0.0,
                ),
                one_against_rest,
            ),
            "natural evolution strategy": natural_evolution(1024, lr=0.02, std=0.1),
            "Adam": adam(5, 128, 3e-3),
            RIDGE: ridge,
        },
        seeds=3,
        asked=0.86,
    ),
}


def learn(lesson: str, method: str) -> Row:
    """Train a network from scratch, all layers, from several starts."""
    given = LESSONS[lesson]
    task = given.task()
    samples = 0
    if "evolution" in method or "CMA" in method:
        known = read_json("assimilation")["rows"][f"{lesson}/{ENSEMBLE}"]
        samples = round(statistics.median(known["forward"]))
    found: Row = {"accuracy": [], "validation": [], "seconds": [], "forward": []}
    for seed in range(given.seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = given.network().eval()
        meter = Meter()
        started = time.process_time()
        given.methods[method](task, network, seed, meter, samples)
        found["seconds"].append(time.process_time() - started)
        found["forward"].append(meter.forward_samples)
        for name, split in (("accuracy", task.test_split()), ("validation", task.validation)):
            found[name].append(accuracy(task.predict(network, split), split.labels))
    return found


ROWS: dict[str, Callable[[], Row]] = {
    f"{lesson}/{method}": partial(learn, lesson, method)
    for lesson, given in LESSONS.items()
    for method in given.methods
}


def table(rows: dict[str, Row]) -> str:
    """Write a table for each network."""
    parts = []
    for lesson, given in LESSONS.items():
        seeds = "a start" if given.seeds == 1 else f"median of {given.seeds} starts"
        header = [f"{given.title}, {seeds}", "test accuracy", "least to greatest",
                  "validation", "seconds", "forward samples"]  # fmt: skip
        lines = []
        for method in given.methods:
            row = rows.get(f"{lesson}/{method}")
            if row is not None:
                lines.append(
                    [
                        method,
                        f"{statistics.median(row['accuracy']):.2%}",
                        f"{min(row['accuracy']):.2%} to {max(row['accuracy']):.2%}",
                        f"{statistics.median(row['validation']):.2%}",
                        f"{statistics.median(row['seconds']):.1f}",
                        f"{statistics.median(row['forward']):,.0f}",
                    ]
                )
        if lines:
            parts.append(markdown(header, lines))
            if given.asked is not None:
                parts.append(f"Asked of the ensemble, of at most 300 members: {given.asked:.0%}.")
    return "\n\n".join(parts)
