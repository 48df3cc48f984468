"""Saving a smaller network, and loading it again without unpickling anything.

A folder holds ``structure.json`` (what was kept, the dense shapes, checksums, and how the dense
network is built, if that is known) and ``weights.safetensors`` (every tensor once).
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from optprune.errors import ArgumentError, LoadError
from optprune.folders import whole_folder
from optprune.surgery.admission import admit
from optprune.surgery.attributes import (
    dense_attributes,
    narrow_attributes,
    set_attributes,
    set_sizes,
)
from optprune.surgery.caches import forget
from optprune.surgery.graph import ChannelGraph
from optprune.surgery.slicing import check_shapes
from optprune.surgery.state import dense_state, empty_copy, install, slots
from optprune.surgery.structure import FORMAT, Structure
from optprune.surgery.surroundings import plain_settings

__all__ = ["Build", "load", "save"]

_STRUCTURE, _WEIGHTS = "structure.json", "weights.safetensors"


@dataclass(frozen=True)
class Build:
    """How the dense network is made again: a function and its arguments.

    Parameters
    ----------
    target : str
        ``"package.module:function"``.
    arguments : dict
        Keyword arguments, of the kinds that JSON has.

    Raises
    ------
    ArgumentError
        If the target has another form.
    """

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        module, colon, function = self.target.partition(":")
        if not (module and colon and function):
            raise ArgumentError(
                f"target must be written 'package.module:function'; got {self.target!r}."
            )

    def make(self) -> nn.Module:
        """Import the function and call it.

        Raises
        ------
        LoadError
            If it cannot be imported, raises, or returns something that is not a network.
        """
        module, _, name = self.target.partition(":")
        try:
            network = getattr(importlib.import_module(module), name)(**self.arguments)
        except Exception as error:
            raise LoadError(
                f"the recorded build {self.target!r} failed ({type(error).__name__}: {error}); "
                "make the dense network yourself and hand it over: load(folder, network=...)."
            ) from error
        if not isinstance(network, nn.Module):
            raise LoadError(
                f"the recorded build {self.target!r} returned a {type(network).__name__}, not a "
                "network; hand the dense network over: load(folder, network=...)."
            )
        return network


def save(
    folder: str | Path,
    network: nn.Module,
    structure: Structure,
    graph: ChannelGraph,
    *,
    build: Build | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Save a smaller network.

    Parameters
    ----------
    folder : str or Path
        Where to; a network that was saved there before is replaced.
    network : nn.Module
        The smaller network, from `cut` or a result; it may have been trained since.
    structure : Structure
        The structure that it has.
    graph : ChannelGraph
        The graph of the dense network.
    build : Build, optional
        How the dense network is made, so that `load` can do without one.
    extra : mapping, optional
        Anything else that JSON can hold, to be kept beside it (measured values, say).

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    GraphMismatchError
        If the network does not have this structure.
    ArgumentTypeError, TraceError
        If the network is not a plain one.
    ArgumentError
        If `build` or `extra` hold what JSON cannot.
    SaveError
        If writing fails, on a full disk for instance; nothing half-written is left.
    """
    admit(network)
    graph.check(structure)
    state = dense_state(network)
    expected = tuple((name, tuple(shape)) for name, shape in _shapes(graph, structure).items())
    check_shapes({name: tuple(tensor.shape) for name, tensor in state.items()}, expected)
    weights = safetensors.torch.save(
        {name: t.cpu().clone().contiguous() for name, t in state.items()}
    )
    document: dict[str, Any] = {
        "format": FORMAT,
        "structure": json.loads(structure.to_json()),
        "dense_shapes": {name: list(shape) for name, shape in graph.shapes},
        "attributes": {
            name: sorted(sizes.items())
            for name, sizes in narrow_attributes(graph, structure).items()
        },
        "caches": list(graph.caches),
        "weights": hashlib.blake2b(weights, digest_size=16).hexdigest(),
        "training": network.training,
        "extra": dict(extra or {}),
    }
    if build is not None:
        document["build"] = {"target": build.target, "arguments": dict(build.arguments)}
    try:
        document["checksum"] = _checksum(document)
        text = json.dumps(document, indent=1, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"build and extra must hold what JSON can (numbers, strings, lists, dicts): {error}."
        ) from error
    with whole_folder(folder, _STRUCTURE) as place:
        (place / _WEIGHTS).write_bytes(weights)
        (place / _STRUCTURE).write_text(text, encoding="utf-8")
    return Path(folder)


@plain_settings()
def load(folder: str | Path, network: nn.Module | None = None, *, trust: bool = False) -> nn.Module:
    """Load a smaller network.

    Parameters
    ----------
    folder : str or Path
        What `save` wrote.
    network : nn.Module, optional
        A dense network of the same architecture, with any weights; it is not changed.
    trust : bool
        Allow to import and call the function that the folder records as `Build`. Say so only for
        folders whose origin you trust.

    Returns
    -------
    nn.Module
        The network, of the class of the dense one, on the dense one's device.

    Raises
    ------
    LoadError
        If something is missing or damaged, or there is neither a network nor a trusted build.
    GraphMismatchError
        If `network` has another architecture.
    ArgumentTypeError, TraceError
        If `network` is not a plain one, or cannot be copied.
    """
    place = Path(folder)
    document = _read(place / _STRUCTURE)
    tensors = _read_weights(place / _WEIGHTS, document["weights"])
    dense = network if network is not None else _build(place, document, trust)
    admit(dense)
    expected = tuple((name, tuple(s)) for name, s in document["dense_shapes"].items())
    own = dense_state(dense)
    check_shapes({name: tuple(tensor.shape) for name, tensor in own.items()}, expected)
    if set(tensors) != set(own):
        raise LoadError(f"{place / _WEIGHTS} holds other tensors than {_STRUCTURE} names.")
    device = next((tensor.device for tensor in own.values()), torch.device("cpu"))
    small = empty_copy(dense)
    modules = dict(small.named_modules())
    install(modules, slots(dense), {name: tensor.to(device) for name, tensor in tensors.items()})
    set_sizes(modules, dense_attributes(dense))
    set_attributes(modules, {name: dict(s) for name, s in document["attributes"].items()})
    forget(modules, document.get("caches", ()))
    return small.train(bool(document["training"]))


def _shapes(graph: ChannelGraph, structure: Structure) -> dict[str, list[int]]:
    """Return the shapes that the tensors of a structure have."""
    shapes = {name: list(shape) for name, shape in graph.shapes}
    for axis in graph.axes:
        shapes[axis.tensor][axis.dim] = len(axis.kept(structure))
    return shapes


def _checksum(document: Mapping[str, Any]) -> str:
    """Return the digest of everything but the checksum itself."""
    rest = {key: value for key, value in document.items() if key != "checksum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """Read and check the document."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read ({error}); is it a folder from save?") from error
    if not isinstance(document, dict) or "format" not in document:
        raise LoadError(f"{path} is not the description of a saved network.")
    if document["format"] != FORMAT:
        raise LoadError(
            f"{path} is written in format {document['format']!r}; this version of optprune reads "
            f"format {FORMAT}. Install the version that wrote it."
        )
    if document.get("checksum") != _checksum(document):
        raise LoadError(f"{path} is damaged: its checksum is wrong. Save the network again.")
    return document


def _read_weights(path: Path, digest: str) -> dict[str, torch.Tensor]:
    """Read and check the tensors."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LoadError(f"{path} cannot be read ({error}).") from error
    if hashlib.blake2b(content, digest_size=16).hexdigest() != digest:
        raise LoadError(
            f"{path} is damaged, or belongs to another {_STRUCTURE}: its checksum is wrong. Save "
            "the network again."
        )
    try:
        return safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise LoadError(f"{path} is not a file of tensors ({error}).") from error


def _build(place: Path, document: Mapping[str, Any], trust: bool) -> nn.Module:
    """Make the dense network as recorded."""
    recorded = document.get("build")
    by_hand = "make the dense network yourself and hand it over: load(folder, network=...)"
    if recorded is None:
        raise LoadError(f"{place} does not record how its network is built; {by_hand}.")
    build = Build(recorded["target"], recorded["arguments"])
    if not trust:
        raise LoadError(
            f"{place} records that its network is built by {build.target!r}. Either {by_hand}, or, "
            "if you trust the folder, let it import and call that: load(folder, trust=True)."
        )
    return build.make()
