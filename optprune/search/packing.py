"""Packing: a problem becomes bytes and a file, and is a problem again in another process.

Functions and classes that no other process could import (of a notebook, of a script, lambdas) are
packed by value. Every tensor's memory goes into the file, once, however many tensors share it; who
unpacks maps the file, so that all processes of a machine have one copy of network and data in
memory, until one of them writes to it.
"""

from __future__ import annotations

import io
import marshal
import pickle
from pathlib import Path
from types import CodeType
from typing import IO, Any, TypeAlias

import cloudpickle
import numpy as np
import torch
from torch.storage import TypedStorage, UntypedStorage

from optprune.formulation import Metric

__all__ = ["pack", "unpack"]

_Place: TypeAlias = tuple[int, int, torch.dtype | None]
"""Where in the file a storage begins, its bytes, and its type if it has one."""

_ALIGNMENT = 64
"""Bytes by which addresses are kept alike: some kernels round differently at another alignment."""


def pack(thing: object, path: Path) -> bytes:
    """Pack a thing for other processes of this machine.

    Parameters
    ----------
    thing : object
        What to pack.
    path : Path
        The file for the memory of its tensors; tensors on other devices than the CPU go into the
        bytes.

    Returns
    -------
    bytes
        Everything else.

    Raises
    ------
    Exception
        Whatever something that cannot be pickled raises.
    OSError
        If the file cannot be written.
    """
    stream = io.BytesIO()
    with path.open("wb") as file:
        _Packer(stream, file).dump(thing)
    return stream.getvalue()


def unpack(packed: bytes, path: Path) -> Any:
    """Return what was packed.

    Parameters
    ----------
    packed : bytes
        From `pack`.
    path : Path
        The file that `pack` has written. It is mapped, and may be written to in memory only.

    Returns
    -------
    object

    Raises
    ------
    Exception
        Whatever something that cannot be unpickled raises.
    OSError
        If the file cannot be read.
    """
    return _Unpacker(packed, path).load()


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Pickles by value what cannot be imported, and writes storages into a file."""

    def __init__(self, stream: IO[bytes], file: IO[bytes]) -> None:
        super().__init__(stream)
        self._file = file
        self._places: dict[tuple[int, int], int] = {}
        self._held: list[UntypedStorage] = []

    def persistent_id(self, thing: Any) -> _Place | None:
        """Return the place of a storage; everything else is pickled."""
        if isinstance(thing, TypedStorage):
            storage, dtype = thing._untyped_storage, thing.dtype
        elif isinstance(thing, UntypedStorage):
            storage, dtype = thing, None
        else:
            return None
        if storage.device.type != "cpu":
            return None
        key = (storage.data_ptr(), storage.nbytes())
        if key not in self._places:
            self._held.append(storage)  # its address must not become another's meanwhile
            self._places[key] = self._write(storage)
        return self._places[key], storage.nbytes(), dtype

    def reducer_override(self, thing: Any) -> Any:
        """Pickle code with the name of its file, and a metric of a script by value.

        Reasons of failures tell the file. The function of such a metric is hidden behind the
        metric that the decorator made of it; elsewhere that metric is imported, but nobody can
        import a script or notebook that runs.
        """
        if isinstance(thing, CodeType):
            return marshal.loads, (marshal.dumps(thing),)
        if type(thing) is Metric and getattr(thing.function, "__module__", None) == "__main__":
            return _metric, (dict(thing.__dict__),)
        return super().reducer_override(thing)

    def _write(self, storage: UntypedStorage) -> int:
        """Write a storage to the file, at an offset that is aligned as its address is."""
        end = self._file.tell()
        offset = end + (storage.data_ptr() - end) % _ALIGNMENT
        self._file.write(bytes(offset - end))
        self._file.write(torch.empty(0, dtype=torch.uint8).set_(storage).numpy().data)
        return offset


class _Unpacker(pickle.Unpickler):
    """Finds storages in the mapped file."""

    def __init__(self, packed: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(packed))
        empty = path.stat().st_size == 0
        self._memory = None if empty else np.memmap(path, dtype=np.uint8, mode="c")
        self._storages: dict[int, UntypedStorage] = {}

    def persistent_load(self, place: _Place) -> TypedStorage | UntypedStorage:
        """Return the storage at a place."""
        offset, size, dtype = place
        if self._memory is None or size == 0:
            storage = UntypedStorage(0)  # type: ignore[no-untyped-call]
        elif offset in self._storages:
            storage = self._storages[offset]
        else:
            part = torch.from_numpy(self._memory[offset : offset + size])
            storage = self._storages[offset] = part.untyped_storage()
        if dtype is None:
            return storage
        return TypedStorage(  # type: ignore[no-untyped-call]
            wrap_storage=storage, dtype=dtype, _internal=True
        )


def _metric(state: dict[str, Any]) -> Metric:
    """Make a metric from its fields."""
    return Metric(**state)
