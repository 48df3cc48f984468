"""What all assimilation trainers share: fit, report, stop, go on, and refuse."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import (
    ArgumentError,
    ArgumentTypeError,
    LoadError,
    TrainingError,
    TrainingWarning,
)
from optprune.split import Split
from optprune.surgery.calling import Inputs, call
from optprune.training import EKI, ESMDA, EnKF, Trainer
from optprune.training.assimilation import Additive, Correlation, CrossEntropy, Gaussian
from optprune.training.assimilation.assimilating import Assimilating
from optprune.training.assimilation.layout import Layout
from optprune.training.assimilation.localization import Block
from optprune.training.assimilation.observation import Observed
from tests.training.assimilation.cases import (
    classes,
    classifier,
    curve,
    fit,
    regressor,
    weights,
)

TRAINERS: dict[str, Assimilating] = {
    "ESMDA": ESMDA(members=60, assimilations=6, observation=Gaussian(0.05)),
    "ESMDA in mini-batches": ESMDA(members=60, assimilations=6, batch_size=16),
    "ESMDA, adaptive": ESMDA(members=60, assimilations=60, coefficients="adaptive"),
    "EnKF": EnKF(members=60, batch_size=8),
    "EnKF, three passes": EnKF(members=60, batch_size=8, passes=3),
    "EKI": EKI(members=60, epochs=12, observation=Gaussian(0.05), momentum=0.5),
    "EKI in mini-batches": EKI(members=60, epochs=6, batch_size=10, schedule="cosine"),
}

each = pytest.mark.parametrize("trainer", TRAINERS.values(), ids=TRAINERS)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_fits_a_curve(trainer: Assimilating, dtype: torch.dtype) -> None:
    network = regressor().to(dtype)
    data = Split(curve().inputs.to(dtype), curve().labels.to(dtype))
    before = float(nn.functional.mse_loss(network(data.inputs), data.labels).detach())
    report, _ = fit(trainer, network, data)
    after = float(nn.functional.mse_loss(network(data.inputs), data.labels).detach())
    assert after < 0.3 * before
    if report.history[0].samples == len(data):
        assert report.losses[0] == pytest.approx(before, rel=1e-4)
    assert len(report.losses) == report.steps == len(report.history)
    assert all(p.dtype == dtype for p in network.parameters())


@each
def test_a_seed_repeats_and_leaves_the_global_generators_alone(trainer: Assimilating) -> None:
    found = []
    for seed in (3, 3, 4):
        network, state = regressor(), torch.get_rng_state()
        fit(trainer, network, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        found.append(weights(network))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@each
def test_only_the_named_parameters_move(trainer: Assimilating) -> None:
    network = regressor()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    fit(replace(trainer, parameters="2.*"), network)
    moved = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"2.weight", "2.bias"}


@each
def test_modes_gradients_and_data_stay(trainer: Assimilating) -> None:
    network, data = regressor().train(), curve()
    inputs, targets = data.inputs.clone(), data.labels.clone()
    fit(trainer, network, data)
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert torch.equal(data.inputs, inputs)
    assert torch.equal(data.labels, targets)


@each
def test_every_pass_is_metered(trainer: Assimilating) -> None:
    report, meter = fit(trainer, regressor())
    each_step = trainer.members + (2 if isinstance(trainer, EKI) else 1)
    assert meter.forward_samples == sum(u.samples for u in report.history) * each_step
    assert meter.backward_samples == 0
    assert meter.seconds > 0


@each
def test_held_out_data_brings_back_the_best_pass(trainer: Assimilating) -> None:
    network = regressor()
    report, _ = fit(replace(trainer, held_out=0.25), network)
    assert report.best_epoch is not None
    assert report.held_out_losses[report.best_epoch - 1] == min(report.held_out_losses)
    if report.ensemble is not None:
        assert torch.allclose(report.ensemble.mean, weights(network), atol=1e-6)


def test_patience_ends_a_fit() -> None:
    trainer = EKI(members=20, epochs=200, held_out=0.25, patience=2, momentum=0.0)
    report, _ = fit(trainer, regressor())
    assert report.epochs < 200
    assert "no lower loss on held-out data for 2 passes" in report.reason


@each
def test_an_interrupted_fit_goes_on_bit_for_bit(trainer: Assimilating, tmp_path: Path) -> None:
    if trainer._passes() < 2:
        trainer = replace(trainer, passes=2)  # type: ignore[call-arg]
    trainer = replace(trainer, held_out=0.2)
    whole = regressor()
    report, _ = fit(trainer, whole)
    CALLS.update(done=0, limit=0)
    fit(trainer, regressor(), loss=interrupted)
    CALLS.update(done=0, limit=CALLS["done"] * 2 // 3)
    network = regressor()
    kept = replace(trainer, checkpoint=tmp_path / "fit.safetensors")
    with pytest.raises(KeyboardInterrupt):
        fit(kept, network, loss=interrupted)
    again, _ = fit(kept, network, loss=interrupted)
    assert torch.equal(weights(network), weights(whole))
    assert again.losses == report.losses
    assert again.history == report.history
    assert 0 < again.resumed < again.steps
    with pytest.raises(LoadError, match="another fit"):
        fit(replace(kept, members=61), regressor(), loss=interrupted)


CALLS = {"done": 0, "limit": 0}


def interrupted(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the squared error; stop at one of the calls."""
    CALLS["done"] += 1
    if CALLS["done"] == CALLS["limit"]:
        raise KeyboardInterrupt
    return nn.functional.mse_loss(outputs, targets)


class Exploding(nn.Module):
    """A line whose output is not finite where the slope is above a bound."""

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([0.1]))
        self.bound = bound

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(self.slope > self.bound, torch.inf, self.slope * x)


@pytest.mark.parametrize("trainer", [ESMDA(members=30), EKI(members=30, epochs=1)])
def test_a_member_that_diverges_is_dropped(trainer: Assimilating) -> None:
    x = torch.linspace(-1, 1, 20)[:, None]
    data = Split(x, -0.5 * x)
    network = Exploding(0.45).eval()
    with pytest.warns(TrainingWarning, match="are left out"):
        report, _ = fit(trainer, network, data)
    assert report.history[0].members < 30
    assert float(network.slope.detach()) == pytest.approx(-0.5, abs=0.1)
    with pytest.raises(TrainingError, match="not finite"):
        fit(trainer, Exploding(-10.0).eval(), data)


def test_normalization_by_batches_is_refused() -> None:
    network = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).train()
    with pytest.raises(TrainingError, match=re.escape("network.eval()")):
        fit(ESMDA(), network)
    fit(ESMDA(members=5), network.eval())
    bare = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4, track_running_stats=False))
    with pytest.raises(TrainingError, match="no running statistics"):
        fit(ESMDA(), bare.eval())


def test_outputs_may_be_picked() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = regressor()

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"y": self.inner(x), "other": x}

    def picked(network: nn.Module, inputs: Inputs) -> torch.Tensor:
        found: torch.Tensor = call(network, inputs)["y"]
        return found

    network, plain = Two().eval(), regressor()
    fit(ESMDA(members=20), network, outputs=picked)
    fit(ESMDA(members=20), plain)
    assert torch.equal(weights(network), weights(plain))


@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=TRAINERS)
def test_members_one_by_one_are_members_together(trainer: Assimilating) -> None:
    together, single = regressor().double(), regressor().double()
    data = Split(curve().inputs.double(), curve().labels.double())
    fit(trainer, together, data)
    fit(replace(trainer, vectorized=False), single, data)
    assert torch.allclose(weights(together), weights(single), atol=1e-6)


def test_labels_are_learned() -> None:
    data, network = classes(), classifier()
    trainer = EKI(members=50, epochs=20, observation=CrossEntropy(), momentum=0.5)
    fit(trainer, network, data, loss=nn.functional.cross_entropy)
    accuracy = float((network(data.inputs).argmax(1) == data.labels).float().mean())
    assert accuracy > 0.97


class Turned:
    """All parameters in one block, in the opposite order."""

    def blocks(self, layout: Layout, members: torch.Tensor, observed: Observed) -> Sequence[Block]:
        return (Block(torch.arange(members.shape[1]).flip(0)),)


@pytest.mark.parametrize("kind", [ESMDA, EnKF, EKI])
def test_the_order_inside_a_block_does_not_matter(kind: type[Assimilating]) -> None:
    plain, turned = regressor().double(), regressor().double()
    data = Split(curve().inputs.double(), curve().labels.double())
    fit(kind(members=20), plain, data)
    fit(kind(members=20, localization=Turned()), turned, data)
    assert torch.allclose(weights(plain), weights(turned), atol=1e-8)


class Watching:
    """One block of all parameters; keeps what it is given."""

    def __init__(self) -> None:
        self.means: list[torch.Tensor] = []

    def blocks(self, layout: Layout, members: torch.Tensor, observed: Observed) -> Sequence[Block]:
        self.means.append(members.mean(0))
        return (Block(torch.arange(members.shape[1])),)


@pytest.mark.parametrize("kind", [ESMDA, EnKF, EKI])
def test_a_localization_is_given_the_members(kind: type[Assimilating]) -> None:
    network, seen = regressor().double(), Watching()
    start = weights(network)
    data = Split(curve().inputs.double(), curve().labels.double())
    fit(kind(members=20, localization=seen), network, data)
    assert torch.allclose(seen.means[0], start, atol=1e-12)


@pytest.mark.parametrize("kind", [ESMDA, EnKF, EKI])
def test_targets_that_are_no_classes_of_the_network_are_named(kind: type[Assimilating]) -> None:
    trainer, data = kind(members=10, observation=CrossEntropy()), classes()
    for targets, words in (
        (data.labels + 1, "labels from .* to 3, but the network has outputs .* Number the classes"),
        (torch.rand(len(data), 3) + 1, "needs targets that are labels, or probabilities"),
    ):
        wrong = Split(data.inputs, targets)
        with pytest.raises(TrainingError, match=words):
            fit(trainer, classifier(), wrong, loss=nn.functional.cross_entropy)


def test_all_are_trainers() -> None:
    assert all(isinstance(trainer, Trainer) for trainer in TRAINERS.values())


@pytest.mark.parametrize("kind", [ESMDA, EnKF, EKI])
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"members": 1}, ArgumentError, "at least 2"),
        ({"members": 2.0}, ArgumentError, "at least 2"),
        ({"observation": 0.1}, ArgumentTypeError, "`observation`"),
        ({"observation": Gaussian}, ArgumentTypeError, "`observation`"),
        ({"localization": "layers"}, ArgumentTypeError, "`localization`"),
        ({"localization": Correlation}, ArgumentTypeError, "`localization`"),
        ({"held_out": 1.0}, ArgumentError, "`held_out`"),
        ({"patience": 3}, ArgumentError, "held_out=0.1"),
        ({"patience": 0, "held_out": 0.1}, ArgumentError, "`patience`"),
        ({"checkpoint": 3}, ArgumentTypeError, "`checkpoint`"),
        ({"checkpoint_every": 0}, ArgumentError, "`checkpoint_every`"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused(
    kind: type[Assimilating], arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=re.escape(words)):
        kind(**arguments)


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (ESMDA, {"assimilations": 0}, "`assimilations`"),
        (ESMDA, {"coefficients": (2.0, 3.0)}, "sum to 1"),
        (ESMDA, {"coefficients": "rising"}, "`coefficients`"),
        (ESMDA, {"coefficients": "adaptive", "batch_size": 8}, "`batch_size`"),
        (ESMDA, {"batch_size": 0}, "`batch_size`"),
        (ESMDA, {"form": "plain"}, "`form`"),
        (ESMDA, {"energy": 0.9}, "`energy`"),
        (EnKF, {"passes": 0}, "`passes`"),
        (EnKF, {"batch_size": 0}, "`batch_size`"),
        (EnKF, {"engine": "numpy"}, "`engine`"),
        (EnKF, {"engine": "filterpy", "form": "etkf"}, "`form`"),
        (EnKF, {"engine": "filterpy", "inflation": Additive()}, "`inflation`"),
        (EnKF, {"engine": "filterpy", "observation": CrossEntropy()}, "`observation`"),
        (EKI, {"epochs": 0}, "`epochs`"),
        (EKI, {"damping": 0.0}, "`damping`"),
        (EKI, {"momentum": 1.0}, "`momentum`"),
        (EKI, {"weight_decay": -1.0}, "`weight_decay`"),
        (EKI, {"schedule": "linear"}, "`schedule`"),
    ],
    ids=str,
)
def test_settings_of_one_trainer_are_checked(
    kind: type[Assimilating], arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ArgumentError, match=re.escape(words)):
        kind(**arguments)


@pytest.mark.parametrize("kind", [ESMDA, EnKF, EKI])
def test_what_does_not_fit_the_network_is_refused(kind: type[Assimilating]) -> None:
    with pytest.raises(ArgumentError, match="matches no parameter"):
        fit(kind(parameters="head.*"), regressor())
    with pytest.raises(ArgumentError, match="`spread` must be positive"):
        fit(kind(spread=0.0), regressor())
    with pytest.raises(TrainingError, match="no targets"):
        fit(kind(), regressor(), Split(torch.ones(4, 1)))
    with pytest.raises(TrainingError, match="not finite"):
        fit(kind(), regressor(), Split(torch.ones(2, 1), torch.tensor([[1.0], [torch.nan]])))
