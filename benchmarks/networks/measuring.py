"""What is asked of a network that was made smaller, by whatever tool."""

from __future__ import annotations

import math
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from .entry import Entry, Inputs
from .journal import Journal

__all__ = [
    "BATCH",
    "EXPORTED",
    "built",
    "call",
    "counted",
    "difference",
    "measure_export",
    "measure_training",
    "shapes",
    "tell_about_dense_export",
]

BATCH = 2
"""Samples of every pass."""

EXPORTED = 1e-3
"""Largest relative difference between a network and its export, in float32."""


def call(network: nn.Module, inputs: Inputs) -> list[torch.Tensor]:
    """Call a network and return its output tensors."""
    if isinstance(inputs, dict):
        outputs = network(**inputs)
    else:
        outputs = network(*inputs) if isinstance(inputs, tuple) else network(inputs)
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


def shapes(tensors: list[torch.Tensor]) -> list[tuple[int, ...]]:
    """Return the shapes of tensors."""
    return [tuple(tensor.shape) for tensor in tensors]


def difference(expected: list[torch.Tensor], actual: list[torch.Tensor]) -> float:
    """Return the largest relative difference of two lists of tensors."""
    if shapes(expected) != shapes(actual):
        return math.inf
    worst = 0.0
    for one, two in zip(expected, actual, strict=True):
        scale = max(float(one.abs().max()), 1e-30)
        worst = max(worst, float((one - two).abs().max()) / scale, key=lambda x: (x != x, x))
    return worst


def counted(network: nn.Module, inputs: Inputs) -> float:
    """Count the MACs of one sample with PyTorch's own counter.

    Attention and recurrence are taken apart first: the counter knows matrix products only.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    # the counter's hooks ask parameters that are handed to a module for what they came from
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.mkldnn.flags(enabled=False),
            FlopCounterMode(display=False) as counter,
        ):
            call(network, inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for parameter in learned:
            parameter.requires_grad_()
    return counter.get_total_flops() / 2 / BATCH


def train(network: nn.Module, inputs: Inputs) -> None:
    """Take one step of gradient descent, and run once more."""
    optimizer = torch.optim.SGD((p for p in network.parameters() if p.requires_grad), lr=1e-4)
    outputs = [leaf for leaf in call(network.train(), inputs) if leaf.is_floating_point()]
    loss = torch.stack([output.square().mean() for output in outputs]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    if not math.isfinite(float(loss.detach())):
        raise ValueError("the loss is not finite")
    if all(parameter.grad is None for parameter in network.parameters()):
        raise ValueError("no parameter has a gradient")
    optimizer.step()
    with torch.no_grad():
        call(network.eval(), inputs)


def built(entry: Entry) -> nn.Module:
    """Build a network, always with the same weights."""
    torch.manual_seed(0)
    return entry.build().eval()


def measure_training(journal: Journal, network: nn.Module, dense: Entry, inputs: Inputs) -> None:
    """Train the cut network; where that fails, tell whether the dense one trains."""
    with journal.step("trains"):
        train(network, inputs)
        journal.write(trains=True)
    if not journal.row["trains"]:
        with journal.step("dense_trains"):
            train(built(dense), inputs)
            journal.write(dense_trains=True)


def measure_export(journal: Journal, network: nn.Module, inputs: Inputs, onnx: bool) -> None:
    """Export with `torch.export`, and that program as ONNX; compare both with the network."""
    positional = () if isinstance(inputs, dict) else inputs
    arguments = positional if isinstance(positional, tuple) else (positional,)
    keywords = inputs if isinstance(inputs, dict) else {}
    with torch.no_grad():
        expected = call(network.eval(), inputs)
    program = None
    with journal.step("exported"):
        start = time.process_time()
        with torch.no_grad():
            program = torch.export.export(network, arguments, keywords)
            error = difference(expected, call(program.module(), inputs))
        journal.write(
            exported=error < EXPORTED,
            export_difference=error,
            export_seconds=time.process_time() - start,
        )
    if not onnx:
        return
    if program is None:
        journal.write(onnx=False)
        return
    with journal.step("onnx"), tempfile.TemporaryDirectory() as folder:
        import onnxruntime

        start = time.process_time()
        path = str(Path(folder) / "network.onnx")
        torch.onnx.export(program, (), path, dynamo=True, verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        tensors = [leaf.numpy() for leaf in tree_leaves((arguments, keywords))]
        outputs = session.run(None, dict(zip(names, tensors, strict=True)))
        error = difference(expected, [torch.from_numpy(np.asarray(each)) for each in outputs])
        journal.write(
            onnx=error < EXPORTED,
            onnx_difference=error,
            onnx_seconds=time.process_time() - start,
        )


def tell_about_dense_export(journal: Journal, entry: Entry, inputs: Inputs) -> None:
    """Where exporting the cut network failed, tell whether the dense one can be exported."""
    for key in ("exported", "onnx"):
        if journal.row.get(key) is False:
            with journal.step(f"dense_{key}"):
                measured = Journal(Path(os.devnull))
                measure_export(measured, built(entry), inputs, onnx=key == "onnx")
                journal.write(**{f"dense_{key}": measured.row.get(key) is True})
            return
