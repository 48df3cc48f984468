"""A small data set in the format of Fashion-MNIST, in memory and in a cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from optprune.problems import fashion_mnist
from optprune.problems.fashion_mnist import IdxFile

from tests.problems.files import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, idx


@pytest.fixture
def arrays() -> dict[str, npt.NDArray[np.uint8]]:
    generator = np.random.default_rng(0)

    def draw(below: int, *shape: int) -> npt.NDArray[np.uint8]:
        return generator.integers(0, below, shape, dtype=np.uint8)

    return {
        TRAIN_IMAGES: draw(256, 30, 28, 28),
        TRAIN_LABELS: draw(10, 30),
        TEST_IMAGES: draw(256, 5, 28, 28),
        TEST_LABELS: draw(10, 5),
    }


@pytest.fixture
def contents(
    arrays: dict[str, npt.NDArray[np.uint8]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, bytes]:
    """A small data set of the same form takes the place of the real one; none of it is found."""
    made = {name: idx(array) for name, array in arrays.items()}
    files = tuple(
        IdxFile(name, arrays[name].shape, hashlib.sha256(content).hexdigest())
        for name, content in made.items()
    )
    monkeypatch.setattr(fashion_mnist, "FILES", files)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "no package")
    monkeypatch.setenv("OPTPRUNE_CACHE", str(tmp_path / "cache"))
    return made


@pytest.fixture
def cache(contents: dict[str, bytes], tmp_path: Path) -> Path:
    folder = tmp_path / "cache" / "fashion-mnist"
    folder.mkdir(parents=True)
    return folder
