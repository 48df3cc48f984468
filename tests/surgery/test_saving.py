"""A small network on disk: written whole or not at all, read back exactly."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import GraphMismatchError, LoadError, OptpruneError, SaveError
from optprune.surgery import Build, ChannelGraph, Structure, cut, load, save, trace
from optprune.surgery.calling import call

from .conftest import Traced, traced_case
from .networks import find, tensors
from .oracle import random_structure, state_of

BUILD = Build(target="tests.surgery.test_saving:build_named", arguments={"name": "plain"})


def build_named(name: str) -> nn.Module:
    """Build a network of the list, as a user's factory would."""
    return find(name).build()


class Sample:
    """A small network with everything that belongs to it."""

    def __init__(self, name: str, seed: int = 0) -> None:
        traced = traced_case(name)
        self.case, self.dense, self.graph = traced.case, traced.network, traced.graph
        self.structure: Structure = random_structure(self.graph, seed)
        self.small = cut(self.dense, self.graph, self.structure)

    def save(self, folder: Path, **options: Any) -> Path:
        return save(folder, self.small, self.structure, self.graph, **options)


@pytest.fixture
def plain() -> Sample:
    return Sample("plain")


def assert_same(found: nn.Module, expected: nn.Module) -> None:
    assert type(found) is type(expected)
    one, other = state_of(found), state_of(expected)
    assert list(one) == list(other)
    for name, tensor in other.items():
        assert torch.equal(one[name], tensor), name
        assert one[name].dtype == tensor.dtype


def test_round_trip_with_a_dense_network(traced: Traced, tmp_path: Path) -> None:
    structure = random_structure(traced.graph, 0)
    small = cut(traced.network, traced.graph, structure)
    save(tmp_path / "small", small, structure, traced.graph)
    fresh = traced.case.build().eval()
    before = {name: tensor.clone() for name, tensor in state_of(fresh).items()}
    again = load(tmp_path / "small", network=fresh)
    assert_same(again, small)
    assert not again.training
    inputs = traced.case.example(seed=2)
    with torch.no_grad():
        for a, b in zip(tensors(call(again, inputs)), tensors(call(small, inputs)), strict=True):
            assert torch.equal(a, b)
    for name, tensor in state_of(fresh).items():
        assert torch.equal(tensor, before[name]), name


def test_round_trip_in_other_precisions(plain: Sample, tmp_path: Path) -> None:
    for dtype in (torch.float64, torch.bfloat16):
        small = cut(find("plain").network().to(dtype), plain.graph, plain.structure)
        save(tmp_path / str(dtype), small, plain.structure, plain.graph)
        again = load(tmp_path / str(dtype), network=find("plain").build())
        assert_same(again, small)


def test_a_saved_network_may_have_been_trained_since(plain: Sample, tmp_path: Path) -> None:
    with torch.no_grad():
        for parameter in plain.small.parameters():
            parameter.add_(1)
    plain.save(tmp_path / "small")
    assert_same(load(tmp_path / "small", network=find("plain").build()), plain.small)


def test_the_folder_holds_two_readable_files(plain: Sample, tmp_path: Path) -> None:
    folder = plain.save(tmp_path / "small", extra={"accuracy": 0.9})
    assert folder == tmp_path / "small"
    assert sorted(os.listdir(folder)) == ["structure.json", "weights.safetensors"]
    text = (folder / "structure.json").read_text()
    assert "0.9" in text
    assert plain.graph.digest in text


def test_tied_tensors_are_written_once(tmp_path: Path) -> None:
    sample = Sample("two_names")
    folder = sample.save(tmp_path / "small")
    numbers = sum(tensor.numel() for tensor in sample.small.parameters())
    numbers += sum(tensor.numel() for tensor in sample.small.buffers())
    size = (folder / "weights.safetensors").stat().st_size
    assert size < 4 * numbers + 4096
    again = load(folder, network=sample.case.build())
    middle = again.get_submodule("middle")
    assert middle.a.weight is middle.b.weight


def test_loading_without_a_network_needs_trust_and_says_so(plain: Sample, tmp_path: Path) -> None:
    folder = plain.save(tmp_path / "small", build=BUILD)
    with pytest.raises(LoadError) as caught:
        load(folder)
    for word in ("network=", "trust=True", "tests.surgery.test_saving:build_named"):
        assert word in str(caught.value)
    assert_same(load(folder, trust=True), plain.small)
    assert_same(load(folder, network=find("plain").build()), plain.small)


def test_loading_without_a_network_and_without_build_names_the_remedy(
    plain: Sample, tmp_path: Path
) -> None:
    folder = plain.save(tmp_path / "small")
    for trust in (False, True):
        with pytest.raises(LoadError, match="network="):
            load(folder, trust=trust)


@pytest.mark.parametrize(
    "target",
    [
        "nowhere.at.all:build",
        "tests.surgery.test_saving:missing",
        "tests.surgery.test_saving:__name__",
        "no colon",
        "tests.surgery.test_saving:raising",
        "tests.surgery.test_saving:no_network",
    ],
)
def test_a_build_that_does_not_work_is_our_error(
    plain: Sample, tmp_path: Path, target: str
) -> None:
    def save_and_load() -> None:
        folder = plain.save(tmp_path / "small", build=Build(target=target, arguments={}))
        load(folder, trust=True)

    with pytest.raises(OptpruneError) as caught:
        save_and_load()
    assert target in str(caught.value)


def raising() -> nn.Module:
    """Fail, as a user's factory might."""
    raise RuntimeError("no data here")


def no_network() -> int:
    """Return something that is not a network."""
    return 3


def test_build_arguments_must_be_json(plain: Sample, tmp_path: Path) -> None:
    with pytest.raises(OptpruneError, match="JSON"):
        plain.save(tmp_path / "small", build=Build(target="tests:x", arguments={"size": object()}))
    assert not (tmp_path / "small").exists()


def test_loading_into_another_architecture_is_refused(plain: Sample, tmp_path: Path) -> None:
    folder = plain.save(tmp_path / "small")
    for other in ("conv1d", "residual_identity", "no_group"):
        with pytest.raises(OptpruneError) as caught:
            load(folder, network=find(other).build())
        assert isinstance(caught.value, LoadError | GraphMismatchError)


def test_saving_a_network_that_is_not_of_the_structure_is_refused(
    plain: Sample, tmp_path: Path
) -> None:
    with pytest.raises(OptpruneError):
        save(tmp_path / "a", plain.dense, plain.structure, plain.graph)
    other = traced_case("unet").graph
    with pytest.raises(GraphMismatchError):
        save(tmp_path / "b", plain.small, other.full(), plain.graph)
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="nowhere"):
        load(tmp_path / "nowhere", network=find("plain").build())


@pytest.mark.parametrize("name", ["structure.json", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "flipped", "garbage"])
def test_damaged_files_are_refused(plain: Sample, tmp_path: Path, name: str, damage: str) -> None:
    path = plain.save(tmp_path / "small") / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.write_bytes(b"\xff\x00garbage" * 20)
    with pytest.raises(LoadError, match=name.replace(".", r"\.")):
        load(tmp_path / "small", network=find("plain").build())


def test_a_newer_format_is_refused_by_number(plain: Sample, tmp_path: Path) -> None:
    path = plain.save(tmp_path / "small") / "structure.json"
    document = json.loads(path.read_text())
    assert "format" in document
    path.write_text(json.dumps({**document, "format": 999}))
    with pytest.raises(LoadError, match="999"):
        load(tmp_path / "small", network=find("plain").build())


def test_weights_of_another_structure_are_refused(plain: Sample, tmp_path: Path) -> None:
    first = plain.save(tmp_path / "first")
    second = Sample("plain", seed=5).save(tmp_path / "second")
    (first / "weights.safetensors").write_bytes((second / "weights.safetensors").read_bytes())
    with pytest.raises(LoadError):
        load(first, network=find("plain").build())


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """Let the operating system refuse longer files, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 700])
def test_a_full_disk_leaves_nothing_half_written(plain: Sample, tmp_path: Path, room: int) -> None:
    with files_no_longer_than(room), pytest.raises(SaveError, match="small"):
        plain.save(tmp_path / "small")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("room", [0, 700])
def test_a_full_disk_leaves_what_was_saved_before(plain: Sample, tmp_path: Path, room: int) -> None:
    plain.save(tmp_path / "small")
    other = Sample("plain", seed=5)
    with files_no_longer_than(room), pytest.raises(SaveError, match="small"):
        other.save(tmp_path / "small")
    assert os.listdir(tmp_path) == ["small"]
    assert_same(load(tmp_path / "small", network=find("plain").build()), plain.small)


def test_no_space_at_the_last_moment_leaves_nothing(
    plain: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(SaveError, match="No space left"):
        plain.save(tmp_path / "small")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_saving_again_replaces(plain: Sample, tmp_path: Path) -> None:
    other = Sample("plain", seed=5)
    other.save(tmp_path / "small")
    plain.save(tmp_path / "small")
    assert os.listdir(tmp_path) == ["small"]
    assert_same(load(tmp_path / "small", network=find("plain").build()), plain.small)


def test_a_file_in_the_way_is_our_error(plain: Sample, tmp_path: Path) -> None:
    (tmp_path / "small").write_text("mine")
    with pytest.raises(SaveError, match="small"):
        plain.save(tmp_path / "small")
    assert (tmp_path / "small").read_text() == "mine"


def test_saving_makes_parent_folders(plain: Sample, tmp_path: Path) -> None:
    plain.save(tmp_path / "a" / "b" / "small")
    assert_same(load(tmp_path / "a" / "b" / "small", network=find("plain").build()), plain.small)


def test_a_loaded_network_can_be_traced_and_cut_again(plain: Sample, tmp_path: Path) -> None:
    plain.save(tmp_path / "small")
    again = load(tmp_path / "small", network=find("plain").build())
    graph: ChannelGraph = trace(again, plain.case.example())
    assert graph.widths.tolist() == plain.structure.widths.tolist()
    smaller = graph.structure_from_widths([1] * graph.n_groups)
    smallest = cut(again, graph, smaller)
    assert sum(p.numel() for p in smallest.parameters()) == graph.costs.parameters([1, 1])[0]
