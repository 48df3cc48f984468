"""Checkpoints: a fit that was interrupted goes on from its last one.

One safetensors file holds the tensors of a fit's state and, in its header, JSON with the rest and
with what the fit was started with. Nothing is pickled. The file is written beside its place and
moved there when it is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import types
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import safetensors
import safetensors.torch
import torch
from torch import nn

from optprune.errors import LoadError, SaveError
from optprune.fingerprint import describe, digest, digest_arrays
from optprune.split import Split
from optprune.surgery.state import dense_state
from optprune.training.hooks import Hooks

__all__ = ["Checkpoint", "Resumable", "identity"]

_FORMAT = 1
_HEADER = "optprune.fit"


class Resumable(Protocol):
    """The state of a fit between two epochs."""

    network: nn.Module

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all tensors of the state, copied to the CPU, by names that `load` knows."""
        ...

    def record(self) -> dict[str, Any]:
        """Return what is no tensor, of the kinds that JSON has."""
        ...

    def load(self, tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
        """Take over what `tensors` and `record` returned."""
        ...


class Checkpoint:
    """The file of one fit.

    Parameters
    ----------
    path : str or Path
        The file; its folder is made where it is missing.
    started_with : mapping of str to str
        What decides the fit besides the weights it starts from; see `identity`.
    """

    def __init__(self, path: str | Path, started_with: Mapping[str, str]) -> None:
        self.path = Path(path)
        self.started_with = dict(started_with)
        self._start = ""

    @contextlib.contextmanager
    def of(self, state: Resumable) -> Iterator[None]:
        """Go on from the file if there is one, else write the start; keep network and file equal.

        When the block ends by an exception, the network is given the weights of the last
        checkpoint, so that the same call goes on from it in the same process too.

        Parameters
        ----------
        state : Resumable
            At the start of the fit; changed to that of the file.

        Raises
        ------
        LoadError
            When the file cannot be read or belongs to another fit.
        SaveError
            When the file cannot be written.
        """
        if self.path.exists():
            self._resume(state)
        else:
            self._start = _weights(state.network)
            self.save(state)
        try:
            yield
        except BaseException:
            tensors, record = self._read()
            state.load(tensors, record)
            raise

    def save(self, state: Resumable) -> None:
        """Write the state, whole or not at all.

        Raises
        ------
        SaveError
            When it cannot be written, on a full disk for instance; the checkpoint before stays.
        """
        tensors = state.tensors()
        record = {
            "format": _FORMAT,
            "started_with": self.started_with,
            "start": self._start,
            "weights": _weights(state.network),
            "content": digest_arrays(dict(sorted(tensors.items()))),
            "state": state.record(),
        }
        unfinished = self.path.with_name(f".{self.path.name}-{uuid.uuid4().hex[:12]}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            safetensors.torch.save_file(tensors, unfinished, {_HEADER: json.dumps(record)})
            os.replace(unfinished, self.path)
        except (OSError, safetensors.SafetensorError) as error:
            raise SaveError(
                f"the checkpoint {str(self.path)!r} could not be written: {error}. Free some space "
                "or name another file by checkpoint=."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def _resume(self, state: Resumable) -> None:
        tensors, record = self._read(whole=False)
        self._start = record["start"]
        then, now = record["started_with"], self.started_with
        differences = [
            f"{name} is {then.get(name, 'not known')} there and {now.get(name, 'not known')} here"
            for name in sorted(then.keys() | now.keys())
            if then.get(name) != now.get(name)
        ]
        if not differences and _weights(state.network) not in (record["start"], record["weights"]):
            differences = [
                "the network has other weights here than the fit there began with or has come to"
            ]
        if differences:
            raise LoadError(
                f"checkpoint {str(self.path)!r} belongs to another fit: {'; '.join(differences)}. "
                "Name another file by checkpoint=, fit again with what it was written with, or "
                "remove the file to start anew."
            )
        if record["content"] != digest_arrays(dict(sorted(tensors.items()))):
            raise LoadError(
                f"checkpoint {str(self.path)!r} is damaged: its checksum is wrong. Remove it to "
                "start anew."
            )
        state.load(tensors, record["state"])

    def _read(self, *, whole: bool = True) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return the tensors and the record; only that of the state when `whole`."""
        try:
            with safetensors.safe_open(self.path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            record: dict[str, Any] = json.loads(header.get(_HEADER, "null"))
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise LoadError(
                f"checkpoint {str(self.path)!r} cannot be read ({error}); name another file by "
                "checkpoint=, or, if it is the damaged checkpoint of this fit, remove it to start "
                "anew."
            ) from error
        if not isinstance(record, dict) or record.get("format") != _FORMAT:
            raise LoadError(
                f"{str(self.path)!r} is not a checkpoint of a fit that this version of optprune "
                "reads; it is left alone. Name another file by checkpoint=."
            )
        return tensors, record["state"] if whole else record


def identity(
    trainer: Any,
    network: nn.Module,
    data: Split,
    *,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    outputs: Callable[..., torch.Tensor],
    seed: int,
    precision: str,
) -> dict[str, str]:
    """Return what decides a fit besides the weights that it starts from, each part in words.

    Parameters
    ----------
    trainer : dataclass
        Its fields count, those with ``compare=False`` aside.
    network : nn.Module
        Its class and the names, types and shapes of its tensors count.
    data : Split
        Every byte counts, and the type of device.
    loss, outputs : callable
        Known as `optprune.fingerprint.describe` knows them; a method by its name alone, as the
        object that it is bound to may hold the network in training.
    seed : int
        The seed.
    precision : str
        What is computed in.

    Returns
    -------
    dict of str to str
        The same in every process. Hooks are known by their names alone: what they hold may change
        in the course of the fit.
    """
    settings = {
        field.name: getattr(trainer, field.name)
        for field in dataclasses.fields(trainer)
        if field.compare
    }
    shapes = {n: (str(t.dtype), tuple(t.shape)) for n, t in dense_state(network).items()}
    return {
        **{
            name: _hook_names(value) if isinstance(value, Hooks) else repr(value)
            for name, value in settings.items()
        },
        "network": f"{type(network).__qualname__} {digest([describe(shapes)])[:8]}",
        "data": f"{len(data)} samples {data.digest[:16]}",
        "device": data.device.type,
        "loss": _function(loss),
        "outputs": _function(outputs),
        "seed": repr(seed),
        "precision": precision,
    }


def _function(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    if isinstance(function, types.MethodType):
        return f"{function.__module__}.{name}"
    return f"{name} {digest([describe(function)])[:16]}"


def _hook_names(hooks: Hooks) -> str:
    def name(function: Any) -> str:
        return str(getattr(function, "__qualname__", type(function).__qualname__))

    found: dict[str, list[str]] = {}
    for field in dataclasses.fields(hooks):
        for item in getattr(hooks, field.name):
            shown = f"{name(item[1])}/{item[0]}" if isinstance(item, tuple) else name(item)
            found.setdefault(field.name, []).append(shown)
    return repr(found)


def _weights(network: nn.Module) -> str:
    return digest_arrays(dense_state(network))
