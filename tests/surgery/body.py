"""A network to bring into every state, and what must hold of it in all of them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from optprune.surgery import ChannelGraph, Structure, cut, mask

from .networks.layers import conv


class Body(nn.Module):
    """Two convolutions, batch norm, dropout and a head, with a tied pair of linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.middle = conv(3, 8), nn.BatchNorm2d(8), conv(8, 10)
        self.drop = nn.Dropout(0.3)
        self.first, self.second = nn.Linear(10, 10), nn.Linear(10, 10)
        self.second.weight = self.first.weight
        self.head = nn.Linear(10, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.middle(self.norm(self.stem(x)).relu()).relu()
        x = self.drop(x.mean((2, 3)))
        return self.head(self.second(self.first(x).relu()).relu())


def body(seed: int = 0) -> Body:
    """Build the network with statistics that are not trivial."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Body()
        network(torch.randn(16, 3, 8, 8))
    return network.eval()


def images(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def half(graph: ChannelGraph) -> Structure:
    """Keep about half of every group."""
    kept = np.random.default_rng(0).random(graph.n_units)
    return graph.structure_from_widths((graph.widths + 1) // 2, kept)


def check_exact(network: nn.Module, x: torch.Tensor, graph: ChannelGraph) -> nn.Module:
    """Compare removed with zeroed in float64 and return the cut network."""
    structure = half(graph)
    small, wide = cut(network, graph, structure), mask(network, graph, structure)
    x = x.double() if x.is_floating_point() else x
    with torch.no_grad():
        removed = copy.deepcopy(small).double().eval()(x)
        zeroed = copy.deepcopy(wide).double().eval()(x)
    assert torch.allclose(removed, zeroed, rtol=1e-9, atol=1e-11)
    return small


def snapshot(network: nn.Module) -> dict[str, Any]:
    """Note everything that a trace must leave as it is."""
    return {
        "state": {name: tensor.clone() for name, tensor in network.state_dict().items()},
        "tensors": [id(t) for t in (*network.parameters(), *network.buffers())],
        "modes": [module.training for module in network.modules()],
        "grads": [p.grad if p.grad is None else p.grad.clone() for p in network.parameters()],
        "requires": [p.requires_grad for p in network.parameters()],
        "attributes": [set(vars(module)) for module in network.modules()],
        "hooks": [
            [
                list(getattr(module, kind).items())
                for kind in sorted(vars(module))
                if "hooks" in kind
            ]
            for module in network.modules()
        ],
    }


def assert_same(before: Any, after: Any) -> None:
    """Compare two snapshots."""
    if isinstance(before, dict):
        assert before.keys() == after.keys()
        for key in before:
            assert_same(before[key], after[key])
    elif isinstance(before, list):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            assert_same(one, other)
    elif isinstance(before, torch.Tensor):
        assert torch.equal(before, after)
    else:
        assert before == after
