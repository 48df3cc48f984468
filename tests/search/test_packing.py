from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from optprune.formulation import Candidate, metric
from optprune.search.packing import pack, unpack

TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.complex64)


@metric(needs="structure", version=1)
def narrowest(candidate: Candidate) -> int:
    return int(candidate.widths.min())


def there_and_back(thing: object, folder: Path) -> object:
    return unpack(pack(thing, folder / "memory"), folder / "memory")


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_tensors_come_back_as_they_were(tmp_path: Path, dtype: torch.dtype) -> None:
    whole = torch.arange(24).reshape(4, 6).to(dtype)
    packed = {
        "whole": whole,
        "view": whole[1:, ::2],
        "turned": whole.T,
        "scalar": whole[0, 1],
        "empty": whole[:0],
    }
    found = there_and_back(packed, tmp_path)
    assert isinstance(found, dict)
    for name, tensor in packed.items():
        assert found[name].dtype == dtype
        assert found[name].stride() == tensor.stride()
        assert torch.equal(found[name], tensor)


def test_memory_that_is_shared_is_written_once_and_shared_again(tmp_path: Path) -> None:
    data = torch.randn(1000)
    bytes_ = pack([data, data[10:], data.view(10, 100)], tmp_path / "memory")
    assert (tmp_path / "memory").stat().st_size < 4000 + 64
    assert len(bytes_) < 2000
    one, part, square = unpack(bytes_, tmp_path / "memory")
    one[10] = 7.0
    assert part[0] == square[0, 10] == 7.0


def test_who_unpacks_writes_to_a_copy_of_its_own(tmp_path: Path) -> None:
    bytes_ = pack(torch.zeros(8), tmp_path / "memory")
    first, second = (unpack(bytes_, tmp_path / "memory") for _ in range(2))
    first += 1
    assert torch.equal(first, torch.ones(8))
    assert torch.equal(second, torch.zeros(8))
    assert torch.equal(unpack(bytes_, tmp_path / "memory"), torch.zeros(8))


def test_addresses_stay_aligned_as_they_were(tmp_path: Path) -> None:
    tensors = [torch.randn(n) for n in (1, 3, 17, 100)]
    found = there_and_back(tensors, tmp_path)
    assert isinstance(found, list)
    for before, after in zip(tensors, found, strict=True):
        assert before.data_ptr() % 64 == after.data_ptr() % 64


def test_a_network_keeps_its_tied_weights(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    network[2].weight = network[0].weight
    found = there_and_back(network, tmp_path)
    assert isinstance(found, nn.Sequential)
    assert found[2].weight is found[0].weight
    assert isinstance(found[0].weight, nn.Parameter)
    inputs = torch.randn(3, 4)
    assert torch.equal(network(inputs), found(inputs))


def test_what_can_be_imported_is_imported(tmp_path: Path) -> None:
    assert there_and_back(narrowest, tmp_path) == narrowest
    assert there_and_back(nn.Linear, tmp_path) is nn.Linear


def test_what_cannot_be_imported_is_packed_by_value_with_its_file(tmp_path: Path) -> None:
    offset = 3

    def shifted(number: float) -> float:
        return math.sqrt(number) + offset

    found = there_and_back(shifted, tmp_path)
    assert callable(found)
    assert found(4) == 5
    assert found is not shifted
    assert found.__code__.co_filename == __file__  # type: ignore[attr-defined]


def test_a_script_packs_its_own_classes_and_metrics(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib, pickle, sys\n"
        "from torch import nn\n"
        "import optprune as op\n"
        "from optprune.search.packing import pack\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(2, 2)\n"
        "@op.metric(needs='structure', version=3)\n"
        "def mine(candidate):\n"
        "    return Net, candidate\n"
        "memory = pathlib.Path(sys.argv[1])\n"
        "memory.with_suffix('.bytes').write_bytes(pack((Net(), mine), memory))\n"
    )
    subprocess.run([sys.executable, script, tmp_path / "memory"], check=True)
    network, mine = unpack((tmp_path / "memory.bytes").read_bytes(), tmp_path / "memory")
    assert type(network).__name__ == "Net"
    assert network(torch.ones(1, 2)).shape == (1, 2)
    assert (mine.name, mine.version) == ("mine", 3)
    assert mine.function("candidate") == (type(network), "candidate")
