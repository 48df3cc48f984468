"""Least squares repairs what a cut broke, exactly where the theory says so."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, RecoveryError
from optprune.formulation import Problem, metrics
from optprune.losses import accuracy
from optprune.meter import Meter
from optprune.recovery import LeastSquares, Nothing, RecoveryContext, forward_fit, response
from optprune.recovery.response import respond
from optprune.surgery import Structure, cut, trace
from optprune.testing import check_recovery
from tests.recovery.cases import BOTH, cut_and_context, fits, outputs, state, task


@pytest.mark.parametrize("statistics", BOTH)
def test_it_keeps_the_rules_of_a_recovery(statistics: Any) -> None:
    check_recovery(LeastSquares(statistics, samples=40))


@pytest.mark.parametrize("statistics", BOTH)
def test_fitted_weights_are_those_of_lstsq_with_intercept(statistics: Any) -> None:
    the_task = task()
    small, context = cut_and_context(the_task, inner=5)
    recovery = LeastSquares(statistics, positions=None, ridge=0.0, refinements=0)
    found = fits(recovery.fit(small, context))
    assert found["outer"].fitted
    network, images = the_task.network, the_task.calibration.inputs
    with torch.no_grad():
        x = torch.relu(network.stem_norm(network.stem(images)))
        hidden = torch.relu(network.inner(x))
        answer = network.outer(hidden).permute(0, 2, 3, 1).reshape(-1, 8)
        patches = nn.functional.unfold(hidden[:, :5], 3, padding=1)
        rows = patches.transpose(1, 2).reshape(-1, 5 * 9)
    design = torch.cat([rows, torch.ones(len(rows), 1)], 1)
    expected = torch.linalg.lstsq(design, answer).solution
    torch.testing.assert_close(small.outer.weight.detach().flatten(1), expected[:-1].T)
    # the intercept goes into the running mean of the normalization behind
    moved = network.outer_norm.running_mean - small.outer_norm.running_mean
    torch.testing.assert_close(moved, expected[-1])


@pytest.mark.parametrize("statistics", BOTH)
@pytest.mark.parametrize("rescale", [False, True])
def test_a_network_that_keeps_all_stays_as_it_is(statistics: Any, rescale: bool) -> None:
    the_task = task()
    small, context = cut_and_context(the_task)
    before = state(small)
    found = LeastSquares(statistics, rescale=rescale).fit(small, context)
    assert not any(fit.fitted for fit in found)
    assert all(torch.equal(before[name], value) for name, value in state(small).items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_what_lies_behind_the_cut_is_fitted(dtype: torch.dtype) -> None:
    the_task = task(dtype=dtype)
    small, context = cut_and_context(the_task, wide=9)
    found = fits(LeastSquares().fit(small, context))
    assert {name for name, fit in found.items() if fit.fitted} == {"narrow", "project", "classes"}
    assert found["outer"].reason == "it answers as it did"
    symmetric = fits(LeastSquares("symmetric").fit(small, context))
    assert {name for name, fit in symmetric.items() if fit.fitted} == {"narrow"}


@pytest.mark.parametrize("statistics", BOTH)
@pytest.mark.parametrize("rescale", [False, True])
def test_the_error_that_is_told_is_the_error_that_is_measured(
    statistics: Any, rescale: bool
) -> None:
    the_task = task()
    small, context = cut_and_context(the_task, inner=5)
    recovery = LeastSquares(statistics, positions=None, ridge=1e-3, rescale=rescale, refinements=0)
    # the layer's own error; what comes after it changes nothing of it
    before = fits(recovery.fit(small, context))["outer"]
    network, images = the_task.network, the_task.calibration.inputs

    def answer(net: nn.Module) -> torch.Tensor:
        with torch.no_grad():
            x = torch.relu(net.stem_norm(net.stem(images)))
            return (
                net.outer(torch.relu(net.inner(x))) - (net.outer_norm.running_mean)[:, None, None]
            )

    dense = answer(network)
    error = (answer(small) - dense).square().mean((0, 2, 3)).sum()
    variance = dense.var((0, 2, 3), correction=0).sum()
    if rescale:
        assert float(error / variance) >= before.after * (1 - 1e-9)
        torch.testing.assert_close(
            answer(small).var((0, 2, 3)), dense.var((0, 2, 3)), rtol=1e-9, atol=0
        )
    else:
        assert float(error / variance) == pytest.approx(before.after, rel=1e-9)
    assert before.after < before.before
    torch.testing.assert_close(answer(small).mean((0, 2, 3)), dense.mean((0, 2, 3)))


@pytest.mark.parametrize("statistics", BOTH)
def test_duplicate_and_constant_channels_leave_without_loss(statistics: Any) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.Flatten(), nn.Linear(32, 3)
    ).double()
    first = network[0]
    with torch.no_grad():
        for copy in range(6, 11):
            first.weight[copy] = 1.5 * first.weight[copy - 6]
            first.bias[copy] = 1.5 * first.bias[copy - 6]
        first.weight[11] = 0
        first.bias[11] = 0.7
    the_task = task(network.eval())
    small, context = cut_and_context(the_task, **{"0": 6})
    dense = outputs(the_task, network)
    assert float((outputs(the_task, small) - dense).abs().max()) > 1e-2
    LeastSquares(statistics, positions=None, ridge=1e-10).recover(small, context)
    assert float((outputs(the_task, small) - dense).abs().max()) < 1e-6


def test_a_branch_makes_up_for_its_shortcut() -> None:
    the_task = task()
    small, context = cut_and_context(the_task, stem=5)
    with_it, without = cut_and_context(the_task, stem=5)[0], small
    linear = LeastSquares(positions=None, ridge=1e-9, refinements=0)
    linear.fit(with_it, context)
    replace(linear, branches=False).fit(without, context)
    dense = the_task.network
    kept = 5
    images = the_task.calibration.inputs

    def stream(net: nn.Module) -> torch.Tensor:
        with torch.no_grad():
            x = torch.relu(net.stem_norm(net.stem(images)))
            return x + net.outer_norm(net.outer(torch.relu(net.inner(x))))

    wanted = stream(dense)[:, :kept]
    error = (stream(with_it) - wanted).square().mean()
    assert error <= (stream(without) - wanted).square().mean()


def test_the_target_of_a_branch_is_what_the_shortcut_lost_and_its_own_answer() -> None:
    the_task = task()
    graph = trace(the_task.network, the_task.example)
    structure = graph.full()
    network = cut(the_task.network, graph, structure)
    with torch.no_grad():  # a shortcut that has lost something, by hand
        network.stem_norm.bias += 0.3
        network.inner.weight.zero_()
        network.inner.bias.fill_(1.0)
    context = RecoveryContext(the_task, graph, structure, 0, Meter())
    recovery = LeastSquares(positions=None, ridge=0.0, refinements=0)
    found = fits(recovery.fit(network, context))
    images = the_task.calibration.inputs
    dense = the_task.network
    with torch.no_grad():
        lost = torch.relu(dense.stem_norm(dense.stem(images)))
        now = torch.relu(network.stem_norm(network.stem(images)))
        target = lost - now + dense.outer_norm(dense.outer(torch.relu(dense.inner(lost))))
        answer = network.outer_norm(network.outer(torch.relu(network.inner(now))))
    residual = (target - answer).permute(1, 0, 2, 3).flatten(1)
    assert found["outer"].fitted or found["outer"].failed or found["inner"].fitted
    # least squares with an intercept leaves a residual of mean zero
    torch.testing.assert_close(
        residual.mean(1), torch.zeros(8, dtype=residual.dtype), atol=1e-9, rtol=0
    )


@pytest.mark.filterwarnings("ignore::optprune.errors.RecoveryWarning")
def test_layer_by_layer_passes_give_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    the_task = task()
    one, context = cut_and_context(the_task, stem=5, inner=7, wide=9)
    other, again = cut_and_context(the_task, stem=5, inner=7, wide=9)
    found = LeastSquares().fit(one, context)
    samples, watched = 60, 2
    assert context.meter.forward_samples == samples + watched
    monkeypatch.setattr(forward_fit, "MEMORY", 0)
    monkeypatch.setattr(forward_fit, "_BATCH", 25)
    refined = {fit.layer: fit.refined for fit in LeastSquares().fit(other, again)}
    assert refined == {fit.layer: fit.refined for fit in found}
    assert set(refined.values()) == {0, LeastSquares().refinements}
    assert again.meter.forward_samples == watched + 8 * samples
    for name, value in state(one).items():
        torch.testing.assert_close(state(other)[name], value, msg=name)


@pytest.mark.filterwarnings("ignore::optprune.errors.RecoveryWarning")
@pytest.mark.parametrize("statistics", BOTH)
def test_it_goes_on_from_weights_that_were_fitted_before(statistics: Any) -> None:
    the_task = task()
    network, context = cut_and_context(the_task, stem=5, inner=7, wide=9)
    recovery = LeastSquares(statistics, ridge=1e-9)
    recovery.recover(network, context)
    once = outputs(the_task, network)
    for _ in range(3):
        recovery.recover(network, context)
    torch.testing.assert_close(outputs(the_task, network), once, rtol=1e-4, atol=1e-4)


def test_it_brings_back_most_of_what_a_cut_cost() -> None:
    the_task = task(dtype=torch.float32)
    for statistics in BOTH:
        small, context = cut_and_context(the_task, stem=6, inner=6, wide=10)
        dense = outputs(the_task, the_task.network)
        before = (outputs(the_task, small) - dense).square().mean()
        LeastSquares(statistics).recover(small, context)  # type: ignore[arg-type]
        after = (outputs(the_task, small) - dense).square().mean()
        assert after < before / 2, statistics


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(36, 8)
        self.twice = nn.Linear(8, 8)
        self.one = nn.Linear(8, 6)
        self.other = nn.Linear(8, 6)
        self.other.weight = self.one.weight
        self.classes = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x.flatten(1)))
        x = torch.relu(self.twice(torch.relu(self.twice(x))))
        return self.classes(torch.relu(self.one(x)) * torch.sigmoid(self.other(x)))


@pytest.mark.parametrize("statistics", BOTH)
def test_layers_that_cannot_be_fitted_are_told(statistics: Any) -> None:
    torch.manual_seed(0)
    the_task = task(Shared().double())
    small, context = cut_and_context(the_task, stem=5)
    found = fits(LeastSquares(statistics).fit(small, context))
    assert "shares its weights" in found["one"].reason
    assert "shares its weights" in found["other"].reason
    if statistics == "asymmetric":
        assert "2 times" in found["twice"].reason
        assert found["classes"].fitted


class OneNorm(nn.Module):
    """Two convolutions without biases, behind the same normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.one = nn.Conv2d(8, 6, 3, padding=1, bias=False)
        self.two = nn.Conv2d(8, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.classes = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.norm(self.one(x))) - torch.relu(self.norm(self.two(x)))
        return self.classes(x.mean((2, 3)))


@pytest.mark.parametrize("statistics", BOTH)
def test_no_intercept_goes_into_a_normalization_that_other_layers_use(statistics: Any) -> None:
    torch.manual_seed(0)
    the_task = task(OneNorm().double().eval())
    small, context = cut_and_context(the_task, stem=4)
    dense, before = outputs(the_task, the_task.network), outputs(the_task, small)
    found = fits(LeastSquares(statistics).fit(small, context))
    assert found["one"].fitted
    assert found["two"].fitted
    assert torch.equal(small.norm.running_mean, the_task.network.norm.running_mean)
    after = outputs(the_task, small)
    assert (after - dense).square().mean() < (before - dense).square().mean() / 2


def test_fewer_positions_are_kept_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    the_task = task()
    whole = respond(the_task, LeastSquares(positions=None).sample, Meter())
    assert whole.positions["stem"] is None
    kept = sum(rows.shape[1] for rows in (*whole.outputs.values(), *whole.shortcuts.values()))
    monkeypatch.setattr(response, "MEMORY", 4 * kept * 60 * 3)
    for positions in (None, 16):
        short = respond(the_task, LeastSquares(positions=positions).sample, Meter())
        assert {len(rows) for rows in short.outputs.values()} == {60, 60 * 3}
        assert short.positions["stem"].shape == (60, 3)


@pytest.mark.parametrize("statistics", BOTH)
def test_encoders_are_fitted_through_their_linear_layers(statistics: Any) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 3, 24, batch_first=True, dropout=0.1)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(6, 12)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.classes = nn.Linear(12, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.classes(self.encoder(self.embed(x[:, 0])).mean(1))

    the_task = task(Encoder().double().eval())
    small, context = cut_and_context(the_task, **{"encoder.layers.0.linear1": 12})
    dense = outputs(the_task, the_task.network)
    before = (outputs(the_task, small) - dense).square().mean()
    found = fits(LeastSquares(statistics).fit(small, context))
    assert found["encoder.layers.0.linear2"].fitted
    assert (outputs(the_task, small) - dense).square().mean() < before


def test_the_dense_network_answers_once_for_all_candidates() -> None:
    problem = Problem(
        task(), recovery=LeastSquares(samples=30), objectives=[metrics.error, metrics.macs]
    )
    before = problem.setup_meter.forward_samples
    for width in (3, 4, 5):
        problem.evaluate(
            problem.graph.structure_from_widths(np.full(problem.graph.n_groups, width))
        )
    assert problem.setup_meter.forward_samples == before + 30 + 2
    again = pickle.loads(pickle.dumps(problem))
    structure: Structure = problem.graph.structure_from_widths(np.full(problem.graph.n_groups, 4))
    assert again.evaluate(structure) == problem.evaluate(structure)


def test_digits_at_a_quarter_of_the_macs_keep_their_accuracy() -> None:
    import optprune as op

    problem = op.problems.digits.problem(recovery=Nothing())
    graph, the_task = problem.graph, problem.task
    structure = graph.structure_from_widths(graph.widths // 2, problem.importance)

    def scored(recovery: Any) -> float:
        network = cut(the_task.network, graph, structure)
        recovery.recover(network, RecoveryContext(the_task, graph, structure, 0, Meter()))
        return float(accuracy(outputs(the_task, network), the_task.validation.labels))

    dense = float(accuracy(outputs(the_task, the_task.network), the_task.validation.labels))
    assert scored(Nothing()) < 0.5
    assert scored(LeastSquares()) > dense - 0.015


@pytest.mark.parametrize("training", [True, False])
def test_modes_and_hooks_are_left_as_they_were(training: bool) -> None:
    the_task = task()
    small, context = cut_and_context(the_task, inner=6)
    small.train(training)
    LeastSquares().recover(small, context)
    assert all(module.training == training for module in small.modules())
    assert not any(module._forward_pre_hooks for module in small.modules())
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("recovery", [LeastSquares(), LeastSquares("symmetric")])
def test_a_task_without_calibration_is_told(recovery: LeastSquares) -> None:
    the_task = task()
    the_task.calibration = None
    small, context = cut_and_context(the_task, inner=6)
    with pytest.raises(RecoveryError, match=r"Task\(calibration=...\)"):
        recovery.recover(small, context)


@pytest.mark.parametrize(
    "wrong",
    [
        {"statistics": "both"},
        {"ridge": -1.0},
        {"ridge": float("nan")},
        {"samples": 1},
        {"positions": 0},
        {"refinements": -1},
        {"refinements": 1.5},
        {"refinements": True},
    ],
)
def test_arguments_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        LeastSquares(**wrong)
