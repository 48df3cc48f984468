"""Refinements fit a layer to what the activation behind it lets through."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from optprune.meter import Meter
from optprune.recovery import BiasCorrection, LayerFit, LeastSquares, RecoveryContext, refinement
from optprune.surgery import ChannelGraph, cut, trace
from optprune.task import Task

SAMPLES, LINEAR = 80, LeastSquares(positions=None, ridge=1e-9, refinements=0)


class Residual(nn.Module):
    """Layers of all kinds, each with an activation behind."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, padding=1)
        self.plain = nn.Conv2d(12, 8, 3, padding=1, bias=False)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.inner_norm = nn.BatchNorm2d(8)
        self.outer = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.outer_norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 16, 3, groups=8)
        self.classes = nn.Linear(16, 3)
        self.activation = nn.ReLU() if activation is None else activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.activation(self.plain(torch.relu(self.stem(x))))
        y = self.activation(self.inner_norm(self.inner(x)))
        x = self.activation(self.outer_norm(self.outer(y)) + x)
        return self.classes(self.activation(self.depthwise(x)).mean((2, 3)))


def task(activation: nn.Module | None = None, dtype: torch.dtype = torch.float64) -> Task:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(SAMPLES, 1, 6, 6, generator=generator, dtype=dtype)
    torch.manual_seed(0)
    network = Residual(activation).to(dtype)
    with torch.no_grad():
        for norm in (network.inner_norm, network.outer_norm):
            norm.weight.uniform_(0.5, 1.5)
            norm.weight[::3] *= -1
            norm.bias.uniform_(-0.5, 0.5)
        network.train()
        for _ in range(20):
            network(images)
    split = (images, torch.arange(SAMPLES) % 3)
    return Task(network.eval(), train=split, validation=split)


@cache
def residual_graph() -> ChannelGraph:
    """Trace the network once: a graph goes for all weights."""
    the_task = task()
    return trace(the_task.network, the_task.example)


def cut_and_context(the_task: Task, **widths: int) -> tuple[nn.Module, RecoveryContext]:
    if isinstance(the_task.network, Residual):
        graph = residual_graph()
    else:
        graph = trace(the_task.network, the_task.example)
    wanted = graph.widths.copy()
    for name, width in widths.items():
        wanted[graph.group(name).index] = width
    structure = graph.structure_from_widths(wanted)
    context = RecoveryContext(the_task, graph, structure, 0, Meter())
    return cut(the_task.network, graph, structure), context


def fitted(
    the_task: Task, recovery: LeastSquares, **widths: int
) -> tuple[nn.Module, dict[str, LayerFit]]:
    small, context = cut_and_context(the_task, **widths)
    return small, {fit.layer: fit for fit in recovery.fit(small, context)}


@dataclass
class Seen:
    """One layer in one network: rows, what is behind, and what reaches the activation."""

    rows: torch.Tensor
    slope: torch.Tensor
    offset: torch.Tensor
    shortcut: torch.Tensor
    reached: torch.Tensor


def seen(the_task: Task, network: Any, layer: str) -> Seen:
    """Watch a layer, by what the network's definition says; rows ``(n, groups, columns)``."""
    module, norm = getattr(network, layer), getattr(network, f"{layer}_norm", None)
    taken: dict[str, torch.Tensor] = {}

    def note(_: nn.Module, inputs: tuple[torch.Tensor], outputs: torch.Tensor) -> None:
        taken["in"], taken["out"] = inputs[0], outputs

    handles = [module.register_forward_hook(note)]
    shortcut: list[torch.Tensor] = []
    handles.append(network.inner.register_forward_hook(lambda _, i, __: shortcut.append(i[0])))
    with torch.no_grad():
        network(the_task.calibration.inputs)
        for handle in handles:
            handle.remove()
        patches = nn.functional.unfold(taken["in"], 3, padding=module.padding)
        rows = patches.transpose(1, 2).flatten(0, 1).unflatten(1, (module.groups, -1))
        outputs = taken["out"].movedim(1, 3).flatten(0, 2)
        one, zero = torch.ones_like(outputs[0]), torch.zeros_like(outputs[0])
        slope, offset, added = one, zero, torch.zeros_like(outputs)
        if norm is not None:
            slope = norm.weight / (norm.running_var + norm.eps).sqrt()
            offset = norm.bias - slope * norm.running_mean
        elif module.bias is not None:
            offset, outputs = module.bias, outputs - module.bias
        if layer == "outer":
            added = shortcut[0].movedim(1, 3).flatten(0, 2)
        return Seen(rows, slope, offset, added, slope * outputs + offset + added)


def nearest(dense: torch.Tensor, now: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Return what the activation turns into the same as the dense value, nearest to `now`."""
    return torch.where(
        dense <= low, now.clamp(max=low), torch.where(dense >= high, now.clamp(min=high), dense)
    )


ACTIVATIONS: list[tuple[nn.Module, float, float]] = [
    (nn.ReLU(), 0.0, math.inf),
    (nn.ReLU6(), 0.0, 6.0),
    (nn.Hardtanh(-0.3, 0.4), -0.3, 0.4),
]
WIDTHS = [("plain", {"stem": 4}), ("inner", {"plain": 3}), ("outer", {"inner": 3})]


@pytest.mark.parametrize("ridge", [1e-9, 0.1, math.inf])
@pytest.mark.parametrize(("layer", "widths"), WIDTHS)
@pytest.mark.parametrize(("activation", "low", "high"), ACTIVATIONS)
def test_the_distance_to_what_does_as_well_never_rises(
    activation: nn.Module,
    low: float,
    high: float,
    layer: str,
    widths: dict[str, int],
    ridge: float | None,
) -> None:
    the_task = task(activation)
    distances, errors = [], []
    for refinements in range(6):
        recovery = replace(LINEAR, ridge=ridge, refinements=refinements)
        small, found = fitted(the_task, recovery, **widths)
        assert found[layer].fitted
        kept = getattr(small, layer).out_channels
        dense = seen(the_task, the_task.network, layer).reached[:, :kept]
        now = seen(the_task, small, layer).reached
        distances.append(float((nearest(dense, now, low, high) - now).square().sum()))
        errors.append(float((now.clamp(low, high) - dense.clamp(low, high)).square().sum()))
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(distances))
    if ridge == math.inf:
        return  # an intercept alone does little, and nothing where it has no place
    assert distances[-1] < distances[0]
    assert errors[3] <= errors[0]


@pytest.mark.parametrize("layer", ["inner", "outer", "depthwise"])
@pytest.mark.parametrize(("activation", "low", "high"), ACTIVATIONS)
def test_every_refinement_is_the_least_squares_fit_to_the_nearest_answers(
    activation: nn.Module, low: float, high: float, layer: str
) -> None:
    the_task = task(activation)
    recovery = replace(LINEAR, ridge=0.0, refinements=3)
    small, found = fitted(the_task, recovery, stem=7, inner=6)
    assert found[layer].refined == 3
    here = seen(the_task, small, layer)
    dense = seen(the_task, the_task.network, layer).reached[:, : here.reached.shape[1]]
    ones = torch.ones(len(here.rows), 1, dtype=here.rows.dtype)
    now, weights = dense, []
    for target in range(4):
        wanted = dense if target == 0 else nearest(dense, now, low, high)
        raw = ((wanted - here.shortcut) / here.slope).unflatten(1, (here.rows.shape[1], -1))
        parts, weights = [], []
        for group in range(here.rows.shape[1]):
            design = torch.cat([here.rows[:, group], ones], 1)
            solution = torch.linalg.lstsq(design, raw[:, group]).solution
            weights.append(solution[:-1].T)
            parts.append(design @ solution)
        now = here.slope * torch.cat(parts, 1) + here.shortcut
    torch.testing.assert_close(here.reached, now)
    has = getattr(small, layer).weight.detach().flatten(1).unflatten(0, (here.rows.shape[1], -1))
    # a column without variance keeps its weight
    alive = (here.rows.var(0) > 0)[:, None]
    torch.testing.assert_close(has * alive, torch.stack(weights) * alive)


class Half(nn.Module):
    """A number as the difference of its positive and its negative part, and a ReLU behind."""

    def __init__(self) -> None:
        super().__init__()
        self.parts, self.whole, self.classes = nn.Linear(1, 2), nn.Linear(2, 1), nn.Linear(1, 2)
        with torch.no_grad():
            self.parts.weight.copy_(torch.tensor([[1.0], [-1.0]]))
            self.whole.weight.copy_(torch.tensor([[1.0, -1.0]]))
            self.parts.bias.zero_()
            self.whole.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classes(torch.relu(self.whole(torch.relu(self.parts(x)))))


def test_a_part_that_the_activation_hides_is_not_missed() -> None:
    inputs = torch.linspace(-3, 2, 51, dtype=torch.float64)[:, None]
    split = (inputs, torch.arange(51) % 2)
    the_task = Task(Half().double(), train=split, validation=split)
    linear, _ = fitted(the_task, LINEAR, parts=1)
    refined, found = fitted(the_task, replace(LINEAR, refinements=300), parts=1)

    def error(network: Any) -> float:
        with torch.no_grad():
            answer = torch.relu(network.whole(torch.relu(network.parts(inputs))))
        return float((answer - inputs.clamp_min(0)).abs().max())

    assert error(linear) > 0.1
    assert error(refined) < 1e-6
    assert found["whole"].refined > 3
    assert float(refined.whole.weight.detach()) == pytest.approx(1, abs=1e-6)


def test_the_answers_behind_activations_come_nearer_on_a_network_cut_hard() -> None:
    for dtype in (torch.float32, torch.float64):
        the_task = task(dtype=dtype)
        errors = []
        for refinements in (0, 3):
            recovery = LeastSquares(positions=None, refinements=refinements)
            small, found = fitted(the_task, recovery, stem=4)
            dense = seen(the_task, the_task.network, "plain").reached.clamp_min(0)
            now = seen(the_task, small, "plain").reached.clamp_min(0)
            errors.append(float((now - dense).square().sum()))
            assert found["plain"].refined == refinements
            assert found["classes"].refined == 0
        assert errors[1] < errors[0]


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    "changed",
    [
        lambda recovery: replace(recovery, rescale=True),
        lambda recovery: replace(recovery, statistics="symmetric"),
    ],
)
def test_some_fits_are_never_refined(changed: Callable[[LeastSquares], LeastSquares]) -> None:
    the_task = task()
    linear, _ = fitted(the_task, changed(LINEAR), stem=5, inner=4)
    other, found = fitted(the_task, changed(replace(LINEAR, refinements=3)), stem=5, inner=4)
    assert not any(fit.refined for fit in found.values())
    for name, value in state(linear).items():
        assert torch.equal(state(other)[name], value), name


def test_without_branches_nothing_behind_an_addition_is_refined() -> None:
    recovery = replace(LINEAR, refinements=3, branches=False)
    _, found = fitted(task(), recovery, stem=5, inner=4)
    assert found["outer"].fitted
    assert found["outer"].refined == 0
    assert found["inner"].refined == 3


def test_layers_that_answer_as_they_did_are_not_refined() -> None:
    _, found = fitted(task(), replace(LINEAR, refinements=3), inner=4)
    assert found["plain"].reason == "it answers as it did"
    assert found["plain"].refined == 0
    assert found["outer"].refined == 3


def test_what_takes_too_much_memory_is_fitted_linearly(monkeypatch: pytest.MonkeyPatch) -> None:
    the_task = task()
    linear, _ = fitted(the_task, LINEAR, stem=5, inner=4)
    outer = SAMPLES * 36 * (4 * 9 + 3 * 8) * 8
    monkeypatch.setattr(refinement, "MEMORY", outer - 1)
    _, found = fitted(the_task, replace(LINEAR, refinements=3), stem=5, inner=4)
    assert found["outer"].refined == 0
    monkeypatch.setattr(refinement, "MEMORY", outer)
    _, found = fitted(the_task, replace(LINEAR, refinements=3), stem=5, inner=4)
    assert found["outer"].refined == 3
    monkeypatch.setattr(refinement, "MEMORY", 0)
    other, found = fitted(the_task, replace(LINEAR, refinements=3), stem=5, inner=4)
    assert not any(fit.refined for fit in found.values())
    for name, value in state(linear).items():
        assert torch.equal(state(other)[name], value), name


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    the_task = task()
    recovery = replace(LINEAR, refinements=3)
    one, _ = fitted(the_task, recovery, stem=5, inner=4)
    monkeypatch.setattr(refinement, "_BLOCK", 101)
    other, _ = fitted(the_task, recovery, stem=5, inner=4)
    for name, value in state(one).items():
        torch.testing.assert_close(state(other)[name], value, msg=name)


def test_a_flat_channel_of_a_normalization_keeps_its_linear_fit() -> None:
    the_task = task()
    with torch.no_grad():
        the_task.network.outer_norm.weight[3] = 0
    linear, _ = fitted(the_task, LINEAR, inner=4)
    refined, _ = fitted(the_task, replace(LINEAR, refinements=3), inner=4)
    assert all(bool(torch.isfinite(value).all()) for value in state(refined).values())
    assert torch.equal(refined.outer.weight[3], linear.outer.weight[3])
    assert not torch.equal(refined.outer.weight[2], linear.outer.weight[2])


def test_a_bias_correction_shifts_means_only() -> None:
    small, context = cut_and_context(task(), stem=5)
    assert not any(fit.refined for fit in BiasCorrection().fit(small, context))
