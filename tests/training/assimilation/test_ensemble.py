"""All members compute what each would alone, whatever is computed together."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError
from optprune.surgery.calling import Inputs, call, map_inputs
from optprune.training.assimilation import Ensemble, Prediction
from optprune.training.assimilation import ensemble as room
from optprune.training.assimilation.ensemble import deviations
from optprune.training.assimilation.layout import Layout

SAMPLES = 6


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


class Residual(nn.Module):
    """A residual block with normalization whose statistics are not trivial, and a tied layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.again = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.again.weight = self.conv.weight
        self.head = nn.Linear(3, 2)
        self.norm.running_mean = torch.tensor([0.1, -0.2, 0.3])
        self.norm.running_var = torch.tensor([0.5, 1.5, 2.5])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.again(torch.relu(self.conv(x)))
        found: torch.Tensor = self.head(x.mean((2, 3)))
        return found


class Two(nn.Module):
    """Two inputs, one of them indices."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(x * self.table(index))
        return found


def convolutions() -> nn.Sequential:
    norm = nn.BatchNorm2d(4)
    norm.running_mean = torch.tensor([0.1, -0.2, 0.3, 0.0])
    norm.running_var = torch.tensor([0.5, 1.5, 2.5, 1.0])
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), norm, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )


def images() -> torch.Tensor:
    return torch.randn(SAMPLES, 2, 6, 6, generator=generator(5))


def rows() -> torch.Tensor:
    return torch.randn(SAMPLES, 4, generator=generator(5))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Inputs]]] = {
    "mlp": (mlp, rows),
    "convolutions": (convolutions, images),
    "residual": (Residual, images),
    "tuple": (Two, lambda: (rows(), torch.arange(SAMPLES) % 5)),
    "dict": (Two, lambda: {"index": torch.arange(SAMPLES) % 5, "x": rows()}),
}


def make(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Inputs]:
    """Return a network in evaluation mode and inputs for it."""
    torch.manual_seed(0)
    build, data = CASES[name]

    def cast(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return build().to(dtype).eval(), map_inputs(cast, data())


def alone(ensemble: Ensemble, inputs: Inputs) -> torch.Tensor:
    """Return the outputs of each member, from a network of its own."""
    found = []
    for member in ensemble.members:
        network = copy.deepcopy(ensemble.network).eval()
        ensemble.layout.write(member, network)
        with torch.no_grad():
            found.append(call(network, inputs))
    return torch.stack(found)


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    atol = 1e-12 if one.dtype == torch.float64 else 2e-6
    return one.dtype == other.dtype and torch.allclose(one, other, rtol=0, atol=atol)


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


# outputs of all members


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


# memory


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


def test_an_error_of_the_network_itself_leaves_no_trace() -> None:
    network = mixed()
    modes = [module.training for module in network.modules()]
    with pytest.raises(RuntimeError):
        Ensemble.draw(network, 3).forward(torch.zeros(2, 5).double())
    assert [module.training for module in network.modules()] == modes
    assert not any(m._forward_hooks for m in network.modules())


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
