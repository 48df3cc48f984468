"""What the ready-made cases share: weights that come with the package, and their problem."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from optprune.errors import ArgumentTypeError, LoadError, nearest
from optprune.formulation import Problem, Widths, metrics
from optprune.recovery import BatchNorm
from optprune.task import Task

__all__ = ["make_problem", "trained"]

Network = TypeVar("Network", bound=nn.Module)


def trained(make: Callable[[], Network], path: Path, name: str, command: str) -> Network:
    """Make a network and load its weights.

    Parameters
    ----------
    make : callable
        Makes the network with any weights; what it draws is given back to torch's generator.
    path : Path
        The weights, a safetensors file.
    name : str
        The network's name, for the error message.
    command : str
        What makes the weights again, for the error message.

    Returns
    -------
    nn.Module
        In evaluation mode, on the CPU.

    Raises
    ------
    LoadError
        When the weights are missing, damaged, or another network's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with torch.random.fork_rng(devices=[]):
        made = make()
    try:
        made.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise LoadError(
            f"The weights of the {name} network cannot be read from {path}: {error}. Make them "
            f"again with: {command}"
        ) from error
    return made.eval()


def make_problem(
    task: Callable[[], Task], changes: Mapping[str, Any], own: Mapping[str, Any] | None = None
) -> Problem:
    """Make a case's problem: by default least error at least MACs.

    Widths in steps of four channels that leave by their L1 score, batch-norm recalibration, and the
    validation error and the MACs as objectives.

    Parameters
    ----------
    task : callable
        Makes the case's task; only called when `changes` hold no other.
    changes : mapping of str to Any
        Arguments of `optprune.formulation.Problem` that the user gave, which replace all others,
        and ``"task"``.
    own : mapping of str to Any, optional
        Arguments of `optprune.formulation.Problem` that the case chooses in place of these.

    Returns
    -------
    Problem

    Raises
    ------
    ArgumentTypeError
        When a key is none of them.
    """
    known = {"task", *inspect.signature(Problem).parameters}
    for name in changes:
        if name not in known:
            raise ArgumentTypeError(
                f"problem() got an unknown argument {name!r}; it takes {', '.join(sorted(known))}."
                f"{nearest(name, known)}"
            )
    settings: dict[str, Any] = {
        "space": Widths(step=4),
        "recovery": BatchNorm(),
        "objectives": [metrics.error, metrics.macs],
    }
    settings |= {**(own or {}), **changes}
    given = settings.pop("task", None)
    return Problem(task() if given is None else given, **settings)
