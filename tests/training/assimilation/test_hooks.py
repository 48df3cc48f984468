"""Hooks in data assimilation: called after every step, and what they change is not lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError
from optprune.split import Split
from optprune.surgery.calling import call
from optprune.training import EKI, ESMDA, EnKF, Hooks, TrainingStep
from optprune.training.assimilation import Ensemble, Gaussian, Relaxation
from optprune.training.assimilation.assimilating import Assimilating
from optprune.training.assimilation.layout import Layout
from optprune.training.assimilation.localization import Block
from optprune.training.assimilation.observation import Observed
from tests.training.assimilation.cases import curve, fit, regressor, weights

SAMPLES = 40
TRAINERS: dict[str, tuple[Assimilating, int]] = {
    "ESMDA": (ESMDA(members=30, assimilations=4), 1),
    "ESMDA in mini-batches": (ESMDA(members=30, assimilations=3, batch_size=16), 3),
    "ESMDA with inflation": (ESMDA(members=30, inflation=Relaxation(0.5), batch_size=16), 3),
    "EnKF": (EnKF(members=30, batch_size=8, passes=2), 5),
    "EnKF by filterpy": (EnKF(members=30, batch_size=10, passes=2, engine="filterpy"), 4),
    "EKI": (EKI(members=30, epochs=6, observation=Gaussian(0.05), momentum=0.5), 1),
    "EKI in mini-batches": (EKI(members=30, epochs=3, batch_size=10, schedule="cosine"), 4),
}
"""With the steps of a pass."""

each = pytest.mark.parametrize("trainer", [t for t, _ in TRAINERS.values()], ids=TRAINERS)
each_with_steps = pytest.mark.parametrize(
    ("trainer", "in_pass"), list(TRAINERS.values()), ids=TRAINERS
)


def curve_of(dtype: torch.dtype) -> Split:
    """Return one period of a sine in a type."""
    data = curve()
    return Split(data.inputs.to(dtype), data.labels.to(dtype))


def nothing(step: TrainingStep) -> None:
    """Change nothing."""


def zeroed(step: TrainingStep) -> None:
    """Keep the weights of every third hidden unit at zero."""
    with torch.no_grad():
        step.network.get_parameter("0.weight")[::3] = 0
        step.network.get_parameter("2.weight")[:, ::3] = 0


def bounded(step: TrainingStep) -> None:
    """Keep all weights within a box."""
    with torch.no_grad():
        for parameter in step.network.parameters():
            parameter.clamp_(-0.5, 0.5)


@each_with_steps
def test_hooks_are_called_after_every_step_and_every_nth(
    trainer: Assimilating, in_pass: int
) -> None:
    seen: list[tuple[int, int, int, float]] = []
    every: list[int] = []

    def after(step: TrainingStep) -> None:
        seen.append((step.step, step.steps, step.epoch, step.loss))
        assert step.learning_rate is None
        assert step.progress == (step.step + 1) / step.steps
        assert not torch.is_grad_enabled()
        assert not step.network.training

    def at_pass(step: TrainingStep) -> None:
        every.append(step.step)

    hooks = Hooks(after_step=after, every=(in_pass, at_pass))
    report, _ = fit(replace(trainer, hooks=hooks), regressor())
    passes = trainer._passes()
    assert report.steps == passes * in_pass
    assert [s[:3] for s in seen] == [
        (n, report.steps, n // in_pass) for n in range(passes * in_pass)
    ]
    assert tuple(s[3] for s in seen) == report.losses
    assert every == list(range(in_pass - 1, report.steps, in_pass))


@each
def test_a_hook_sees_the_batch_and_the_mean_network(trainer: Assimilating) -> None:
    network, known = regressor(), curve()
    before = [weights(network)]
    samples = 0

    def look(step: TrainingStep) -> None:
        nonlocal samples
        assert step.network is network
        assert isinstance(step.inputs, torch.Tensor)
        assert torch.equal(torch.sin(torch.pi * step.inputs), step.targets)
        then = regressor()
        nn.utils.vector_to_parameters(before[-1], then.parameters())
        assert torch.equal(step.outputs, then(step.inputs))
        assert step.loss == float(nn.functional.mse_loss(step.outputs, step.targets))
        before.append(weights(network))
        samples += len(step.targets)

    report, _ = fit(replace(trainer, hooks=Hooks(after_step=look)), network, known)
    assert samples == SAMPLES * report.epochs
    assert not torch.equal(before[0], before[-1])


@each_with_steps
def test_a_hook_ends_a_fit_with_its_reason(trainer: Assimilating, in_pass: int) -> None:
    def enough(step: TrainingStep) -> bool:
        return step.step == 1

    report, _ = fit(replace(trainer, hooks=Hooks(every=(1, enough))), regressor())
    assert report.reason == "stopped by enough after step 2"
    assert report.steps == len(report.history) == 2
    assert report.epochs == 2 / in_pass


def test_a_hook_ends_an_adaptive_fit_before_its_own_end() -> None:
    def enough(step: TrainingStep) -> bool:
        return step.step == 1

    trainer = ESMDA(members=30, assimilations=60, coefficients="adaptive")
    report, _ = fit(replace(trainer, hooks=Hooks(every=(2, enough))), regressor())
    assert (report.steps, report.reason) == (2, "stopped by enough after step 2")


@each
def test_a_fit_that_a_hook_ended_keeps_the_best_on_held_out_data(trainer: Assimilating) -> None:
    def enough(step: TrainingStep) -> bool:
        return step.step == 1

    trainer = replace(trainer, held_out=0.25, hooks=Hooks(every=(1, enough)))
    report, _ = fit(trainer, regressor())
    assert report.reason.startswith("stopped by enough after step 2")
    assert report.best_epoch is not None


@each
@pytest.mark.parametrize("projection", [zeroed, bounded])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_projection_holds_for_the_network_and_for_the_mean(
    trainer: Assimilating,
    projection: Callable[[TrainingStep], None],
    dtype: torch.dtype,
) -> None:
    network, data = regressor().to(dtype), curve_of(dtype)
    before = float(nn.functional.mse_loss(network(data.inputs), data.labels).detach())
    report, _ = fit(replace(trainer, hooks=Hooks(after_step=projection)), network, data)
    fitted = weights(network)
    if projection is zeroed:
        assert not network.get_parameter("0.weight")[::3].any()
        assert not network.get_parameter("2.weight")[:, ::3].any()
        assert network.get_parameter("0.bias").all()
    else:
        assert float(fitted.abs().max()) == 0.5
    if report.ensemble is not None:
        atol = 1e-12 if dtype == torch.float64 else 1e-6
        assert torch.allclose(report.ensemble.mean, fitted, rtol=0, atol=atol)
    after = float(nn.functional.mse_loss(network(data.inputs), data.labels).detach())
    assert after < before


class Watching:
    """One block of all parameters; keeps the mean of the members of each step."""

    def __init__(self) -> None:
        self.means: list[torch.Tensor] = []

    def blocks(self, layout: Layout, members: torch.Tensor, observed: Observed) -> Sequence[Block]:
        self.means.append(members.mean(0))
        return (Block(torch.arange(members.shape[1])),)


@pytest.mark.parametrize(
    "trainer",
    [ESMDA(members=30, assimilations=3), EnKF(members=30, batch_size=10), EKI(members=30)],
    ids=["ESMDA", "EnKF", "EKI"],
)
def test_each_step_begins_at_the_weights_that_a_hook_left(trainer: Assimilating) -> None:
    network, seen = regressor().double(), Watching()
    left = []

    def scaled(step: TrainingStep) -> None:
        with torch.no_grad():
            for parameter in step.network.parameters():
                parameter.mul_(0.9)
        left.append(weights(step.network))

    hooked = replace(trainer, localization=seen, hooks=Hooks(after_step=scaled))
    report, _ = fit(hooked, network, curve_of(torch.float64))
    assert len(seen.means) == len(left) == report.steps > 2
    for begun, wanted in zip(seen.means[1:], left[:-1], strict=True):
        assert torch.allclose(begun, wanted, rtol=0, atol=1e-12)
    assert torch.equal(weights(network), left[-1])


@pytest.mark.parametrize("kind", [ESMDA, EnKF])
def test_a_change_shifts_all_members_alike(kind: type[ESMDA] | type[EnKF]) -> None:
    single = {"assimilations": 1} if kind is ESMDA else {"batch_size": SAMPLES}
    settings: dict[str, Any] = {"members": 30, **single}
    plain, projected = regressor().double(), regressor().double()
    data = curve_of(torch.float64)
    one, _ = fit(kind(**settings), plain, data)
    other, _ = fit(kind(**settings, hooks=Hooks(after_step=zeroed)), projected, data)
    assert one.ensemble is not None
    assert other.ensemble is not None
    shift = other.ensemble.members - one.ensemble.members
    wanted = weights(projected) - weights(plain)
    assert torch.allclose(shift, wanted.expand_as(shift), rtol=0, atol=1e-12)
    assert int((shift.abs().max(0).values > 0).sum()) == 8  # four hidden units, in and out
    assert other.history == one.history


@each
def test_weights_that_are_not_fitted_are_changed_too(trainer: Assimilating) -> None:
    network = regressor()
    trainer = replace(trainer, parameters="2.*", hooks=Hooks(after_step=zeroed))
    fit(trainer, network)
    assert not network.get_parameter("0.weight")[::3].any()
    assert torch.equal(network.get_parameter("0.bias"), regressor().get_parameter("0.bias"))


@each
def test_a_hook_that_changes_nothing_changes_no_bit(trainer: Assimilating) -> None:
    plain, hooked = regressor(), regressor()
    one, meter = fit(trainer, plain)
    other, same = fit(replace(trainer, hooks=Hooks(after_step=nothing, every=(2, nothing))), hooked)
    assert torch.equal(weights(plain), weights(hooked))
    assert replace(one, seconds=0.0, ensemble=None) == replace(other, seconds=0.0, ensemble=None)
    assert meter.forward_samples == same.forward_samples
    if one.ensemble is not None:
        assert other.ensemble is not None
        assert torch.equal(one.ensemble.members, other.ensemble.members)


@each
def test_without_hooks_nothing_is_done_for_them(
    trainer: Assimilating, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a step was described to no hook")

    monkeypatch.setattr("optprune.training.assimilation.assimilating.TrainingStep", never)
    fit(trainer, regressor())


class Interruption:
    """Keeps some weights at zero, and raises KeyboardInterrupt once, at a step."""

    def __init__(self, step: int) -> None:
        self.step: int | None = step

    def __call__(self, step: TrainingStep) -> None:
        zeroed(step)
        if step.step == self.step:
            self.step = None
            raise KeyboardInterrupt


@each_with_steps
def test_an_interrupted_fit_with_a_hook_goes_on_bit_for_bit(
    trainer: Assimilating, in_pass: int, tmp_path: Path
) -> None:
    whole, network = regressor(), regressor()
    report, _ = fit(replace(trainer, hooks=Hooks(after_step=Interruption(-1))), whole)
    hooks = Hooks(after_step=Interruption(report.steps - 1))
    kept = replace(trainer, checkpoint=tmp_path / "fit", hooks=hooks)
    with pytest.raises(KeyboardInterrupt):
        fit(kept, network)
    again, _ = fit(kept, network)
    assert again.resumed == report.steps - in_pass
    assert torch.equal(weights(network), weights(whole))
    assert (again.losses, again.history) == (report.losses, report.history)
    if report.ensemble is not None:
        assert again.ensemble is not None
        assert torch.equal(again.ensemble.members, report.ensemble.members)


@each
def test_a_fit_that_a_hook_ended_stays_ended(trainer: Assimilating, tmp_path: Path) -> None:
    def enough(step: TrainingStep) -> bool:
        return step.step == 1

    trainer = replace(trainer, checkpoint=tmp_path / "fit", hooks=Hooks(every=(1, enough)))
    first, _ = fit(trainer, regressor())
    report, meter = fit(trainer, regressor())
    assert (report.steps, report.reason) == (2, "stopped by enough after step 2")
    assert report.epochs == first.epochs
    assert meter.samples == 0


@each
def test_weights_that_are_not_finite_are_refused(trainer: Assimilating) -> None:
    def spoil(step: TrainingStep) -> None:
        if step.step == step.steps - 1:
            with torch.no_grad():
                next(step.network.parameters()).fill_(float("nan"))

    with pytest.raises(TrainingError, match=r"A hook left weights .* not finite after step (\d+) "):
        fit(replace(trainer, hooks=Hooks(after_step=spoil)), regressor())


@pytest.mark.parametrize("kind", [ESMDA, EnKF, EKI])
@pytest.mark.parametrize("name", ["on_loss", "on_grad"])
def test_hooks_on_loss_and_gradients_are_refused(kind: type[Assimilating], name: str) -> None:
    words = f"{kind.__name__}: `hooks` has `{name}`.*Use `after_step` or `every`, or .* SGD"
    with pytest.raises(ArgumentError, match=words):
        kind(hooks=Hooks(**{name: lambda *given: given[0]}, after_step=nothing))


@pytest.mark.parametrize("kind", [ESMDA, EnKF, EKI])
def test_what_is_no_hooks_is_refused(kind: type[Assimilating]) -> None:
    wrong: Any = nothing
    with pytest.raises(ArgumentTypeError, match=re.escape("optprune.training.Hooks(...)")):
        kind(hooks=wrong)


def test_a_stream_has_no_hooks() -> None:
    network, data = regressor(), curve()
    generator = torch.Generator().manual_seed(0)
    ensemble = Ensemble.draw(network, 10, generator=generator)
    trainer = EnKF(members=10, hooks=Hooks(after_step=nothing))
    with pytest.raises(ArgumentError, match="`assimilate` calls no hooks"):
        trainer.assimilate(ensemble, data.inputs, data.labels, outputs=call, generator=generator)
