"""The weights that rows of a front start from, where they are not the task's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from optprune.errors import LoadError
from optprune.formulation import Start

__all__ = ["load_starts", "save_starts"]

_FOLDER = "starts"


def save_starts(folder: Path, starts: Mapping[str, Start]) -> None:
    """Write starting weights, one file each, into a folder of a saved result."""
    if not starts:
        return
    (folder / _FOLDER).mkdir()
    for digest, start in starts.items():
        # Copies, because tensors that share storage cannot be written.
        tensors = {
            name: tensor.detach().cpu().clone().contiguous() for name, tensor in start.state.items()
        }
        try:
            save_file(tensors, folder / _FOLDER / f"{digest}.safetensors")
        except SafetensorError as error:
            raise OSError(str(error)) from error


def load_starts(folder: Path) -> dict[str, Start]:
    """Read the starting weights of a saved result.

    Raises
    ------
    LoadError
        If a file is damaged.
    """
    starts = {}
    for path in sorted((folder / _FOLDER).glob("*.safetensors")):
        try:
            starts[path.stem] = Start(load_file(path), path.stem)
        except (OSError, SafetensorError) as error:
            raise LoadError(f"{str(path)!r} is damaged: {error}.") from error
    return starts
