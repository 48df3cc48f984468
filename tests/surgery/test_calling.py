"""Inputs are a tensor, a tuple or a dict, and a network is left in the modes it had."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import ArgumentTypeError
from optprune.surgery.calling import (
    batch_size,
    call,
    evaluating,
    input_tensors,
    preserving_buffers,
    take,
    to_dtype,
)


class Difference(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return x if y is None else x - y


def test_the_three_forms_reach_the_arguments_that_they_name() -> None:
    x, y = torch.tensor([3.0]), torch.tensor([1.0])
    network = Difference()
    assert call(network, x) == 3
    assert call(network, (x, y)) == 2
    assert call(network, {"y": x, "x": y}) == -2


def test_samples_are_counted_and_taken_along_the_first_dimension() -> None:
    x, y = torch.arange(6.0).reshape(3, 2), torch.arange(3)
    assert batch_size({"x": x, "y": y}) == 3
    taken = take((x, y), torch.tensor([2, 0]))
    assert isinstance(taken, tuple)
    assert taken[0].tolist() == [[4, 5], [0, 1]]
    assert taken[1].tolist() == [2, 0]


def test_another_type_is_for_floating_point_tensors_only() -> None:
    x, y = input_tensors(to_dtype((torch.zeros(1), torch.zeros(1).long()), torch.float64))
    assert (x.dtype, y.dtype) == (torch.float64, torch.int64)


@pytest.mark.parametrize(
    "inputs", [(), [torch.zeros(2)], (torch.zeros(2), 3), (torch.zeros(2), torch.zeros(3)), "x"]
)
def test_other_inputs_are_refused(inputs: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="input"):
        batch_size(inputs)


def test_each_module_gets_its_own_mode_back() -> None:
    network = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
    network[1].eval()
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == [True, True, False]
    with pytest.raises(TypeError), evaluating(network):
        network("no tensor")
    assert [module.training for module in network.modules()] == [True, True, False]


def test_buffers_get_their_values_back() -> None:
    network = nn.BatchNorm1d(2)
    assert network.running_mean is not None
    before = network.running_mean
    with preserving_buffers(network):
        network(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)))
        network.running_var = torch.zeros(2)
        assert not torch.equal(before, torch.zeros(2))
    assert network.running_mean is before
    assert torch.equal(before, torch.zeros(2))
    assert torch.equal(network.running_var, torch.ones(2))
