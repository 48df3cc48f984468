"""Recoveries repair a small network in place and leave everything else alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, RecoveryError
from optprune.meter import Meter
from optprune.recovery import BatchNorm, FineTune, Nothing, Recovery, RecoveryContext
from optprune.surgery import Slicer, Structure, trace
from optprune.task import Task
from optprune.testing import check_recovery
from optprune.training import SGD


def network(norm: Any = nn.BatchNorm2d) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3),
        norm(6),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(6, 5, 2),
        nn.BatchNorm2d(5, momentum=0.3),
        nn.Flatten(),
        nn.Linear(5, 3),
    )
    return net.eval()


def task(net: nn.Module | None = None, n: int = 60, **changes: Any) -> Task:
    generator = torch.Generator().manual_seed(1)
    images = 2 + 3 * torch.randn(n, 1, 4, 4, generator=generator)
    split = (images, torch.arange(n) % 3)
    arguments: dict[str, Any] = {"train": split, "validation": split} | changes
    return Task(network() if net is None else net, **arguments)


def context(the_task: Task, seed: int = 3) -> tuple[nn.Module, RecoveryContext]:
    """Return a small network that lost half of its channels, and its context."""
    graph = trace(the_task.network, the_task.example)
    kept = np.ones(graph.n_units, dtype=bool)
    kept[::2] = False
    structure: Structure = graph.structure(kept)
    slicer = Slicer(the_task.network, graph)
    small = slicer.load(structure, slicer.take(structure))
    return small, RecoveryContext(the_task, graph, structure, seed, Meter())


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def changed(before: dict[str, torch.Tensor], net: nn.Module) -> set[str]:
    return {n for n, value in net.state_dict().items() if not torch.equal(value, before[n])}


RECOVERIES = [Nothing(), BatchNorm(samples=40, batch_size=16), FineTune(SGD(epochs=1))]


@pytest.mark.parametrize("recovery", RECOVERIES, ids=lambda recovery: type(recovery).__name__)
def test_recoveries_keep_the_rules(recovery: Recovery) -> None:
    assert isinstance(recovery, Recovery)
    check_recovery(recovery)


@pytest.mark.parametrize("recovery", RECOVERIES, ids=lambda recovery: type(recovery).__name__)
def test_the_dense_network_and_all_modes_stay_as_they_were(recovery: Recovery) -> None:
    the_task = task()
    dense = state(the_task.network)
    small, its_context = context(the_task)
    small[3].train()
    modes = [module.training for module in small.modules()]
    recovery.recover(small, its_context)
    assert not changed(dense, the_task.network)
    assert [module.training for module in small.modules()] == modes


def test_nothing_changes_nothing() -> None:
    small, its_context = context(task())
    before = state(small)
    Nothing().recover(small, its_context)
    assert not changed(before, small)
    assert its_context.meter.samples == 0


# Batch-norm recalibration


def test_recalibration_changes_running_statistics_alone() -> None:
    small, its_context = context(task())
    before = state(small)
    momenta = [getattr(module, "momentum", None) for module in small.modules()]
    BatchNorm(samples=40, batch_size=16).recover(small, its_context)
    names = {"running_mean", "running_var", "num_batches_tracked"}
    assert changed(before, small) == {f"{layer}.{name}" for layer in (1, 5) for name in names}
    assert [getattr(module, "momentum", None) for module in small.modules()] == momenta
    assert small[1].num_batches_tracked == 3
    assert its_context.meter.forward_samples == 40
    assert its_context.meter.backward_samples == 0
    assert its_context.meter.seconds > 0


def test_one_batch_gives_the_statistics_of_what_reaches_each_layer() -> None:
    the_task = task()
    small, its_context = context(the_task)
    BatchNorm(samples=60, batch_size=60).recover(small, its_context)
    assert the_task.calibration is not None
    x = the_task.calibration.inputs
    with torch.no_grad():
        for layer in small:
            if isinstance(layer, nn.BatchNorm2d):
                # Each layer normalizes by its own batch while the next ones are measured.
                mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3))
                torch.testing.assert_close(layer.running_mean, mean)
                torch.testing.assert_close(layer.running_var, var)
                biased = x.var(dim=(0, 2, 3), correction=0)
                x = (x - mean[:, None, None]) / (biased[:, None, None] + layer.eps).sqrt()
                x = x * layer.weight[:, None, None] + layer.bias[:, None, None]
            elif not isinstance(layer, nn.Dropout):
                x = layer(x)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_several_batches_are_averaged_with_equal_weight(norm: Any) -> None:
    if norm is nn.InstanceNorm2d:
        norm = lambda n: nn.InstanceNorm2d(n, affine=True, track_running_stats=True)  # noqa: E731
    net = network(norm)
    the_task = task(net)
    graph = trace(net, the_task.example)
    its_context = RecoveryContext(the_task, graph, graph.full(), 7, Meter())
    sizes: list[int] = []
    seen: list[torch.Tensor] = []
    net[1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    net.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    BatchNorm(samples=50, batch_size=16).recover(net, its_context)
    assert sizes == [13, 13, 12, 12]
    if isinstance(net[1], nn.InstanceNorm2d):
        means = [x.mean(dim=(2, 3)).mean(dim=0) for x in seen]
        variances = [x.var(dim=(2, 3)).mean(dim=0) for x in seen]
    else:
        means = [x.mean(dim=(0, 2, 3)) for x in seen]
        variances = [x.var(dim=(0, 2, 3)) for x in seen]
    torch.testing.assert_close(net[1].running_mean, torch.stack(means).mean(dim=0))
    torch.testing.assert_close(net[1].running_var, torch.stack(variances).mean(dim=0))


def test_recalibrating_repairs_wrong_statistics() -> None:
    the_task = task()
    small, its_context = context(the_task)
    right = BatchNorm(samples=60, batch_size=60)
    right.recover(small, its_context)
    before = the_task.predict(small, the_task.validation, meter=Meter())
    small[1].running_mean += 5
    small[5].running_var *= 100
    assert not torch.allclose(before, the_task.predict(small, the_task.validation, meter=Meter()))
    right.recover(small, its_context)
    after = the_task.predict(small, the_task.validation, meter=Meter())
    torch.testing.assert_close(before, after)


def test_the_seed_alone_decides_which_samples_are_used() -> None:
    def run(seed: int, noise: int = 0) -> torch.Tensor:
        small, its_context = context(task(), seed)
        torch.manual_seed(noise)
        BatchNorm(samples=20, batch_size=10).recover(small, its_context)
        mean = small[1].running_mean
        assert isinstance(mean, torch.Tensor)
        return mean.clone()

    assert torch.equal(run(1), run(1, noise=1))
    assert not torch.equal(run(1), run(2))


def test_a_network_without_running_statistics_is_left_alone_at_no_cost() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    small, its_context = context(task(net.eval(), train=None))
    before = state(small)
    BatchNorm().recover(small, its_context)
    assert not changed(before, small)
    assert its_context.meter.samples == 0


def test_a_layer_that_no_batch_reaches_keeps_its_statistics() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network()
            self.unused = nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    net = Auxiliary().eval()
    assert net.unused.running_mean is not None
    net.unused.running_mean += 7
    the_task = task(net)
    graph = trace(net, the_task.example)
    its_context = RecoveryContext(the_task, graph, graph.full(), 0, Meter())
    before = state(net)
    BatchNorm().recover(net, its_context)
    assert changed(before, net)
    assert not any(name.startswith("unused") for name in changed(before, net))


def test_statistics_that_are_not_finite_are_an_error_that_names_the_layer() -> None:
    the_task = task()
    small, its_context = context(the_task)
    with torch.no_grad():
        small[4].bias[0] = float("inf")
    with pytest.raises(RecoveryError, match="'5' are not finite"):
        BatchNorm().recover(small, its_context)


def test_recalibration_without_calibration_says_what_to_give() -> None:
    small, its_context = context(task(train=None))
    with pytest.raises(RecoveryError, match=r"calibration split .* has none: give"):
        BatchNorm().recover(small, its_context)


@pytest.mark.parametrize("changes", [{"samples": 1}, {"batch_size": 1}, {"batch_size": 8.0}])
def test_settings_out_of_range_are_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(changes))):
        BatchNorm(**changes)


# Fine-tuning


def test_fine_tuning_lowers_the_loss_of_the_small_network() -> None:
    the_task = task()
    small, its_context = context(the_task)

    def loss() -> float:
        outputs = the_task.predict(small, the_task.validation, meter=Meter())
        return float(the_task.loss(outputs, the_task.validation.labels))

    before = loss()
    FineTune(SGD(epochs=20, batch_size=20, lr=0.05)).recover(small, its_context)
    assert loss() < before
    assert its_context.meter.forward_samples == its_context.meter.backward_samples == 1200


def test_fine_tuning_repeats_itself_for_a_seed() -> None:
    def run(seed: int) -> torch.Tensor:
        small, its_context = context(task(), seed)
        FineTune(SGD(epochs=1, batch_size=8)).recover(small, its_context)
        return nn.utils.parameters_to_vector(small.parameters()).detach().clone()

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_fine_tuning_that_fails_is_an_error_of_the_recovery() -> None:
    small, its_context = context(task())
    with pytest.raises(RecoveryError, match=r"Fine-tuning failed: The loss is"):
        FineTune(SGD(epochs=20, lr=1e12, weight_decay=0.0)).recover(small, its_context)
    small, its_context = context(task(train=None))
    with pytest.raises(RecoveryError, match=r"give Task\(train="):
        FineTune(SGD()).recover(small, its_context)


@pytest.mark.parametrize("trainer", [None, SGD, "sgd"])
def test_fine_tuning_needs_a_trainer(trainer: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="trainer must be a Trainer"):
        FineTune(trainer)
