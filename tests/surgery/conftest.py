"""Every network of the list, traced once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import nn

from optprune.surgery import ChannelGraph, trace

from .networks import ALL, SMALL, Case, find


@dataclass(frozen=True)
class Traced:
    """A network in single precision, and the graph of its channels."""

    case: Case
    network: nn.Module
    graph: ChannelGraph


@cache
def traced_case(name: str) -> Traced:
    """Build and trace a network, once in a process."""
    case = find(name)
    network = case.network()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    graph = trace(network, case.example())
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[key]), f"tracing changed {key}"
    return Traced(case, network, graph)


def _parameters(cases: list[Case]) -> list[object]:
    marks = {True: [pytest.mark.slow], False: []}
    return [pytest.param(case.name, id=case.name, marks=marks[case.slow]) for case in cases]


@pytest.fixture(scope="session", params=_parameters(ALL))
def traced(request: pytest.FixtureRequest) -> Traced:
    """Give every network of the list, one after the other."""
    return traced_case(request.param)


@pytest.fixture(scope="session", params=_parameters(SMALL))
def small(request: pytest.FixtureRequest) -> Traced:
    """Give every self-written network of the list, one after the other."""
    return traced_case(request.param)
