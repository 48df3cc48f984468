"""What all checks share: the error, and what must be left as it was found."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from optprune.errors import OptpruneError

__all__ = ["ConformanceError", "leaves_randomness_alone", "leaves_unchanged", "require"]


class ConformanceError(OptpruneError, AssertionError):
    """A plug-in breaks a rule that the rest of optprune relies on."""


def require(holds: bool, message: str) -> None:
    """Raise `ConformanceError` with a message unless something holds."""
    if not holds:
        raise ConformanceError(message)


@contextmanager
def leaves_randomness_alone(who: str) -> Iterator[None]:
    """Check that the global generators of Python, numpy and torch are not drawn from or seeded."""
    before = _global_states()
    yield
    after = _global_states()
    require(
        before[0] == after[0],
        f"{who} changes the state of Python's global `random`; use a generator of its own, or put "
        "the state back.",
    )
    require(
        before[1] == after[1],
        f"{who} changes the state of numpy's global generator; use a numpy.random.Generator.",
    )
    require(
        before[2] == after[2],
        f"{who} changes the state of torch's global generator; use a torch.Generator.",
    )


def _global_states() -> tuple[object, ...]:
    numpy_state = pickle.dumps(np.random.get_state())  # noqa: NPY002 - it is what is watched
    return random.getstate(), numpy_state, torch.get_rng_state().tolist()


@contextmanager
def leaves_unchanged(who: str, network: nn.Module) -> Iterator[None]:
    """Check that a network keeps its state bit for bit, its modes and its gradients."""
    state = {name: value.detach().clone() for name, value in network.state_dict().items()}
    modes = {name: module.training for name, module in network.named_modules()}
    needs_grad = {name: p.requires_grad for name, p in network.named_parameters()}
    gradients = {name: p.grad is None for name, p in network.named_parameters()}
    yield
    now = network.state_dict()
    require(state.keys() == now.keys(), f"{who} adds or removes entries of the network's state.")
    for name, value in state.items():
        require(
            value.dtype == now[name].dtype and torch.equal(value, now[name]),
            f"{who} changes {name!r} of the network, which it may only read; work on a copy.",
        )
    for name, module in network.named_modules():
        require(
            modes.get(name) == module.training,
            f"{who} leaves module {name!r} in another mode (training or evaluation); put it back.",
        )
    for name, parameter in network.named_parameters():
        require(
            needs_grad.get(name) == parameter.requires_grad
            and gradients.get(name) == (parameter.grad is None),
            f"{who} leaves gradients, or another requires_grad, on {name!r}.",
        )
