"""Widths from convex programs, measured: sweeps of budgets, integer widths, ResNet-50 as published.

Seconds of one processor.
"""

from __future__ import annotations

import subprocess
import sys
import time

import cvxpy  # noqa: F401  (imported here, so that no first solve pays for it)
import numpy as np
import torch
from allocation_instances import (
    HALF,
    PUBLISHED,
    excess,
    graph_of,
    independence,
    instance,
    network,
)
from allocation_rivals import projected, uniform
from rows import Row

from optprune.allocation import Program, SignomialProgram, allocate
from optprune.dependence import linear_gram
from optprune.dependence.hsic import hsic_of_stack
from optprune.dependence.sources import consuming
from optprune.dependence.stack import GramStack
from optprune.surgery import ChannelGraph

SWEEP = np.linspace(0.02, 0.98, 50)
STEPS = (1, 8)
COMPARED = 512
"""Samples of the timed comparison of representations."""
STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")


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
            "gap": found.relative_gap,
            "excess": excess(macs, found.widths, budget["macs"]),
        }
    return row


def compared(graph: ChannelGraph, samples: int, *, gaussian: bool = False) -> float:
    """Return the seconds that the comparison of all groups takes, without the forward pass."""
    torch.manual_seed(0)
    features = []
    for group in graph.groups:
        sources = consuming(network("resnet50"), graph, group)
        shapes = [group.width if s.channels is None else s.channels.numel() for s in sources]
        features.append([torch.randn(samples, shape) for shape in shapes])
    started = time.process_time()
    stack = GramStack(len(features), samples)
    gram = stack.rows.new_empty((samples, samples))
    for index, parts in enumerate(features):
        for part in parts:
            linear_gram(part, out=gram)
            stack.add(index, gram.div_(gram.trace()))
    if gaussian:
        stack.to_gaussian()
    hsic_of_stack(stack, "unbiased")
    return time.process_time() - started


def imported() -> float:
    """Return the seconds that importing cvxpy takes."""
    code = (
        "import time, torch, optprune; s = time.process_time(); import cvxpy; "
        "print(time.process_time() - s)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def headline() -> Row:
    """ResNet-50 with 45.3 % fewer MACs: what is to be done after the forward pass."""
    macs = graph_of("resnet50").costs.macs
    importance = independence()
    dependence, gaussian = (
        min(compared(graph_of("resnet50"), COMPARED, gaussian=kernel) for _ in range(3))
        for kernel in (False, True)
    )
    budget = {"macs": PUBLISHED * macs.dense}
    row: Row = {"import": imported(), "dependence": dependence, "gaussian": gaussian}
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
            "gap": found.relative_gap,
            "excess": excess(macs, found.widths, budget["macs"]),
        }
    return row


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
