"""Members are drawn around a network, and have a mean and predictions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.surgery.calling import call
from optprune.training.assimilation import Ensemble, Prediction
from optprune.training.assimilation.ensemble import deviations
from optprune.training.assimilation.layout import Layout
from tests.training.assimilation.networks import CASES, alone, close, generator, make, rows

# drawing


@pytest.mark.parametrize("name", ["mlp", "residual"])
@pytest.mark.parametrize("n", [2, 3, 50])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_mean_is_exactly_the_network(name: str, n: int, seed: int) -> None:
    network, _ = make(name)
    ensemble = Ensemble.draw(network, n, spread=2.0, generator=generator(seed))
    weights = ensemble.layout.flat(network)
    assert ensemble.members.shape == (n, len(weights))
    assert torch.allclose(ensemble.mean, weights, rtol=0, atol=1e-14)
    assert torch.allclose(ensemble.members.mean(0), weights, rtol=0, atol=1e-14)


@pytest.mark.parametrize("spread", [0.3, {"*": 0.1, "2.*": 2.0}], ids=["number", "mapping"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_standard_deviation_is_as_asked(spread: Any, seed: int) -> None:
    n = 4000
    network, _ = make("mlp")
    ensemble = Ensemble.draw(network, n, spread=spread, generator=generator(seed))
    wanted = ensemble.layout.scales(spread, owner="test")
    found = ensemble.members.std(0)
    # the standard deviation of a standard deviation of n numbers is 1 / sqrt(2 n) of it
    assert torch.allclose(found, wanted, rtol=4.5 * (2 * n) ** -0.5)
    assert float((found / wanted).mean()) == pytest.approx(1, abs=4 * (2 * n * 67) ** -0.5)
    between = ensemble.members.T.corrcoef() - torch.eye(67, dtype=torch.float64)
    assert float(between.abs().max()) < 5 * n**-0.5
    assert ensemble.spread == pytest.approx(float(wanted.square().mean().sqrt()), rel=0.02)


@pytest.mark.parametrize("n", [2, 5])
def test_the_variance_is_as_asked_also_among_few(n: int) -> None:
    found = deviations(n, torch.full((20_000,), 3.0, dtype=torch.float64), generator())
    assert float(found.mean(0).abs().max()) < 1e-14
    assert float(found.var(0).mean()) == pytest.approx(9, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_seed_gives_the_same_members_and_leaves_the_global_generator_alone(
    dtype: torch.dtype,
) -> None:
    network, _ = make("mlp", dtype)
    state = torch.get_rng_state()
    drawn = [Ensemble.draw(network, 5, generator=generator(s)).members for s in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), state)
    assert drawn[0].dtype == dtype
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    torch.manual_seed(3)
    assert torch.equal(Ensemble.draw(network, 5).members, drawn[0])


def test_members_are_drawn_around_zero_where_that_is_asked_for() -> None:
    network, _ = make("mlp")
    ensemble = Ensemble.draw(network, 6, around="zero", symmetric=True, generator=generator())
    around = Ensemble.draw(network, 6, generator=generator())
    assert float(ensemble.mean.abs().max()) < 1e-15
    weights = around.layout.flat(network)
    assert torch.allclose(ensemble.members + weights, around.members, rtol=0, atol=1e-14)


def zeros() -> nn.Module:
    network, _ = make("mlp")
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    return network


@pytest.mark.parametrize("around", ["network", "zero"])
def test_a_mean_of_zero_is_refused_with_the_reason(around: Any) -> None:
    network = zeros() if around == "network" else make("mlp")[0]
    words = "around zero is symmetric: .* nothing but sampling errors .* symmetric=True"
    with pytest.raises(ArgumentError, match=words):
        Ensemble.draw(network, 5, around=around)
    ensemble = Ensemble.draw(network, 5, around=around, symmetric=True, generator=generator())
    assert float(ensemble.members.abs().min()) > 0


@pytest.mark.parametrize("around", ["network", "zero"])
@pytest.mark.parametrize("parameters", ["2.*", "0.*", "2.weight", "*.bias"])
def test_one_weight_or_biases_alone_may_be_drawn_around_zero(around: Any, parameters: str) -> None:
    network, _ = make("mlp")
    for name, parameter in network.named_parameters():
        if around == "network" and (name.startswith(parameters[0]) or name.endswith("bias")):
            nn.init.zeros_(parameter)
    ensemble = Ensemble.draw(
        network, 5, around=around, parameters=parameters, generator=generator()
    )
    assert float(ensemble.mean.abs().max()) < 1e-15


def test_a_last_layer_around_zero_has_covariances_with_the_outputs() -> None:
    n = 4000
    network, inputs = make("mlp")
    ensemble = Ensemble.draw(network, n, around="zero", parameters="2.*", generator=generator())
    outputs = ensemble.forward(inputs).flatten(1)
    both = torch.cat([ensemble.members, outputs], 1).T.corrcoef()
    assert float(both[:27, 27:].abs().amax(1).min()) * n**0.5 > 5


def test_a_linear_network_around_zero_has_no_hidden_unit() -> None:
    assert len(Ensemble.draw(nn.Linear(4, 3), 5, around="zero", generator=generator())) == 5


def test_the_bias_of_the_outputs_does_not_tell_hidden_units_apart_but_theirs_do() -> None:
    network = zeros()
    nn.init.ones_(network.get_submodule("2").get_parameter("bias"))
    with pytest.raises(ArgumentError, match="around zero is symmetric"):
        Ensemble.draw(network, 5)
    nn.init.ones_(network.get_submodule("0").get_parameter("bias"))
    assert len(Ensemble.draw(network, 5, generator=generator())) == 5


def test_around_zero_hidden_weights_have_no_covariance_with_the_outputs() -> None:
    """The reason: what a symmetric ensemble learns is its sampling error."""
    n = 4000
    network, inputs = make("mlp")
    strongest = {}
    around: Any
    for around in ("zero", "network"):
        ensemble = Ensemble.draw(
            network,
            n,
            spread=1.0 if around == "zero" else 0.3,
            around=around,
            symmetric=True,
            generator=generator(),
        )
        outputs = ensemble.forward(inputs).flatten(1)
        hidden = ensemble.members[:, :40]
        both = torch.cat([hidden, outputs], 1).T.corrcoef()
        strongest[around] = float(both[:40, 40:].abs().max()) * n**0.5
    assert strongest["zero"] < 5
    assert strongest["network"] > 15


@pytest.mark.parametrize("members", [1, 0, -3, 2.0, True, "5", None])
def test_fewer_than_two_members_are_refused(members: Any) -> None:
    network, _ = make("mlp")
    with pytest.raises(
        ArgumentError, match=r"of at least 2, got .*: there is no covariance in few"
    ):
        Ensemble.draw(network, members)


def test_another_center_is_named() -> None:
    wrong: Any = "mean"
    with pytest.raises(ArgumentError, match="`around` must be 'network' or 'zero', not 'mean'"):
        Ensemble.draw(make("mlp")[0], 5, around=wrong)


def test_errors_of_patterns_and_spreads_reach_the_user() -> None:
    network, _ = make("mlp")
    with pytest.raises(ArgumentError, match=r"Ensemble: `parameters` has 'head\.\*'"):
        Ensemble.draw(network, 5, parameters="head.*")
    with pytest.raises(ArgumentError, match="Ensemble: `spread` must be positive"):
        Ensemble.draw(network, 5, spread=0.0)


def test_an_ensemble_of_given_members_holds_them() -> None:
    network, _ = make("mlp")
    layout = Layout.of(network, "*", owner="test")
    members = torch.randn(3, 67, dtype=torch.float64)
    ensemble = Ensemble(network, layout, members)
    assert ensemble.members is members
    assert len(ensemble) == 3
    assert repr(ensemble) == "Ensemble(3 members, 67 parameters of Sequential, device cpu)"


@pytest.mark.parametrize("shape", [(67,), (3, 66), (3, 1, 67), (67, 3)])
def test_members_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    network, _ = make("mlp")
    layout = Layout.of(network, "*", owner="test")
    with pytest.raises(ArgumentError, match=r"must have shape \(n_members, 67\), got"):
        Ensemble(network, layout, torch.zeros(shape))


def test_members_that_are_too_few_or_no_floats_are_refused() -> None:
    network, _ = make("mlp")
    layout = Layout.of(network, "*", owner="test")
    with pytest.raises(ArgumentError, match="at least two members, got 1"):
        Ensemble(network, layout, torch.zeros(1, 67))
    wrong: Any
    for wrong in ([[0.0] * 67] * 2, torch.zeros(2, 67, dtype=torch.long), None):
        with pytest.raises(ArgumentTypeError, match="`members` must be a tensor of floats"):
            Ensemble(network, layout, wrong)


# predictions and the mean


@pytest.mark.parametrize("shape", [(6,), (6, 3), (6, 2, 4)])
def test_a_prediction_has_mean_and_spread(shape: tuple[int, ...]) -> None:
    members = torch.randn(9, *shape, generator=generator(), dtype=torch.float64)
    found = Prediction(members)
    assert torch.allclose(9 * found.mean, members.sum(0))
    squares = (members - found.mean).square().sum(0)
    assert torch.allclose(8 * found.spread.square(), squares)
    assert found.mean.shape == found.spread.shape == shape


def test_predictions_are_outputs_with_mean_and_spread() -> None:
    network, inputs = make("convolutions")
    ensemble = Ensemble.draw(network, 5, generator=generator())
    found, outputs = ensemble.predict(inputs), alone(ensemble, inputs)
    assert close(found.members, outputs)
    assert close(found.mean, outputs.mean(0))
    assert close(found.spread, outputs.std(0))


@pytest.mark.parametrize("name", CASES)
def test_the_mean_network_is_a_copy_with_the_mean_of_the_members(name: str) -> None:
    network, inputs = make(name)
    kept = copy.deepcopy(network.state_dict())
    ensemble = Ensemble.draw(network, 5, generator=generator())
    ensemble.members.add_(0.25)
    found = ensemble.mean_network()
    assert type(found) is type(network)
    assert torch.equal(ensemble.layout.flat(found), ensemble.mean)
    own = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert not own & {tensor.data_ptr() for tensor in found.state_dict().values()}
    assert all(torch.equal(b, kept[n]) for n, b in found.named_buffers())
    assert all(torch.equal(v, kept[n]) for n, v in network.state_dict().items())
    assert not found.training
    with torch.no_grad():
        assert not close(call(found, inputs), call(network, inputs))


def test_the_mean_network_changes_only_what_varies() -> None:
    network, _ = make("convolutions")
    ensemble = Ensemble.draw(network, 5, parameters="5.*", generator=generator())
    ensemble.members.add_(1)
    found = ensemble.mean_network().state_dict()
    for name, value in network.state_dict().items():
        assert torch.allclose(found[name], value + 1 if name[0] == "5" else value)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_linear_networks_mean_prediction_is_the_mean_networks(seed: int) -> None:
    torch.manual_seed(seed)
    ensemble = Ensemble.draw(nn.Linear(4, 3).double(), 6, generator=generator(seed))
    inputs = rows().double()
    with torch.no_grad():
        wanted = ensemble.mean_network()(inputs)
    assert close(ensemble.predict(inputs).mean, wanted)
