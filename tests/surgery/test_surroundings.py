"""A trace leaves nothing behind, and takes nothing in from the caller's settings."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.surgery import cut, load, mask, save, trace

from .body import Body, assert_same, body, check_exact, half, images, snapshot
from .conftest import traced_case
from .networks import find


class Restless(Body):
    """Draws numbers, counts, keeps an activation and normalises with its batch in every mode."""

    def __init__(self) -> None:
        super().__init__()
        self.n_calls = 0
        self.kept: torch.Tensor | None = None

    def train(self, mode: bool = True) -> Restless:
        super().train(mode)
        self.norm.training = True
        with torch.no_grad():
            self.head.bias.add_(1)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n_calls += 1
        random.random()
        np.random.rand()  # noqa: NPY002
        x = self.stem(x + 0 * torch.randn_like(x))
        mean, variance = self.norm.running_mean, self.norm.running_var
        scale, shift = self.norm.weight, self.norm.bias
        x = nn.functional.batch_norm(x, mean, variance, scale, shift, training=True).relu()
        self.kept = x
        return self.head(self.second(self.first(self.middle(x).relu().mean((2, 3)))))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("verify", [True, False])
def test_a_trace_leaves_nothing_behind(training: bool, verify: bool) -> None:
    network = Restless().train(training)
    before = snapshot(network)
    generators = (
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state()[1].tolist(),  # type: ignore[index]  # noqa: NPY002
    )
    trace(network, images(), verify=verify)
    assert_same(before, snapshot(network))
    assert network.n_calls == 0
    assert network.kept is None
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert np.random.get_state()[1].tolist() == generators[2]  # type: ignore[index]  # noqa: NPY002


class Observed(nn.Linear):
    """Resizes a buffer in its first forward pass, as observers of quantization do."""

    def __init__(self) -> None:
        super().__init__(10, 10)
        self.register_buffer("largest", torch.tensor([]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward(x)
        self.largest.resize_(10).copy_(x.detach().amax(0))
        return x


def test_a_buffer_that_is_resized_is_as_before() -> None:
    network = body()
    network.first = Observed()
    trace(network, images(), verify=False)
    assert network.first.largest.shape == (0,)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default device": lambda: torch.device("cpu"),
    "another default device": lambda: torch.device("meta"),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    "deterministic": deterministic,
}


@pytest.fixture
def _float64_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ["plain", "residual_identity", "perceptron"])
def test_the_callers_settings_change_nothing(name: str, setting: str) -> None:
    case, graph = find(name), traced_case(name).graph
    network, example = case.network(), case.example()
    with SETTINGS[setting]():
        found = trace(network, example)
        small = cut(network, found, half(found))
        masked = mask(network, found, half(found))
    assert found.digest == graph.digest
    assert [(g.name, g.reason) for g in found.frozen] == [(g.name, g.reason) for g in graph.frozen]
    for kind in ("macs", "parameters", "activation_bytes"):
        assert getattr(found.costs, kind).dense == getattr(graph.costs, kind).dense
    for made in (small, masked):
        made.train()(case.example(4)).square().sum().backward()  # type: ignore[union-attr]
        assert all(parameter.grad is not None for parameter in made.parameters())
    check_exact(network, case.example(), found)


def test_a_network_loaded_in_inference_mode_can_be_trained(tmp_path: Path) -> None:
    network = body()
    graph = trace(network, images())
    save(tmp_path, cut(network, graph, half(graph)), half(graph), graph)
    with torch.inference_mode():
        small = load(tmp_path, network)
    small.train()(images()).sum().backward()


def test_a_network_made_in_inference_mode_is_cut_into_an_ordinary_one() -> None:
    with torch.inference_mode():
        network, x = body(), images()
    graph = trace(network, x)
    assert graph.digest == trace(body(), images()).digest
    small = cut(network, graph, half(graph))
    assert not any(tensor.is_inference() for tensor in (*small.parameters(), *small.buffers()))
    small.train()(images()).sum().backward()


@pytest.mark.usefixtures("_float64_by_default")
def test_double_precision_by_default_is_fine() -> None:
    network, x = body(), images()
    assert x.dtype is torch.float64
    check_exact(network, x, trace(network, x))
    single = network.float()
    check_exact(single, x.float(), trace(single, x.float()))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_callers_settings_change_nothing_on_a_gpu() -> None:
    network, x = body().cuda(), images().cuda()
    graph = trace(body(), images())
    state = torch.cuda.get_rng_state()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        found = trace(network, x)
    assert found.digest == graph.digest
    assert found.costs.activation_bytes.dense == graph.costs.activation_bytes.dense
    assert torch.equal(torch.cuda.get_rng_state(), state)
    small = cut(network, found, half(found))
    assert all(parameter.is_cuda for parameter in small.parameters())
    assert small(x).isfinite().all()
