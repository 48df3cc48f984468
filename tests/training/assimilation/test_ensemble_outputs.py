"""All members compute what each would alone, whatever is computed together."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import TrainingError
from optprune.surgery.calling import Inputs, call, map_inputs
from optprune.training.assimilation import Ensemble
from tests.training.assimilation.networks import (
    CASES,
    SAMPLES,
    alone,
    close,
    generator,
    make,
    rows,
)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_members_compute_together_what_each_does_alone(name: str, dtype: torch.dtype) -> None:
    network, inputs = make(name, dtype)
    ensemble = Ensemble.draw(network, 5, generator=generator())
    wanted = alone(ensemble, inputs)
    assert wanted.shape[:2] == (5, SAMPLES)
    assert wanted.std(0).min() > 1e-3
    assert close(ensemble.forward(inputs), wanted)
    assert close(ensemble.forward(inputs, vectorized=False), wanted)
    for chunk in (1, 2, 3, 5, 100):
        assert close(ensemble.forward(inputs, chunk=chunk), wanted)


@pytest.mark.parametrize(
    "parameters", ["0.*", "5.weight", "1.*", ("0.bias", "5.*"), "*.bias"], ids=str
)
@pytest.mark.parametrize("seed", [0, 1])
def test_what_does_not_vary_is_the_networks(parameters: Any, seed: int) -> None:
    network, inputs = make("convolutions")
    ensemble = Ensemble.draw(network, 4, parameters=parameters, generator=generator(seed))
    wanted = alone(ensemble, inputs)
    assert close(ensemble.forward(inputs), wanted)
    assert close(ensemble.forward(inputs, vectorized=False), wanted)
    assert wanted.std(0).max() > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_the_network_and_all_inputs_are_untouched(name: str) -> None:
    network, inputs = make(name)
    kept = copy.deepcopy(network.state_dict())
    parameters = dict(network.named_parameters())
    given = map_inputs(torch.Tensor.clone, inputs)
    ensemble = Ensemble.draw(network, 4, generator=generator())
    members = ensemble.members.clone()
    for vectorized in (True, False):
        found = ensemble.predict(inputs, vectorized=vectorized).members
        assert not found.requires_grad
    assert all(torch.equal(v, kept[n]) for n, v in network.state_dict().items())
    assert all(p is parameters[n] for n, p in network.named_parameters())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks for m in network.modules())
    assert torch.equal(ensemble.members, members)
    assert str(inputs) == str(given)


@pytest.mark.parametrize("vectorized", [True, False])
def test_members_and_samples_permute_with_their_outputs(vectorized: bool) -> None:
    network, inputs = make("mlp")
    assert isinstance(inputs, torch.Tensor)
    ensemble = Ensemble.draw(network, 7, generator=generator())
    found = ensemble.forward(inputs, vectorized=vectorized)
    order, samples = torch.randperm(7, generator=generator()), torch.arange(SAMPLES).flip(0)
    turned = Ensemble(network, ensemble.layout, ensemble.members[order])
    assert close(turned.forward(inputs[samples], vectorized=vectorized), found[order][:, samples])


@pytest.mark.parametrize("vectorized", [True, False])
def test_outputs_are_those_that_are_picked(vectorized: bool) -> None:
    network, inputs = make("mlp")
    ensemble = Ensemble.draw(network, 4, generator=generator())
    found = ensemble.predict(
        inputs, outputs=lambda net, x: call(net, x)[:, 1:].square(), vectorized=vectorized
    )
    assert close(found.members, alone(ensemble, inputs)[..., 1:].square())


@pytest.mark.parametrize("vectorized", [True, False])
def test_outputs_that_depend_on_no_member_are_the_same_for_all(vectorized: bool) -> None:
    network, inputs = make("mlp")
    ensemble = Ensemble.draw(network, 4, parameters="2.*", generator=generator())
    found = ensemble.forward(
        inputs, outputs=lambda net, x: net.get_submodule("0")(x), vectorized=vectorized
    )
    assert found.shape == (4, SAMPLES, 8)
    assert torch.equal(found, found[:1].expand_as(found))


@pytest.mark.parametrize("vectorized", [True, False])
def test_parameters_of_several_types_keep_theirs(vectorized: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2).double()).eval()

    def outputs(net: nn.Module, x: Inputs) -> torch.Tensor:
        assert isinstance(net, nn.Sequential)
        found: torch.Tensor = net[2](net[:2](x).double())
        return found

    ensemble = Ensemble.draw(network, 4, generator=generator())
    found = ensemble.forward(rows(), outputs=outputs, vectorized=vectorized)
    for member, output in zip(ensemble.members, found, strict=True):
        own = copy.deepcopy(network)
        ensemble.layout.write(member, own)
        assert torch.allclose(output, outputs(own, rows()), atol=1e-6)


def test_a_member_that_diverges_spoils_no_other() -> None:
    network, inputs = make("mlp")
    ensemble = Ensemble.draw(network, 4, generator=generator())
    wanted = ensemble.forward(inputs)
    ensemble.members[2] = math.inf
    found = ensemble.forward(inputs)
    assert not bool(torch.isfinite(found[2]).any())
    assert torch.equal(found[[0, 1, 3]], wanted[[0, 1, 3]])


class Seen(nn.Module):
    """Counts rows that pass; reads a number, which only a tensor of no member has."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert math.isfinite(x.sum().item())
        self.rows += len(x)
        return x


@pytest.mark.parametrize("members", [2, 10])
def test_what_comes_before_the_first_parameter_that_varies_is_computed_once(members: int) -> None:
    torch.manual_seed(0)
    seen = Seen()
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), seen, nn.Linear(8, 3))
    ensemble = Ensemble.draw(network, members, parameters="3.*", generator=generator())
    changes: Any
    for changes, times in (
        ({}, 1),
        ({"chunk": members}, 1),
        ({"chunk": members // 2}, 2),  # once for all that are computed together
        ({"vectorized": False}, members),
    ):
        seen.rows = 0
        ensemble.forward(rows(), **changes)
        assert seen.rows == times * SAMPLES + 1  # one tells the size of activations
    with pytest.raises(TrainingError, match="item"):
        Ensemble.draw(network, members, generator=generator()).forward(rows())


# modes, and networks that vmap cannot follow


def mixed() -> nn.Sequential:
    """A network in training mode with a part that is in evaluation mode."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(4, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 3)
    ).double()
    network[2].eval()
    return network


@pytest.mark.parametrize("vectorized", [True, False])
def test_outputs_are_those_of_evaluation_and_modes_are_restored(vectorized: bool) -> None:
    network = mixed()
    ensemble = Ensemble.draw(network, 4, generator=generator())
    modes = [module.training for module in network.modules()]
    kept = copy.deepcopy(network.state_dict())
    found = ensemble.forward(rows().double(), vectorized=vectorized)
    assert close(found, alone(ensemble, rows().double()))
    assert [module.training for module in network.modules()] == modes == [True] * 3 + [False, True]
    assert all(torch.equal(v, kept[n]) for n, v in network.state_dict().items())


class Following(nn.Module):
    """A layer, and something that depends on the values or the storage of its outputs."""

    def __init__(self, then: str) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.drop = nn.Dropout(0.5)
        self.then = then

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        if self.then == "in place":
            total = x.new_zeros(x.shape[1:]).expand(x.shape).clone()
            constant = torch.zeros(len(x), 3, dtype=x.dtype)
            constant += x
            return total + constant
        if self.then == "item":
            return x * x.abs().sum().item()
        if self.then == "branch":
            return x if x.sum() > 0 else -x
        if self.then == "numpy":
            return torch.from_numpy(x.numpy() + 1)
        return x[x[:, 0].abs() >= 0]  # "mask"


@pytest.mark.parametrize("then", ["in place", "item", "branch", "numpy", "mask"])
def test_a_network_that_vmap_cannot_follow_goes_member_by_member(then: str) -> None:
    torch.manual_seed(0)
    network = Following(then).train()
    network.layer.eval()
    ensemble = Ensemble.draw(network, 5, generator=generator())
    with pytest.raises(TrainingError, match=r"computed together \((.|\n)*vectorized=False") as e:
        ensemble.forward(rows())
    assert e.value.__cause__ is not None
    assert [m.training for m in network.modules()] == [True, False, True]
    assert not any(m._forward_hooks for m in network.modules())
    found = ensemble.forward(rows(), vectorized=False)
    assert close(found, alone(ensemble, rows()))
    assert [m.training for m in network.modules()] == [True, False, True]
    with pytest.raises(TrainingError, match="vectorized=False"):
        ensemble.predict(rows())
    assert close(ensemble.predict(rows(), vectorized=False).members, found)


def is_of_all_members(x: torch.Tensor) -> bool:
    try:
        x.sum().item()
    except RuntimeError:
        return True
    return False


class Failing(nn.Module):
    """A layer, and an error of the user's for more than one sample, or under vmap alone."""

    def __init__(self, error: Exception, *, together: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.error, self.together = error, together

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        if is_of_all_members(x) if self.together else len(x) > 1:
            raise self.error
        return x


ERRORS = [RuntimeError, ValueError, TypeError, KeyError, AssertionError, ZeroDivisionError]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("vectorized", [True, False])
def test_an_error_of_the_network_itself_is_raised_as_it_is(
    kind: type[Exception], vectorized: bool
) -> None:
    error = kind("mine")
    ensemble = Ensemble.draw(Failing(error), 3, generator=generator())
    with pytest.raises(kind, match="mine") as caught:
        ensemble.forward(rows(), vectorized=vectorized)
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    assert caught.traceback[-1].name == "forward"
    assert str(caught.traceback[-1].path) == __file__


@pytest.mark.parametrize("kind", ERRORS)
def test_any_error_that_comes_of_vmap_alone_says_what_to_do(kind: type[Exception]) -> None:
    error = kind("not together")
    ensemble = Ensemble.draw(Failing(error, together=True), 3, generator=generator())
    with pytest.raises(TrainingError, match=r"not together(.*)vectorized=False") as caught:
        ensemble.forward(rows())
    assert caught.value.__cause__ is error
    assert close(ensemble.forward(rows(), vectorized=False), alone(ensemble, rows()))


def test_an_error_of_the_network_itself_leaves_no_trace() -> None:
    network = mixed()
    modes = [module.training for module in network.modules()]
    with pytest.raises(RuntimeError):
        Ensemble.draw(network, 3).forward(torch.zeros(2, 5).double())
    assert [module.training for module in network.modules()] == modes
    assert not any(m._forward_hooks for m in network.modules())
