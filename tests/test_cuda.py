"""The main job on a GPU, from the trace to the saved network; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import optprune as op

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_graph_does_not_depend_on_the_device() -> None:
    network = op.problems.digits.network()
    example = torch.rand(2, 1, 8, 8)
    on_cpu = op.trace(network, example)
    assert op.trace(network.cuda(), example.cuda()).digest == on_cpu.digest


def test_cutting_gives_the_same_network_on_both_devices() -> None:
    network = op.problems.digits.network()
    graph = op.trace(network, torch.rand(2, 1, 8, 8))
    structure = graph.structure_from_widths((graph.widths + 1) // 2)
    small = op.cut(network, graph, structure).state_dict()
    for name, tensor in op.cut(network.cuda(), graph, structure).state_dict().items():
        assert tensor.is_cuda
        assert torch.equal(tensor.cpu(), small[name])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_search_runs_on_the_device_and_its_network_loads_on_the_cpu(
    tmp_path: Path, precision: str
) -> None:
    task = op.problems.digits.task()
    task = op.Task(
        task.network,
        train=task.train,
        validation=task.validation,
        calibration=task.calibration,
        device="cuda",
        precision=precision,
        build=task.build,
    )
    problem = op.Problem(
        task,
        space=op.Widths(step=4),
        recovery=op.recovery.BatchNorm(),
        objectives=[op.metrics.error, op.metrics.macs, op.metrics.latency],
    )
    result = op.solve(problem, op.optimizers.Random(), evaluations=24, seed=1, progress=False)
    assert not result.log["failed"].any()
    assert np.isfinite(result.log["latency"]).all()
    choice = result.select(op.metrics.macs <= 0.9)
    assert all(tensor.is_cuda for tensor in choice.network().state_dict().values())
    choice.save(tmp_path / "small")
    loaded = op.load(tmp_path / "small", network=op.problems.digits.network())
    with torch.no_grad():
        assert loaded(torch.rand(3, 1, 8, 8)).shape == (3, 10)
