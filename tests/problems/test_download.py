"""Downloads: whole, checked, resumed, from one mirror or the other."""

from __future__ import annotations

import gzip
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from optprune.problems import download, fashion_mnist
from optprune.problems.fashion_mnist import read

from optprune.errors import ArgumentError, ArgumentTypeError, LoadError
from tests.problems.files import TEST_LABELS, TRAIN_IMAGES, agrees, put


@dataclass
class Mirror:
    """A server on this machine, how it behaves, and what it was asked for."""

    files: dict[str, bytes]
    ranges: bool = True
    break_after: int | None = None
    address: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0


def handler(mirror: Mirror) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, wanted = self.path.rpartition("/")[2], self.headers["Range"]
            mirror.asked.append((name, wanted))
            if name not in mirror.files:
                self.send_error(404)
                return
            content, status = mirror.files[name], 200
            if wanted and mirror.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_error(416)
                    return
                content, status = content[start:], 206
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            content = content[: mirror.break_after]
            mirror.sent += len(content)
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch, contents: dict[str, bytes]) -> Iterator[list[Mirror]]:
    """Two servers that have the small data set."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    packed = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in contents.items()}
    made, servers = [], []
    for _ in range(2):
        mirror = Mirror(dict(packed))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler(mirror))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        mirror.address = f"http://127.0.0.1:{server.server_address[1]}/data/"
        made.append(mirror)
        servers.append((server, thread))
    yield made
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def mirror(mirrors: list[Mirror]) -> Mirror:
    return mirrors[0]


def fetched(*mirrors: Mirror) -> fashion_mnist.FashionMNIST:
    return read(download=True, mirrors=[mirror.address for mirror in mirrors])


IMAGES = f"{TRAIN_IMAGES}.gz"


@pytest.fixture
def all_but_images(contents: dict[str, bytes], cache: Path) -> Path:
    """Only the train images are missing from the cache."""
    put(cache, {name: contents[name] for name in contents if name != TRAIN_IMAGES})
    return cache


class TestDownload:
    def test_what_is_missing_is_downloaded_once_into_the_cache(
        self,
        arrays: dict[str, npt.NDArray[np.uint8]],
        mirror: Mirror,
        cache: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
        assert agrees(fetched(mirror), arrays)
        assert {path.name: path.read_bytes() for path in cache.iterdir()} == mirror.files
        assert [wanted for _, wanted in mirror.asked] == [None] * 4
        assert agrees(fetched(mirror), arrays)
        assert agrees(read(), arrays)
        assert len(mirror.asked) == 4
        # No bar where nobody watches.
        assert capsys.readouterr().err == ""

    def test_a_bar_counts_bytes_in_a_terminal(
        self, mirror: Mirror, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        fetched(mirror)
        shown = capsys.readouterr().err
        assert "100%" in shown
        assert IMAGES in shown

    def test_without_download_nothing_is_asked_for(self, mirror: Mirror) -> None:
        with pytest.raises(LoadError, match="not found"):
            read(mirrors=[mirror.address])
        assert mirror.asked == []

    @pytest.mark.usefixtures("all_but_images")
    def test_only_missing_files_are_downloaded(self, mirror: Mirror) -> None:
        fetched(mirror)
        assert mirror.asked == [(IMAGES, None)]

    def test_a_part_is_completed(
        self,
        arrays: dict[str, npt.NDArray[np.uint8]],
        mirror: Mirror,
        all_but_images: Path,
    ) -> None:
        whole = mirror.files[IMAGES]
        (all_but_images / f"{IMAGES}.part").write_bytes(whole[:1000])
        assert agrees(fetched(mirror), arrays)
        assert mirror.asked == [(IMAGES, "bytes=1000-")]
        assert mirror.sent == len(whole) - 1000
        assert not (all_but_images / f"{IMAGES}.part").exists()

    def test_a_server_that_ignores_the_range_starts_over(
        self,
        arrays: dict[str, npt.NDArray[np.uint8]],
        mirror: Mirror,
        all_but_images: Path,
    ) -> None:
        mirror.ranges = False
        (all_but_images / f"{IMAGES}.part").write_bytes(b"other" * 1000)
        assert agrees(fetched(mirror), arrays)
        assert len(mirror.asked) == 1
        assert mirror.sent == len(mirror.files[IMAGES])

    def test_a_damaged_part_is_thrown_away_and_fetched_once_anew(
        self,
        arrays: dict[str, npt.NDArray[np.uint8]],
        mirror: Mirror,
        all_but_images: Path,
    ) -> None:
        (all_but_images / f"{IMAGES}.part").write_bytes(b"other")
        assert agrees(fetched(mirror), arrays)
        assert mirror.asked == [(IMAGES, "bytes=5-"), (IMAGES, None)]

    def test_a_part_that_is_whole_already_needs_no_byte(
        self,
        arrays: dict[str, npt.NDArray[np.uint8]],
        mirror: Mirror,
        all_but_images: Path,
    ) -> None:
        (all_but_images / f"{IMAGES}.part").write_bytes(mirror.files[IMAGES])
        assert agrees(fetched(mirror), arrays)
        assert mirror.sent == 0

    def test_a_part_that_is_too_long_is_thrown_away(
        self,
        arrays: dict[str, npt.NDArray[np.uint8]],
        mirror: Mirror,
        all_but_images: Path,
    ) -> None:
        whole = mirror.files[IMAGES]
        (all_but_images / f"{IMAGES}.part").write_bytes(whole + b"more")
        assert agrees(fetched(mirror), arrays)
        assert mirror.asked == [(IMAGES, f"bytes={len(whole) + 4}-"), (IMAGES, None)]
        assert mirror.sent == len(whole)

    def test_what_broke_off_is_no_file_and_goes_on_the_next_time(
        self,
        arrays: dict[str, npt.NDArray[np.uint8]],
        mirror: Mirror,
        all_but_images: Path,
    ) -> None:
        mirror.break_after = 700
        with pytest.raises(LoadError, match=r"broke off after 700 of .*Try again"):
            fetched(mirror)
        assert not (all_but_images / IMAGES).exists()
        assert (all_but_images / f"{IMAGES}.part").read_bytes() == mirror.files[IMAGES][:700]
        mirror.break_after = None
        assert agrees(fetched(mirror), arrays)
        assert mirror.asked[1:] == [(IMAGES, "bytes=700-")]
        assert mirror.sent == len(mirror.files[IMAGES])

    def test_the_next_mirror_goes_on_where_the_first_broke_off(
        self,
        arrays: dict[str, npt.NDArray[np.uint8]],
        mirrors: list[Mirror],
        all_but_images: Path,
    ) -> None:
        first, second = mirrors
        first.break_after = 700
        assert agrees(fetched(first, second), arrays)
        assert second.asked == [(IMAGES, "bytes=700-")]
        assert first.sent + second.sent == len(first.files[IMAGES])

    def test_an_interrupted_download_keeps_what_has_come(
        self, mirror: Mirror, all_but_images: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(download, "_CHUNK", 512)
        receive, received = download._read, []

        def interrupted(*arguments: Any) -> bytes:
            if len(received) == 2:
                raise KeyboardInterrupt
            received.append(receive(*arguments))
            return received[-1]

        monkeypatch.setattr(download, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetched(mirror)
        assert not (all_but_images / IMAGES).exists()
        assert (all_but_images / f"{IMAGES}.part").read_bytes() == mirror.files[IMAGES][:1024]

    @pytest.mark.parametrize(
        "damaged",
        [b"<html>Log in first</html>", gzip.compress(b"other", mtime=0)],
        ids=["page", "other file"],
    )
    def test_a_damaged_file_never_gets_its_final_name(
        self, mirror: Mirror, all_but_images: Path, damaged: bytes
    ) -> None:
        mirror.files[IMAGES] = damaged
        with pytest.raises(LoadError, match=f"{mirror.address}{IMAGES} gives a damaged file"):
            fetched(mirror)
        assert not list(all_but_images.glob(f"{IMAGES}*"))
        assert len(mirror.asked) == 1

    def test_a_mirror_without_the_file_or_with_a_damaged_one_is_passed_over(
        self, arrays: dict[str, npt.NDArray[np.uint8]], mirrors: list[Mirror]
    ) -> None:
        del mirrors[0].files[IMAGES]
        mirrors[0].files[f"{TEST_LABELS}.gz"] = b"damaged"
        assert agrees(fetched(*mirrors), arrays)
        assert [name for name, _ in mirrors[1].asked] == [IMAGES, f"{TEST_LABELS}.gz"]

    def test_the_answer_of_every_mirror_is_told(self, mirrors: list[Mirror]) -> None:
        for mirror in mirrors:
            mirror.files.clear()
        with pytest.raises(LoadError) as told:
            fetched(*mirrors)
        for mirror in mirrors:
            assert f"{mirror.address}{IMAGES} answers 404 Not Found" in str(told.value)

    @pytest.mark.usefixtures("contents")
    def test_a_server_that_cannot_be_reached_is_named_with_the_other_two_ways(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with socket.create_server(("127.0.0.1", 0)) as unused:
            address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(LoadError) as told:
            read(download=True, mirrors=[address])
        message = str(told.value)
        assert f"{address}/{IMAGES} cannot be reached" in message
        assert "apt-get install dataset-fashion-mnist" in message
        assert "folder=..." in message
        assert told.value.__cause__ is not None

    @pytest.mark.usefixtures("contents")
    def test_a_silent_server_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(download, "TIMEOUT", 0.05)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with pytest.raises(LoadError, match=r"timed out.*Try again"):
                read(download=True, mirrors=[address])

    def test_a_cache_that_cannot_be_written_is_told(
        self, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setenv("OPTPRUNE_CACHE", str(tmp_path / "file"))
        with pytest.raises(LoadError, match="environment variable OPTPRUNE_CACHE"):
            fetched(mirror)

    @pytest.mark.usefixtures("contents")
    def test_mirrors_are_addresses_of_the_web(self, tmp_path: Path) -> None:
        with pytest.raises(ArgumentTypeError, match=r"write mirrors=\['http://a/'\]"):
            read(download=True, mirrors="http://a/")
        with pytest.raises(ArgumentError, match="at least one"):
            read(download=True, mirrors=[])
        with pytest.raises(ArgumentError, match="start with http"):
            read(download=True, mirrors=[tmp_path.as_uri()])


def test_the_cache_is_the_users_unless_the_environment_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTPRUNE_CACHE", str(tmp_path))
    assert download.cache_folder() == tmp_path
    monkeypatch.setenv("OPTPRUNE_CACHE", "")
    assert "optprune" in download.cache_folder().parts
