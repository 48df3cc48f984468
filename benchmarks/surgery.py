"""What one candidate costs outside its forward pass, here and with Torch-Pruning.

Run ``make benchmark`` or ``python benchmarks/surgery.py``. One thread, one run; writes
``benchmarks/results/surgery.json`` and the table in ``benchmarks/README.md``.

Ours is `Slicer.take` and `Slicer.load`: the tensors of a structure, set into the shell of the
network. Torch-Pruning's is ``copy.deepcopy``, a new ``DependencyGraph`` and one pruning call a
group, to the same widths and indices; that both end with the same shapes is checked. Both are set
against one forward pass of the dense network over 256 samples. Times are processor times of the
one thread, which other programs on the machine disturb little.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torchvision
from reporting import HERE, environment, markdown, measured_with, write_json, write_section
from rich.console import Console
from rich.table import Table
from torch import nn

from optprune.surgery import ChannelGraph, Slicer, Structure, trace

WIDTHS = {"1 to all": 0.0, "half to all": 0.5}
"""Units that a group of a candidate keeps, drawn uniformly: as a random search proposes them, and
larger networks. The more is kept, the more is copied."""

PACKAGES = ("optprune", "torch", "torchvision", "torch-pruning", "numpy")
BATCH = 256
ASKED_OF_FORWARD = 0.05
ZOO = {
    "resnet18": 32,
    "resnet50": 32,
    "vgg16_bn": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "densenet121": 32,
    "googlenet": 32,
    "efficientnet_b0": 32,
    "regnet_y_400mf": 32,
    "squeezenet1_1": 64,
    "shufflenet_v2_x1_0": 32,
    "mnasnet1_0": 32,
    "convnext_tiny": 32,
}


class Block(nn.Module):
    """A residual block of ResNet-20, with a projection where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the block's result to its input."""
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet20(nn.Module):
    """The network of He et al. (2016) for images of 32 x 32 pixels, with projections."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
        self.blocks = nn.Sequential(
            *(
                Block(outputs if i else inputs, outputs, 1 if i else stride)
                for inputs, outputs, stride in widths
                for i in range(3)
            )
        )
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ten logits."""
        x = self.blocks(torch.relu(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))


@dataclass(frozen=True)
class Subject:
    """A network of the comparison."""

    name: str
    build: Callable[[], nn.Module]
    size: int
    asked: float
    """How many times cheaper ours is asked to be."""
    forward_batch: int
    """Samples of the timed forward pass; the time is scaled to `BATCH` samples."""


SUBJECTS = (
    Subject("ResNet-20", ResNet20, 32, 15, 256),
    Subject("ResNet-18", lambda: torchvision.models.resnet18(), 224, 15, 32),
    Subject("MobileNetV2", lambda: torchvision.models.mobilenet_v2(), 224, 15, 32),
    Subject("DenseNet-121", lambda: torchvision.models.densenet121(), 224, 50, 32),
)


@dataclass(frozen=True)
class Comparison:
    """Medians of one network, in milliseconds."""

    network: str
    groups: int
    widths: str
    ours_ms: float
    torch_pruning_ms: float
    forward_256_ms: float
    forward_timed_at: int
    asked: float

    @property
    def ratio(self) -> float:
        """How many times cheaper ours is."""
        return self.torch_pruning_ms / self.ours_ms

    @property
    def of_forward(self) -> float:
        """Ours as a fraction of a forward pass over 256 samples."""
        return self.ours_ms / self.forward_256_ms

    @property
    def reached(self) -> bool:
        """Whether what was asked is reached."""
        return self.ratio >= self.asked and self.of_forward <= ASKED_OF_FORWARD


@dataclass(frozen=True)
class Tracing:
    """One trace with verification."""

    network: str
    size: int
    seconds: float
    groups: int
    units: int
    frozen: int


def timed(action: Callable[[], nn.Module | torch.Tensor]) -> tuple[float, Any]:
    """Return the milliseconds of processor time of one call, and its result."""
    start = time.process_time()
    result = action()
    return 1e3 * (time.process_time() - start), result


def draw(graph: ChannelGraph, generator: np.random.Generator, least: float) -> Structure:
    """Draw a structure whose groups keep anything from a fraction of their units to all."""
    lowest = np.maximum(1, np.ceil(least * graph.widths).astype(int))
    widths = generator.integers(lowest, graph.widths + 1)
    return graph.structure_from_widths(widths, generator.random(graph.n_units))


def roots(graph: ChannelGraph) -> list[str]:
    """Return, for every group, a layer all of whose outputs are the group's units, in order."""
    outputs = {axis.tensor: axis.units for axis in graph.axes if axis.dim == 0}
    found = []
    for group in graph.groups:
        units = np.arange(group.start, group.stop)
        found.append(
            next(
                member.tensor.removesuffix(".weight")
                for member in group.members
                if member.role == "out"
                and member.dim == 0
                and member.tensor.endswith(".weight")
                and np.array_equal(outputs[member.tensor], units)
            )
        )
    return found


def one_candidate(slicer: Slicer, structure: Structure) -> nn.Module:
    """Make a candidate with optprune."""
    return slicer.load(structure, slicer.take(structure))


def prune_elsewhere(
    network: nn.Module, example: torch.Tensor, layers: list[str], removed: list[list[int]]
) -> nn.Module:
    """Make a candidate with Torch-Pruning: copy, dependency graph, one call a group."""
    import torch_pruning

    candidate = copy.deepcopy(network)
    dependencies = torch_pruning.DependencyGraph().build_dependency(candidate, example)
    for layer, indices in zip(layers, removed, strict=True):
        if indices:
            module = candidate.get_submodule(layer)
            prune = dependencies.get_pruner_of_module(module).prune_out_channels
            dependencies.get_pruning_group(module, prune, idxs=indices).prune()
    return candidate


def compare(subject: Subject, seconds: float, widths: str) -> Comparison:
    """Time one network, ours and theirs in turn, for about the given seconds."""
    least = WIDTHS[widths]
    torch.manual_seed(0)
    network = subject.build().eval()
    example = torch.randn(1, 3, subject.size, subject.size)
    graph = trace(network, example)
    slicer = Slicer(network, graph)
    layers = roots(graph)
    generator = np.random.default_rng(0)

    ours: list[float] = []
    theirs: list[float] = []
    start = time.perf_counter()
    while len(theirs) < 4 or time.perf_counter() - start < seconds:
        structure = draw(graph, generator, least)
        removed = [np.flatnonzero(~structure.kept[group.slice]).tolist() for group in graph.groups]
        milliseconds, pruned = timed(partial(prune_elsewhere, network, example, layers, removed))
        theirs.append(milliseconds)
        for again in [*(draw(graph, generator, least) for _ in range(4)), structure]:
            milliseconds, shell = timed(partial(one_candidate, slicer, again))
            ours.append(milliseconds)
        shapes = [tuple(parameter.shape) for parameter in shell.parameters()]
        if shapes != [tuple(parameter.shape) for parameter in pruned.parameters()]:
            raise SystemExit(f"{subject.name}: the two candidates have different shapes")

    batch = torch.randn(subject.forward_batch, 3, subject.size, subject.size)
    with torch.no_grad():
        network(batch[:2])
        passes = [timed(lambda: network(batch))[0] for _ in range(3)]
    # The first candidate pays for what later ones find in place: leave it out.
    return Comparison(
        subject.name,
        graph.n_groups,
        widths,
        statistics.median(ours[1:]),
        statistics.median(theirs[1:]),
        statistics.median(passes) * BATCH / subject.forward_batch,
        subject.forward_batch,
        subject.asked,
    )


def time_trace(name: str, size: int) -> Tracing:
    """Trace a torchvision network once, with verification."""
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "googlenet" else {}
    network = getattr(torchvision.models, name)(weights=None, **options).eval()
    example = torch.randn(2, 3, size, size)
    start = time.process_time()
    graph = trace(network, example)
    seconds = time.process_time() - start
    return Tracing(name, size, seconds, graph.n_groups, graph.n_units, len(graph.frozen))


def comparison_rows(comparisons: list[Comparison]) -> tuple[list[str], list[list[str]]]:
    """Lay out the comparison."""
    header = [
        "network",
        "groups",
        "widths",
        "ours, ms",
        "Torch-Pruning, ms",
        "ratio (asked)",
        "forward at 256, ms",
        "ours / forward",
        "reached",
    ]
    return header, [
        [
            c.network,
            str(c.groups),
            c.widths,
            f"{c.ours_ms:.2f}",
            f"{c.torch_pruning_ms:.0f}",
            f"{c.ratio:.0f}x (≥ {c.asked:.0f}x)",
            f"{c.forward_256_ms:.0f}" + ("" if c.forward_timed_at == BATCH else " *"),
            f"{c.of_forward:.2%}",
            "yes" if c.reached else "no",
        ]
        for c in comparisons
    ]


def tracing_rows(tracings: list[Tracing]) -> tuple[list[str], list[list[str]]]:
    """Lay out the traces."""
    header = ["network", "input", "trace and verify, s", "groups", "units", "frozen"]
    return header, [
        [
            t.network,
            f"{t.size} x {t.size}",
            f"{t.seconds:.1f}",
            str(t.groups),
            str(t.units),
            str(t.frozen),
        ]
        for t in tracings
    ]


def show(console: Console, title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print a table."""
    table = Table(title=title)
    for column in header:
        table.add_column(column, justify="left" if column == "network" else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8, help="time for each network")
    parser.add_argument("--dry", action="store_true", help="print only, write nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="torch_pruning")
    console = Console()

    comparisons = []
    for subject in SUBJECTS:
        with console.status(subject.name):
            comparisons += [compare(subject, arguments.seconds, widths) for widths in WIDTHS]
    tracings = []
    for name, size in ZOO.items():
        with console.status(name):
            tracings.append(time_trace(name, size))

    first, second = comparison_rows(comparisons), tracing_rows(tracings)
    show(console, "One candidate outside its forward pass (medians, one thread)", *first)
    show(console, "One trace with verification", *second)
    console.print("* timed at a batch of 32 and multiplied by 8")
    if arguments.dry:
        return
    found = environment(PACKAGES, threads=1)
    document = {
        "environment": found,
        "comparisons": [
            {**asdict(c), "ratio": c.ratio, "of_forward": c.of_forward, "reached": c.reached}
            for c in comparisons
        ],
        "tracings": [asdict(t) for t in tracings],
    }
    write_json("surgery", document)
    parts = (
        markdown(*first),
        "`*` timed at a batch of 32 and multiplied by 8.",
        markdown(*second),
        measured_with(found),
    )
    write_section(HERE / "README.md", "surgery", "\n\n".join(parts))


if __name__ == "__main__":
    main()
