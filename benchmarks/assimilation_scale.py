"""What one analysis costs, from small ensembles to large ones, beside filterpy."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from reporting import markdown
from rows import Row

from optprune.training.assimilation import analysis

MEMBERS, OBSERVATIONS = 100, 1000
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
FILTERPY = (100, 1000)


def peak() -> int:
    """Return the greatest memory of this process so far, in bytes, as Linux counts it.

    Not by ``getrusage``, which starts from the memory of the process that made this one.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]


def drawn(parameters: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Generator]:
    """Return members, predictions and observations."""
    generator = torch.Generator().manual_seed(0)
    members = torch.empty(MEMBERS, parameters).normal_(generator=generator)
    predictions = torch.randn(MEMBERS, OBSERVATIONS, generator=generator)
    return members, predictions, torch.randn(OBSERVATIONS, generator=generator), generator


def scale(parameters: int) -> Row:
    """Time one analysis, in turn with the matrix products that it cannot do without."""
    members, predictions, observed, generator = drawn(parameters)
    matrix = torch.randn(MEMBERS, MEMBERS, generator=generator) / MEMBERS
    moved = torch.empty_like(members)

    def own() -> None:
        analysis(members, predictions, observed, 1.0, generator=generator, out=members)

    def bare() -> None:
        predictions @ predictions.T
        predictions @ predictions.T
        torch.mm(matrix, members, out=moved)

    taken: dict[str, list[float]] = {"analysis": [], "bare": []}
    for _ in range(5 if parameters > 1_000_000 else 21):
        for name, work in (("analysis", own), ("bare", bare)):
            started = time.process_time()
            work()
            taken[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in taken.items()}


def greatest(parameters: int, place: bool) -> float:
    """Return the greatest memory of a process during an analysis, as a multiple of the ensemble."""
    torch.set_num_threads(1)
    drawn(16)  # whatever is made at the first call
    analysis(*drawn(16)[:3], 1.0)
    before = peak()
    members, predictions, observed, _ = drawn(parameters)
    analysis(members, predictions, observed, 1.0, out=members if place else None)
    return (peak() - before) / (members.numel() * members.element_size())


def memory(parameters: int) -> Row:
    """Measure the memory in processes of their own: in place, and with a new ensemble."""
    found = {}
    for name, place in (("in place", True), ("new", False)):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found[name] = pool.submit(greatest, parameters, place).result()
    return found


def by_filterpy(parameters: int) -> Row:
    """The same by filterpy's filter, up to what it bears."""
    import numpy as np
    from filterpy.kalman import EnsembleKalmanFilter

    draw = np.random.default_rng(0)
    rows = iter(draw.standard_normal((MEMBERS, OBSERVATIONS)))
    started = time.process_time()
    engine = EnsembleKalmanFilter(
        x=np.zeros(parameters),
        P=np.eye(parameters),
        dim_z=OBSERVATIONS,
        dt=1.0,
        N=MEMBERS,
        hx=lambda _: next(rows),
        fx=lambda x, _: x,
    )
    made = time.process_time() - started
    started = time.process_time()
    engine.predict()  # the weights stand still: it draws its process noise, and takes a covariance
    predicted = time.process_time() - started
    started = time.process_time()
    engine.update(np.zeros(OBSERVATIONS), np.eye(OBSERVATIONS))
    return {"made": made, "predict": predicted, "update": time.process_time() - started}


ROWS: dict[str, Callable[[], Row]] = {
    **{f"scale/{n}": partial(scale, n) for n in (1000, *SIZES)},
    **{f"memory/{n}": partial(memory, n) for n in SIZES[2:]},
    **{f"filterpy/{n}": partial(by_filterpy, n) for n in FILTERPY},
}


def table(rows: dict[str, Row]) -> str:
    """Write the table of sizes."""
    header = [
        f"parameters, {MEMBERS} members, {OBSERVATIONS:,} observations",
        "analysis, seconds",
        "bare products, seconds",
        "ratio",
        "greatest memory, in ensembles: in place",
        "with a new one",
        "filterpy: made",
        "filterpy: prediction",
        "filterpy: update",
    ]
    lines = []
    for n in (100, 1000, *SIZES):
        own, held, theirs = (rows.get(f"{part}/{n}") for part in ("scale", "memory", "filterpy"))
        if own is None and theirs is None:
            continue
        line = [f"{n:,}"]
        if own is not None:
            ratio = own["analysis"] / own["bare"]
            line += [f"{own['analysis']:.4f}", f"{own['bare']:.4f}", f"{ratio:.2f}"]
        else:
            line += ["", "", ""]
        line += [f"{held['in place']:.2f}", f"{held['new']:.2f}"] if held else ["", ""]
        parts = ("made", "predict", "update")
        line += [f"{theirs[part]:.2f}" for part in parts] if theirs else ["", "", ""]
        lines.append(line)
    return markdown(header, lines)
