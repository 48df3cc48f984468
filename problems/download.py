"""Download a file that is too large to ship: into the user's cache, resumed, and checked.

What has come so far is in ``NAME.part``; it gets its final name when its content has the expected
checksum, and so a file with the final name is always whole.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from optprune.bar import progress_bar
from optprune.errors import ArgumentError, ArgumentTypeError, LoadError

__all__ = ["CACHE_VARIABLE", "TIMEOUT", "cache_folder", "fetch"]

CACHE_VARIABLE = "OPTPRUNE_CACHE"
"""The environment variable that names another cache folder."""

TIMEOUT = 30.0
"""Seconds without a byte after which a server counts as silent."""

_CHUNK = 1 << 18  # bytes read at once


class _MirrorError(Exception):
    """One mirror does not give the file; the next one may."""


def cache_folder() -> Path:
    """Return the folder for downloads; it need not exist yet.

    Returns
    -------
    Path
        What the environment variable ``OPTPRUNE_CACHE`` names, or else the cache folder that the
        operating system has for each user.
    """
    import platformdirs

    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    return platformdirs.user_cache_path("optprune", appauthor=False)


def fetch(name: str, *, mirrors: Sequence[str], folder: Path, sha256: str, remedy: str) -> Path:
    """Download one compressed file, going on where an earlier download broke off.

    Parameters
    ----------
    name : str
        The file's name, which ends with ``.gz``.
    mirrors : sequence of str
        Addresses of the folders that have the file, tried in order.
    folder : Path
        Where the file goes; it is made where it is missing.
    sha256 : str
        Checksum of the uncompressed content, 64 hexadecimal digits.
    remedy : str
        What to do instead where nothing can be downloaded; ends the error message.

    Returns
    -------
    Path
        ``folder / name``, whole and checked.

    Raises
    ------
    LoadError
        When no mirror gives a sound file, or the folder cannot be written to. What has come stays
        in ``NAME.part`` for the next call, unless it is damaged.
    ArgumentError
        When there is no mirror, or one is no address of the web.
    ArgumentTypeError
        When `mirrors` is one text instead of a sequence of them.

    Notes
    -----
    A ``.part`` that turns out damaged, such as one that another server began, is thrown away, and
    the file is fetched once anew. Two processes that download the same file write the same bytes
    to the same places.
    """
    _check_mirrors(mirrors)
    target = folder / name
    part = folder / f"{name}.part"
    failures: list[_MirrorError] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for mirror in mirrors:
            try:
                _receive_sound(f"{mirror.rstrip('/')}/{name}", part, sha256)
            except _MirrorError as error:
                failures.append(error)
            else:
                os.replace(part, target)
                return target
    except OSError as error:
        raise LoadError(
            f"{name} cannot be downloaded into {folder}: {error}. Free some space, or name another "
            f"folder by the environment variable {CACHE_VARIABLE}. {remedy}"
        ) from error
    told = "; ".join(str(error) for error in failures)
    raise LoadError(f"{name} could not be downloaded: {told}. {remedy}") from failures[-1]


def _check_mirrors(mirrors: Sequence[str]) -> None:
    if isinstance(mirrors, str):
        raise ArgumentTypeError(
            f"mirrors must be a sequence of addresses, got the text {mirrors!r}: write "
            f"mirrors=[{mirrors!r}]."
        )
    if not mirrors:
        raise ArgumentError("mirrors must hold at least one address, got none.")
    for mirror in mirrors:
        if not mirror.startswith(("http://", "https://")):
            raise ArgumentError(
                f"mirrors must be addresses that start with http:// or https://, got {mirror!r}."
            )


def _receive_sound(address: str, part: Path, sha256: str) -> None:
    """Make `part` whole from one mirror."""
    # The second round is for what was resumed and then found damaged.
    for _ in range(2):
        resumed = _receive(address, part)
        if _content_digest(part) == sha256:
            return
        part.unlink()
        if not resumed:
            break
    raise _MirrorError(f"{address} gives a damaged file (its SHA-256 is not {sha256})")


def _receive(address: str, part: Path) -> bool:
    """Append to `part` what is missing; return whether its beginning was there before."""
    start = part.stat().st_size if part.exists() else 0
    answer = _ask(address, start)
    if answer is None:
        return True
    with answer:
        # A server that ignores the range answers 200 and sends everything.
        resumed = start > 0 and answer.status == HTTPStatus.PARTIAL_CONTENT
        position = start if resumed else 0
        total = None if answer.length is None else position + answer.length
        with (
            part.open("r+b" if resumed else "wb") as file,
            progress_bar(total, part.stem, "B", initial=position, unit_scale=True) as bar,
        ):
            file.seek(position)
            while chunk := _read(answer, address):
                file.write(chunk)
                bar.update(len(chunk))
            received = file.tell()
    if total is not None and received != total:
        raise _MirrorError(f"{address} broke off after {received:,} of {total:,} bytes")
    return resumed


def _ask(address: str, start: int) -> HTTPResponse | None:
    """Ask for a file from byte `start` on; None when nothing comes after that."""
    request = Request(address, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with _failing(address):
            answer: HTTPResponse = urlopen(request, timeout=TIMEOUT)
            return answer
    except _MirrorError as error:
        cause = error.__cause__
        if (
            start
            and isinstance(cause, HTTPError)
            and cause.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        ):
            return None
        raise


def _read(answer: HTTPResponse, address: str) -> bytes:
    with _failing(address):
        return answer.read(_CHUNK)


@contextmanager
def _failing(address: str) -> Iterator[None]:
    """Turn the errors of the network into ours, apart from those of the disk."""
    try:
        yield
    except HTTPError as error:
        error.close()
        raise _MirrorError(f"{address} answers {error.code} {error.reason}") from error
    except URLError as error:
        raise _MirrorError(f"{address} cannot be reached ({error.reason})") from error
    except (OSError, HTTPException, ValueError) as error:
        told = str(error) or type(error).__name__
        raise _MirrorError(f"{address} failed ({told})") from error


def _content_digest(path: Path) -> str | None:
    """Return the SHA-256 of what a file holds uncompressed, None where it is no gzip file."""
    state = hashlib.sha256()
    try:
        with gzip.open(path) as file:
            while chunk := file.read(_CHUNK):
                state.update(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return None
    return state.hexdigest()
