"""The passes of a trace: one in evaluation mode, and one in training mode where that is needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten

from optprune.surgery.calling import Inputs, batch_size, call, input_tensors
from optprune.surgery.labels import Reason
from optprune.surgery.modules import narrowable
from optprune.surgery.tracing import Recorder

__all__ = ["record", "record_training"]


def record(network: nn.Module, example: Inputs) -> tuple[Recorder, Any]:
    """Run one forward pass and return what was learned.

    The network must be in evaluation mode; it is not changed. If the pass leaves parameters
    untouched (an auxiliary head, say), a pass of a copy in training mode adds their couplings.
    """
    samples = batch_size(example)
    recorder = Recorder(network, samples)
    with torch.no_grad(), narrowable(network):
        recorder.inputs(input_tensors(example))
        with recorder.listening(network):
            output = call(network, example)
    _freeze_outputs(recorder, output, "it is an output of the network")
    return recorder, output


def record_training(recorder: Recorder, network: nn.Module, example: Inputs) -> Exception | None:
    """Add what a pass in training mode couples; return what it raised, if it is not possible.

    Running statistics and generators are put back afterwards.
    """
    modes = {module: module.training for module in network.modules()}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    recorder.counting = False
    try:
        for module in modes:  # not train(), which a network may have filled with work of its own
            module.training = True
        with torch.no_grad(), torch.random.fork_rng(devices=[]), narrowable(network):
            recorder.inputs(input_tensors(example))
            with recorder.listening(network):
                output = call(network, example)
        _freeze_outputs(recorder, output, "it is an output of the network in training mode")
    except Exception as error:  # noqa: BLE001  (a network may be unable to train on one example)
        return error
    finally:
        recorder.counting = True
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])
    return None


def _freeze_outputs(recorder: Recorder, output: Any, text: str) -> None:
    """Freeze everything that the network returns."""
    reason = Reason(text, "output", "the network's return value")
    for leaf in tree_flatten(output)[0]:
        if isinstance(leaf, torch.Tensor):
            for layer in recorder.layers(leaf):
                recorder.ledger.freeze(layer, reason)
            for statistic in recorder.tracked(leaf).statistics:
                recorder.ledger.freeze(torch.from_numpy(statistic.labels), statistic.reason)
