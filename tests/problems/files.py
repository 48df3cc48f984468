"""Small files in the format of Fashion-MNIST."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
from optprune.problems import fashion_mnist

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (file.name for file in fashion_mnist.FILES)


def idx(array: npt.NDArray[np.uint8]) -> bytes:
    """Write an array in the IDX format."""
    dimensions = np.array(array.shape, dtype=">u4").tobytes()
    return bytes((0, 0, 8, array.ndim)) + dimensions + array.tobytes()


def put(folder: Path, contents: dict[str, bytes], *, compressed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def agrees(found: fashion_mnist.FashionMNIST, arrays: dict[str, npt.NDArray[np.uint8]]) -> bool:
    pairs = zip((*found.train, *found.test), arrays.values(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)
