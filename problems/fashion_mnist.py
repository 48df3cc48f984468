"""Fashion-MNIST: where its four files are, and how they are checked and read.

60,000 and 10,000 grey images of 28×28 pixels, clothes in ten classes (Xiao et al. 2017). The files
are not shipped: they are read from a folder of the user's, from the Debian package
``dataset-fashion-mnist``, or from the user's cache, into which they are downloaded on request.

References
----------
H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine
learning algorithms, 2017, arXiv:1708.07747.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from optprune.problems.download import cache_folder, fetch

from optprune.errors import ArgumentError, LoadError

__all__ = [
    "DEBIAN_FOLDER",
    "FILES",
    "MIRRORS",
    "FashionMNIST",
    "IdxFile",
    "Labelled",
    "parse",
    "read",
]

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package ``dataset-fashion-mnist`` puts the files."""

MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
"""Where the files can be downloaded from, tried in order."""

CLASSES = 10

_PACKAGE = "install the Debian package (apt-get install dataset-fashion-mnist)"
_FOLDER = "give folder=..., where the four files are, plain or as .gz"
_WAYS = f"{_PACKAGE}, {_FOLDER}, or give download=True (30 MB)"


@dataclass(frozen=True)
class IdxFile:
    """What a file of the data set must hold.

    Parameters
    ----------
    name : str
        Without ``.gz``.
    shape : tuple of int
        Of the array of bytes: ``(n, height, width)`` for images, ``(n,)`` for labels.
    sha256 : str
        Checksum of the uncompressed content, 64 hexadecimal digits.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def size(self) -> int:
        """Bytes of the uncompressed content: magic number, dimensions, values."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)


FILES = (
    IdxFile(
        "train-images-idx3-ubyte",
        (60_000, 28, 28),
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    IdxFile(
        "train-labels-idx1-ubyte",
        (60_000,),
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    IdxFile(
        "t10k-images-idx3-ubyte",
        (10_000, 28, 28),
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    IdxFile(
        "t10k-labels-idx1-ubyte",
        (10_000,),
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)
"""The four files: images and labels to train, images and labels to test."""


class Labelled(NamedTuple):
    """Images of shape ``(n, 28, 28)`` and their labels 0 to 9, shape ``(n,)``, both uint8."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


class FashionMNIST(NamedTuple):
    """The data set as it was published: 60,000 images to train, 10,000 to test."""

    train: Labelled
    test: Labelled


def read(
    folder: str | Path | None = None,
    *,
    download: bool = False,
    mirrors: Sequence[str] = MIRRORS,
) -> FashionMNIST:
    """Find, check and read the data set.

    Parameters
    ----------
    folder : str or Path, optional
        Holds the four files, plain or as ``.gz``; they are looked for there only. By default they
        are looked for in the Debian package's folder and then in the user's cache
        (``OPTPRUNE_CACHE``, or the operating system's cache folder).
    download : bool
        Whether files that are found in neither are downloaded into the cache (30 MB in all).
    mirrors : sequence of str
        Where from, tried in order.

    Returns
    -------
    FashionMNIST
        Arrays that cannot be written to.

    Raises
    ------
    LoadError
        When a file is missing, damaged, or cannot be downloaded.
    ArgumentError
        When both `folder` and `download` are given, or `mirrors` cannot be used.
    ArgumentTypeError
        When `mirrors` is one text instead of a sequence of them.
    """
    if folder is not None and download:
        raise ArgumentError(
            f"folder={str(folder)!r} and download=True exclude each other: with a folder, the "
            "files are read from there only, and a download goes into the cache; give one of them."
        )
    cache = cache_folder() / "fashion-mnist"
    places = (DEBIAN_FOLDER, cache) if folder is None else (Path(folder).expanduser(),)
    found = {file: _find(file.name, places) for file in FILES}
    missing = [file for file, path in found.items() if path is None]
    if missing and not download:
        raise LoadError(
            f"Fashion-MNIST: {', '.join(file.name for file in missing)} not found in "
            f"{' or '.join(str(place) for place in places)}. You can {_WAYS}."
        )
    for file in missing:
        found[file] = fetch(
            f"{file.name}.gz",
            mirrors=mirrors,
            folder=cache,
            sha256=file.sha256,
            remedy=f"Try again, which goes on where it broke off, {_PACKAGE}, or {_FOLDER}.",
        )
    arrays = [_checked(path, file) for file, path in found.items() if path is not None]
    return FashionMNIST(Labelled(*arrays[:2]), Labelled(*arrays[2:]))


def parse(content: bytes, file: IdxFile, where: str | Path) -> npt.NDArray[np.uint8]:
    """Read the array in a file of the IDX format.

    Parameters
    ----------
    content : bytes
        Magic number, dimensions, values.
    file : IdxFile
        What it must hold; one dimension stands for labels.
    where : str or Path
        The file's name, for error messages.

    Returns
    -------
    ndarray of uint8, shape ``file.shape``
        A view of `content`.

    Raises
    ------
    LoadError
        When it holds something else.

    Notes
    -----
    The magic number is two zero bytes, the type (8: unsigned bytes), and the number of dimensions;
    each dimension is a big-endian number of four bytes. The last index runs fastest.
    """
    magic = bytes((0, 0, 8, len(file.shape)))
    if content[:4] != magic:
        raise _damaged(
            where, f"it starts with {content[:4].hex(' ')} and must start with {magic.hex(' ')}"
        )
    if len(content) != file.size:
        raise _damaged(where, f"it has {len(content):,} bytes, expected {file.size:,}")
    header = 4 + 4 * len(file.shape)
    shape = tuple(np.frombuffer(content[4:header], ">u4").tolist())
    if shape != file.shape:
        raise _damaged(where, f"it says that its shape is {shape}, expected {file.shape}")
    array = np.frombuffer(content, np.uint8, offset=header).reshape(file.shape)
    if array.ndim == 1 and array.size and array.max() >= CLASSES:
        raise _damaged(where, f"it holds the label {array.max()}, and labels are 0 to 9")
    return array


def _find(name: str, places: Sequence[Path]) -> Path | None:
    """Return the first file of a name, plain or compressed."""
    candidates = (place / f"{name}{ending}" for place in places for ending in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _checked(path: Path, file: IdxFile) -> npt.NDArray[np.uint8]:
    """Read a file whose checksum is right."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            # One byte more than there should be tells a longer file without reading all of it.
            content = stream.read(file.size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, f"it cannot be uncompressed: {error}") from error
    except OSError as error:
        raise LoadError(
            f"Fashion-MNIST: {path} cannot be read: {error}. Make it readable, or {_WAYS}."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise _damaged(path, f"the SHA-256 of its content is {found}, expected {file.sha256}")
    return parse(content, file, path)


def _damaged(where: str | Path, what: str) -> LoadError:
    return LoadError(f"Fashion-MNIST: {where} is damaged: {what}. Remove it, and then {_WAYS}.")
