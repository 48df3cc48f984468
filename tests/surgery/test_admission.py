"""What surgery cannot take in is refused by its name, with the way out."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from optprune.errors import ArgumentTypeError, TraceError
from optprune.surgery import ChannelGraph, Slicer, cut, load, mask, save, trace

from .body import Body, body, half, images
from .networks.layers import chain, conv

SURGERY: dict[str, Callable[[nn.Module, ChannelGraph, Path], object]] = {
    "Slicer": lambda network, graph, _: Slicer(network, graph),
    "cut": lambda network, graph, _: cut(network, graph, graph.full()),
    "mask": lambda network, graph, _: mask(network, graph, graph.full()),
    "save": lambda network, graph, folder: save(folder, network, graph.full(), graph),
    "load": lambda network, graph, folder: load(folder, network),
}


class Sharded(nn.Module):
    """Stands for FSDP, which needs a process group."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x)


Sharded.__module__ = "torch.distributed.fsdp.fully_sharded_data_parallel"
Sharded.__qualname__ = "FullyShardedDataParallel"


class Distributed(nn.parallel.DistributedDataParallel):
    """A DistributedDataParallel that needs no process group."""

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        self.module = module


def compiled_in_place(network: nn.Module) -> nn.Module:
    network.compile()
    return network


def scripted(network: nn.Module) -> nn.Module:
    return torch.jit.script(network)


WRAPPERS: dict[str, tuple[Callable[[nn.Module], nn.Module], str, str]] = {
    "DataParallel": (nn.DataParallel, r"network\.module", r"\.module in its place"),
    "DistributedDataParallel": (Distributed, r"network\.module", r"\.module in its place"),
    "compiled": (torch.compile, r"network\._orig_mod", r"\._orig_mod in its place"),
    "compiled in place": (compiled_in_place, "_compiled_call_impl = None", "'middle'"),
    "ScriptModule": (scripted, "Python module", "Python module"),
    "FSDP": (Sharded, "full state dict", "full state dict"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
@pytest.mark.parametrize("kind", WRAPPERS)
@pytest.mark.parametrize("where", ["all", "a module"])
def test_a_wrapper_is_refused_with_the_way_out(tmp_path: Path, kind: str, where: str) -> None:
    wrap, remedy, remedy_inside = WRAPPERS[kind]
    network = body()
    graph = trace(network, images())
    save(tmp_path, network, graph.full(), graph)
    if where == "all":
        wrapped, pattern = wrap(network), f"^the network (is|holds).*{remedy}"
    else:
        network.middle = wrap(network.middle)
        wrapped, pattern = network, f"^the network's module 'middle' .*{remedy_inside}"
    with pytest.raises(TraceError, match=pattern):
        trace(wrapped, images())
    for surgery in SURGERY.values():
        with pytest.raises(TraceError, match=pattern):
            surgery(wrapped, graph, tmp_path)


@pytest.mark.parametrize("surgery", SURGERY)
def test_what_is_no_network_is_refused_everywhere(tmp_path: Path, surgery: str) -> None:
    network = body()
    graph = trace(network, images(), verify=False)
    save(tmp_path, network, graph.full(), graph)
    with pytest.raises(ArgumentTypeError, match="network must be"):
        SURGERY[surgery](network.state_dict(), graph, tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "unwrap",
    [
        lambda network: nn.DataParallel(network).module,
        lambda network: torch.compile(network)._orig_mod,
    ],
)
def test_the_way_out_works(unwrap: Callable[[nn.Module], nn.Module]) -> None:
    network = body()
    unwrapped = unwrap(network)  # DataParallel moves the network to a GPU where there is one
    x = images().to(next(network.parameters()).device)
    assert trace(unwrapped, x).digest == trace(network, x).digest


def test_the_way_out_of_compiling_in_place_works() -> None:
    network = body()
    network.compile()
    network._compiled_call_impl = None
    assert trace(network, images()).n_groups


def around(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    original = network.forward
    return lambda x: 2 * original(x)


def with_helper(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    def inner(x: torch.Tensor) -> torch.Tensor:
        return type(network).forward(network, x)

    return lambda x: 2 * inner(x)


@pytest.mark.parametrize("replace", [around, with_helper])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_forward_whose_copy_would_run_the_original_is_refused(
    replace: Callable[[nn.Module], Callable[[torch.Tensor], torch.Tensor]], dtype: torch.dtype
) -> None:
    network = body().to(dtype)
    network.forward = replace(network)
    with pytest.raises(TraceError, match=r"the network has a forward .* types\.MethodType"):
        trace(network, images().to(dtype))


def test_a_forward_that_is_bound_to_its_module_comes_along() -> None:
    network = body()
    plain = trace(network, images())
    network.forward = types.MethodType(lambda self, x: 2 * Body.forward(self, x), network)
    graph = trace(network, images())
    assert graph.digest == plain.digest
    small = cut(network, graph, half(graph))
    assert torch.equal(small(images()), 2 * Body.forward(small, images()))
    network.forward = functools.partial(type(network).forward, network)
    assert trace(network, images()).digest == plain.digest


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_layers_that_wait_for_their_first_input_are_refused_until_they_have_seen_one() -> None:
    network = chain(stem=nn.LazyConv2d(6, 3), flat=nn.Flatten(), head=nn.LazyLinear(4)).eval()
    with pytest.raises(TraceError, match=r"'stem.weight' has no shape yet; call the network"):
        trace(network, images())
    network(images())
    assert [group.name for group in trace(network, images()).groups] == ["stem"]


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_buffer_without_shape_is_named() -> None:
    network = chain(stem=conv(3, 6), norm=nn.LazyBatchNorm2d(affine=False)).eval()
    with pytest.raises(TraceError, match=r"buffer 'norm.running_mean' has no shape"):
        trace(network, images())


def test_parameters_without_values_are_refused() -> None:
    with pytest.raises(TraceError, match=r"'stem.weight' is on the meta device.*to_empty"):
        trace(Body().to("meta"), images().to("meta"))


def test_parameters_on_several_devices_are_refused_with_their_names() -> None:
    network = body()
    with FakeTensorMode():
        network.head = nn.Linear(10, 4, device="cuda")
    with pytest.raises(TraceError, match=r"several devices \(cpu, cuda:0\).*\.to\(device\)"):
        trace(network, images())


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_network_spread_over_gpus_is_refused() -> None:
    network = body().to("cuda:0")
    network.head.to("cuda:1")
    with pytest.raises(TraceError, match="several devices"):
        trace(network, images().cuda())


@pytest.mark.filterwarnings("ignore:torch.ao.quantization")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_quantized_layer_is_refused() -> None:
    network = torch.ao.quantization.quantize_dynamic(body(), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(
        TraceError, match=r"module 'first' is quantized \(Linear\); prune the float"
    ):
        trace(network, images())


def test_a_sparse_parameter_is_refused() -> None:
    network = body()
    network.head.weight = nn.Parameter(network.head.weight.detach().to_sparse())
    with pytest.raises(TraceError, match=r"'head.weight' is stored as torch.sparse_coo"):
        trace(network, images())


def test_a_distributed_tensor_is_refused() -> None:
    from torch.testing._internal.two_tensor import TwoTensor

    network = body()
    weight = network.head.weight.detach()
    network.head.weight = nn.Parameter(TwoTensor(weight, weight.clone()))
    with pytest.raises(TraceError, match=r"'head.weight' is a TwoTensor, not a plain tensor"):
        trace(network, images())
