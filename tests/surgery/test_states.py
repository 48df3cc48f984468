"""Networks arrive in every state: trained, frozen, hooked, tied, in half precision, in any mode."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optprune.surgery import cut, trace

from .body import Body, assert_same, body, check_exact, half, images, snapshot
from .conftest import traced_case
from .networks import find
from .networks.layers import chain, conv

# ---- precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["plain", "residual_identity", "depthwise", "perceptron"])
def test_a_network_of_any_precision_is_cut_in_its_own(name: str, dtype: torch.dtype) -> None:
    single = traced_case(name)
    network = single.case.network().to(dtype)
    x = single.case.example().to(dtype)  # type: ignore[union-attr]
    graph = trace(network, x)
    assert graph.digest == single.graph.digest
    assert graph.costs.macs.dense == single.graph.costs.macs.dense
    small = check_exact(network, x, graph)
    dense = network.state_dict()
    assert all(t.dtype == dense[name].dtype for name, t in small.state_dict().items())
    with torch.no_grad():
        assert small(x).dtype == dtype
        assert small(x).isfinite().all()


def test_bytes_are_those_of_the_traced_precision() -> None:
    network, x = find("plain").network(), find("plain").example()
    single = trace(network, x).costs
    doubled = trace(network.double(), x.double()).costs  # type: ignore[union-attr]
    assert doubled.activation_bytes.dense == 2 * single.activation_bytes.dense


def test_layers_of_mixed_precision_keep_it() -> None:
    class Mixed(Body):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.norm(self.stem(x).to(self.norm.weight.dtype)).relu()
            x = self.middle(x.to(self.middle.weight.dtype)).relu().mean((2, 3))
            return self.head(self.first(x))

    network = Mixed().to(torch.bfloat16).eval()
    network.norm.float()
    x = images().to(torch.bfloat16)
    graph = trace(network, x)
    small = check_exact(network, x, graph)
    assert small.norm.weight.dtype is torch.float32
    assert small.stem.weight.dtype is torch.bfloat16
    assert small(x).dtype is torch.bfloat16


# ---- hooks


def test_hooks_count_are_kept_and_come_along() -> None:
    network, x = body(), images()
    without = network(x)
    seen = []
    network.stem.register_forward_pre_hook(lambda _m, args: (args[0] * 2,))
    network.middle.register_forward_hook(lambda _m, _args, out: out + 1)
    network.head.register_forward_hook(lambda _m, _args, out: out * 3, prepend=True)
    network.first.register_full_backward_hook(lambda *_: seen.append("first"))
    network.second.register_full_backward_pre_hook(lambda *_: seen.append("second"))
    expected = network(x)
    before = snapshot(network)
    graph = trace(network, x)
    assert_same(before, snapshot(network))
    assert torch.equal(network(x), expected)
    assert not torch.allclose(expected, without)
    whole = cut(network, graph, graph.full())
    assert torch.allclose(whole(x), expected)
    small = check_exact(network, x, graph)
    assert_same([len(h) for h in before["hooks"]], [len(h) for h in snapshot(small)["hooks"]])
    seen.clear()
    small(x).sum().backward()
    assert seen == ["second", "first"]


def test_what_a_hook_does_to_channels_is_seen() -> None:
    network = body()
    assert trace(network, images()).match("stem.weight")
    network.stem.register_forward_hook(lambda _m, _args, out: out.sort(dim=1).values)
    frozen = {group.name: group for group in trace(network, images()).frozen}
    assert "sort" in frozen["stem"].operation


def test_a_hook_removed_after_the_trace_is_gone() -> None:
    network, calls = body(), []
    handle = network.stem.register_forward_hook(lambda *_: calls.append(1))
    trace(network, images())
    handle.remove()
    calls.clear()
    network(images())
    assert calls == []


# ---- parameters


def test_frozen_parameters_stay_frozen() -> None:
    network = body()
    for parameter in (network.stem.weight, network.norm.bias, network.first.weight):
        parameter.requires_grad_(False)
    graph = trace(network, images())
    small = check_exact(network, images(), graph)
    wanted = {name: p.requires_grad for name, p in network.named_parameters()}
    assert {name: p.requires_grad for name, p in small.named_parameters()} == wanted
    assert sorted(name for name, grad in wanted.items() if not grad) == [
        "first.weight",
        "norm.bias",
        "stem.weight",
    ]


def test_tied_parameters_stay_one() -> None:
    network = body()
    graph = trace(network, images())
    small = check_exact(network, images(), graph)
    assert small.first.weight is small.second.weight
    assert small.first.weight.shape[0] < 10


def test_every_tensor_of_a_smaller_network_has_storage_of_its_own() -> None:
    network = body()
    graph = trace(network, images())
    small = cut(network, graph, half(graph))
    tensors = [*small.parameters(), *small.buffers()]
    assert tensors
    for tensor in tensors:
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def test_gradients_are_neither_copied_nor_touched() -> None:
    network = body().train()
    network(images()).square().sum().backward()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    before = snapshot(network)
    graph = trace(network, images())
    small = cut(network, graph, half(graph))
    assert_same(before, snapshot(network))
    assert all(parameter.grad is None for parameter in small.parameters())
    assert all(parameter.is_leaf for parameter in small.parameters())
    optimizer.step()
    assert not torch.equal(network.state_dict()["head.weight"], before["state"]["head.weight"])


def test_a_buffer_that_was_computed_from_parameters_is_no_obstacle() -> None:
    class Scaled(Body):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", self.norm.weight.mean() * torch.ones(10))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.middle(self.stem(x).relu()).mean((2, 3)) * self.scale)

    network = Scaled().eval()
    assert not network.scale.is_leaf
    graph = trace(network, images())
    small = check_exact(network, images(), graph)
    assert small.scale.shape == (small.middle.out_channels,)


def test_an_example_that_requires_a_gradient_is_left_alone() -> None:
    network, x = body(), images().requires_grad_()
    graph = trace(network, x)
    assert graph.digest == trace(network, images()).digest
    assert x.grad is None


def test_a_network_that_writes_into_its_input_leaves_the_example_alone() -> None:
    network = chain(relu=nn.ReLU(inplace=True), stem=conv(3, 6), tail=conv(6, 4)).eval()
    x = images()
    trace(network, x)
    assert torch.equal(x, images())


# ---- modes


def test_every_module_keeps_its_own_mode() -> None:
    network = body().train()
    network.norm.eval()
    network.first.eval()
    graph = trace(network, images())
    small = cut(network, graph, half(graph))
    for module, copied in zip(network.modules(), small.modules(), strict=True):
        assert module.training == copied.training == (module not in (network.norm, network.first))
    assert graph.digest == trace(network.eval(), images()).digest


def test_a_fused_encoder_is_traced_unfused_and_runs_fused_afterwards() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 2, 20, batch_first=True)
    network = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(2, 5, 12)
    assert torch.backends.mha.get_fastpath_enabled()
    graph = trace(network, x)
    assert torch.backends.mha.get_fastpath_enabled()
    assert graph.match("*linear1.weight")
    small = check_exact(network, x, graph)
    with torch.no_grad():
        fused = small(x)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            plain = small(x)
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
    assert torch.allclose(fused, plain, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_a_recurrent_network_is_cut_in_either_mode(training: bool) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.recurrence = nn.Linear(6, 8), nn.LSTM(8, 7, batch_first=True)
            self.head = nn.Linear(7, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.recurrence(self.embed(x))[0][:, -1])

    torch.manual_seed(0)
    network, x = Recurrent().train(training), torch.randn(2, 5, 6)
    before = snapshot(network)
    graph = trace(network, x)
    assert_same(before, snapshot(network))
    small = check_exact(network, x, graph)
    assert small.recurrence.training is training
    small.train()(x).sum().backward()
    assert all(p.grad is not None for p in small.parameters())
