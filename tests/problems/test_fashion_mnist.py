"""Fashion-MNIST: found, checked and read; downloaded whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from optprune.problems import fashion_mnist
from optprune.problems.fashion_mnist import IdxFile, parse, read

from optprune.errors import ArgumentError, LoadError
from tests.problems.files import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, agrees, idx, put


class TestReading:
    @pytest.mark.parametrize("compressed", [False, True])
    def test_plain_and_compressed_files_are_read_alike(
        self,
        arrays: dict[str, npt.NDArray[np.uint8]],
        contents: dict[str, bytes],
        tmp_path: Path,
        compressed: bool,
    ) -> None:
        put(tmp_path / "mine", contents, compressed=compressed)
        assert agrees(read(tmp_path / "mine"), arrays)
        assert agrees(read(str(tmp_path / "mine")), arrays)

    def test_the_package_and_the_cache_are_looked_into_file_by_file(
        self,
        arrays: dict[str, npt.NDArray[np.uint8]],
        contents: dict[str, bytes],
        cache: Path,
    ) -> None:
        names = list(contents)
        put(cache, {name: contents[name] for name in names[:3]}, compressed=True)
        put(fashion_mnist.DEBIAN_FOLDER, {names[3]: contents[names[3]]})
        assert agrees(read(), arrays)

    def test_the_package_comes_before_the_cache(
        self,
        arrays: dict[str, npt.NDArray[np.uint8]],
        contents: dict[str, bytes],
        cache: Path,
    ) -> None:
        put(fashion_mnist.DEBIAN_FOLDER, contents)
        put(cache, dict.fromkeys(contents, b"damaged"))
        assert agrees(read(), arrays)

    def test_a_named_folder_is_the_only_one_looked_into(
        self, contents: dict[str, bytes], cache: Path, tmp_path: Path
    ) -> None:
        put(cache, contents)
        with pytest.raises(LoadError, match=f"{TRAIN_IMAGES}, .* not found in .*elsewhere"):
            read(tmp_path / "elsewhere")

    @pytest.mark.parametrize(
        "way", ["apt-get install dataset-fashion-mnist", r"folder=\.\.\.", r"download=True \(30 MB"]
    )
    @pytest.mark.usefixtures("contents")
    def test_when_it_is_missing_all_three_ways_are_told(self, way: str) -> None:
        with pytest.raises(LoadError, match=way):
            read()

    def test_only_the_missing_files_are_named(
        self, contents: dict[str, bytes], cache: Path
    ) -> None:
        put(cache, {name: contents[name] for name in contents if name != TEST_LABELS})
        with pytest.raises(LoadError, match=f"^Fashion-MNIST: {TEST_LABELS} not found"):
            read()

    @pytest.mark.usefixtures("contents")
    def test_a_folder_and_a_download_exclude_each_other(self, tmp_path: Path) -> None:
        with pytest.raises(ArgumentError, match="give one of them"):
            read(tmp_path, download=True)

    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("damage", ["changed", "cut", "longer", "empty"])
    def test_a_damaged_file_is_named_with_the_remedy(
        self, contents: dict[str, bytes], cache: Path, compressed: bool, damage: str
    ) -> None:
        put(cache, contents, compressed=compressed)
        path = cache / f"{TEST_IMAGES}{'.gz' if compressed else ''}"
        whole = path.read_bytes()
        middle = len(whole) // 2
        changed = bytes((whole[middle] ^ 1,))
        path.write_bytes(
            {
                "changed": whole[:middle] + changed + whole[middle + 1 :],
                "cut": whole[:middle],
                "longer": whole + whole,
                "empty": b"",
            }[damage]
        )
        with pytest.raises(LoadError, match=rf"{path.name} is damaged.*Remove it, and then"):
            read()

    def test_a_file_that_cannot_be_read_is_named(
        self, contents: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(cache, contents)

        def refuse(self: Path, *_: Any, **__: Any) -> None:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(LoadError, match=rf"{TRAIN_IMAGES} cannot be read: .*denied"):
            read()


class TestFormat:
    LABELS = IdxFile("labels", (3,), "")
    IMAGES = IdxFile("images", (2, 2, 3), "")

    def test_the_last_index_runs_fastest(self) -> None:
        array = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        np.testing.assert_array_equal(parse(idx(array), self.IMAGES, "images"), array)

    @pytest.mark.parametrize(
        "magic", [b"\x00\x00\x08\x03", b"\x00\x00\x0d\x01", b"\x08\x00\x00\x01"]
    )
    def test_another_magic_number_is_refused(self, magic: bytes) -> None:
        content = magic + idx(np.zeros(3, np.uint8))[4:]
        with pytest.raises(LoadError, match=r"labels is damaged: it starts with .* 00 00 08 01"):
            parse(content, self.LABELS, "labels")

    def test_another_shape_of_as_many_values_is_refused(self) -> None:
        content = idx(np.zeros((2, 3, 2), np.uint8))
        with pytest.raises(LoadError, match=r"\(2, 3, 2\), expected \(2, 2, 3\)"):
            parse(content, self.IMAGES, "images")

    @pytest.mark.parametrize("length", [0, 3, 6, 10, 12])
    def test_too_few_or_too_many_bytes_are_refused(self, length: int) -> None:
        content = (idx(np.zeros(3, np.uint8)) + b"\x00")[:length]
        with pytest.raises(LoadError, match="is damaged"):
            parse(content, self.LABELS, "labels")

    def test_a_label_above_nine_is_refused(self) -> None:
        with pytest.raises(LoadError, match="holds the label 10"):
            parse(idx(np.array([0, 10, 9], np.uint8)), self.LABELS, "labels")


def test_the_published_files_hold_6000_and_1000_images_of_each_class() -> None:
    if not fashion_mnist.DEBIAN_FOLDER.is_dir():
        pytest.skip("Fashion-MNIST is missing: apt-get install dataset-fashion-mnist")
    data = read()
    assert np.bincount(data.train.labels).tolist() == [6000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    assert data.train.images.shape == (60_000, 28, 28)
    assert data.test.images.shape == (10_000, 28, 28)
