"""Members and samples are divided where their activations exceed the memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError
from optprune.surgery.calling import Inputs
from optprune.training.assimilation import Ensemble
from optprune.training.assimilation import ensemble as room
from tests.training.assimilation.networks import CASES, SAMPLES, alone, close, generator, make


class Sizes:
    """Outputs that record how many samples come at a time."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, network: nn.Module, inputs: Inputs) -> torch.Tensor:
        assert isinstance(inputs, torch.Tensor)
        self.seen.append(len(inputs))
        found: torch.Tensor = network(inputs)
        return found


def walk(size: int) -> Iterator[int]:
    left = SAMPLES
    while left > 0:
        yield min(size, left)
        left -= size


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("samples", [1, 2, 4, 6])
@pytest.mark.parametrize("vectorized", [True, False])
def test_samples_are_divided_where_activations_exceed_the_memory(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, samples: int, vectorized: bool
) -> None:
    network, inputs = make("mlp", dtype)
    ensemble = Ensemble.draw(network, 5, generator=generator())
    wanted = ensemble.forward(inputs)
    of_one = (8 + 8 + 3) * dtype.itemsize  # bytes of the activations of a sample
    monkeypatch.setattr(room, "_BYTES", samples * of_one + of_one // 2)
    sizes = Sizes()
    found = ensemble.forward(inputs, outputs=sizes, vectorized=vectorized)
    assert close(found, wanted)
    assert sizes.seen[0] == 1  # tells the size
    if vectorized:
        assert sizes.seen[1:] == [size for size in walk(samples) for _ in range(5)]
    else:
        assert sizes.seen[1:] == [*walk(samples)] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("together", [1, 2, 3, 5])
def test_members_are_divided_where_they_exceed_the_memory(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, together: int
) -> None:
    network, inputs = make("mlp", dtype)
    ensemble = Ensemble.draw(network, 5, generator=generator())
    wanted = ensemble.forward(inputs)
    of_member = (SAMPLES * (8 + 8 + 3) + 67) * dtype.itemsize
    monkeypatch.setattr(room, "_BYTES", together * of_member)
    sizes = Sizes()
    assert close(ensemble.forward(inputs, outputs=sizes), wanted)
    assert sizes.seen[1:] == [SAMPLES] * math.ceil(5 / together)
    sizes = Sizes()
    assert close(ensemble.forward(inputs, outputs=sizes, chunk=4), wanted)
    assert sizes.seen[1:] == [SAMPLES] * 2


@pytest.mark.parametrize("name", CASES)
def test_a_network_of_any_kind_bears_the_least_memory(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    network, inputs = make(name)
    ensemble = Ensemble.draw(network, 3, generator=generator())
    monkeypatch.setattr(room, "_BYTES", 1)
    assert close(ensemble.forward(inputs), alone(ensemble, inputs))


@pytest.mark.parametrize("chunk", [0, -1, 2.5, True, "all"])
def test_a_chunk_is_a_positive_integer(chunk: Any) -> None:
    network, inputs = make("mlp")
    with pytest.raises(ArgumentError, match="`chunk` must be a whole number of at least 1"):
        Ensemble.draw(network, 3).forward(inputs, chunk=chunk)


def test_what_comes_before_the_first_layer_that_varies_is_there_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = nn.Sequential(nn.Linear(4, 500), nn.Tanh(), nn.Linear(500, 3)).eval()
    inputs = torch.randn(6, 4, generator=generator())
    monkeypatch.setattr(room, "_BYTES", 6 * (500 + 500 + 3) * 4)  # all samples of one member
    calls: list[int] = []
    network[0].register_forward_hook(lambda _, __, result: calls.append(len(result)))
    last = Ensemble.draw(network, 7, parameters="2.bias", generator=generator())
    found = last.forward(inputs)
    assert calls == [1, 6]  # tells the size, then all members
    assert close(found, last.forward(inputs, vectorized=False))
    calls.clear()
    Ensemble.draw(network, 7, parameters="0.bias", generator=generator()).forward(inputs)
    assert calls == [1, *[6] * 7]
